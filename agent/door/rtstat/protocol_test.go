package rtstat

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	for message, want := range map[string]request{
		"version":             {"version", nil},
		"foo::":               {"foo", nil},
		"Auth::::x":           {"auth", []string{"", "x"}},
		`a::b\::c`:            {"a", []string{"b::c"}},
		`a::b\\\n\::\`:        {"a", []string{"b\\\n::"}},
		"a:::b":               {"a", []string{":b"}},
		"\x00\x0b a::b \r\n":  {"a", []string{"b"}},
		`a\n::b`:              {`a\n`, []string{"b"}},
		"":                    {"", nil},
		"interval::0.5::junk": {"interval", []string{"0.5", "junk"}},
	} {
		if got := parse(message); got.name != want.name || !slices.Equal(got.args, want.args) {
			t.Errorf("%q: got %q, want %q", message, got, want)
		}
	}
}

func TestParseInterval(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0.5": 500 * time.Millisecond, ".5": 500 * time.Millisecond, "1e0": time.Second, " 1": time.Second, "1 ": time.Second,
		"00001.50": 1500 * time.Millisecond, "0.499999999999999999": 500 * time.Millisecond, "+2": 2 * time.Second, "86400": mostInterval,
	} {
		if got, err := parseInterval(text); got != want || err != nil {
			t.Errorf("%q: got %v, %v, want %v", text, got, err, want)
		}
	}
	for text, want := range map[string]error{
		"abc": errBadInterval, "0": errBadInterval, "1s": errBadInterval, "0x1": errBadInterval, "1,5": errBadInterval,
		"INF": errBadInterval, "1e9": errBadInterval, "1_0": errBadInterval, "0.49": errShortInterval, "-1": errShortInterval,
	} {
		if got, err := parseInterval(text); err != want {
			t.Errorf("%q: got %v, %v, want %v", text, got, err, want)
		}
	}
}

func TestUpFor(t *testing.T) {
	for d, want := range map[time.Duration]string{
		14 * time.Minute: "14 min", 62 * time.Minute: "1:02", 0: "0 min", 25*time.Hour + 2*time.Minute: "1 day,  1:02",
		24*time.Hour + 5*time.Minute: "1 day, 5 min", 73*time.Hour + 2*time.Minute: "3 days,  1:02", 12 * time.Hour: "12:00",
	} {
		if got := upFor(d); got != want {
			t.Errorf("%v: got %q, want %q", d, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("auth::a\\::b::c")
	f.Add(":::\\")
	f.Fuzz(func(t *testing.T, message string) {
		r := parse(message)
		if strings.Contains(r.name, "::") {
			t.Errorf("%q: name %q", message, r.name)
		}
		for _, a := range r.args {
			if back := arguments(string(line("x", a)[3 : len(line("x", a))-1])); len(back) != 1 || back[0] != a {
				t.Errorf("%q written and read is %q", a, back)
			}
		}
		parseInterval(message)
	})
}

func FuzzEscapeJSON(f *testing.F) {
	f.Add("fe80::1", "\\\"\n::::")
	f.Fuzz(func(t *testing.T, key, value string) {
		body, err := json.Marshal(map[string]string{key: value})
		if err != nil {
			t.Fatal(err)
		}
		escaped := string(escapeJSON(body))
		if strings.Contains(escaped, "::") {
			t.Fatalf("%q can be cut", escaped)
		}
		var back, want map[string]string
		if err := json.Unmarshal([]byte(arguments(escaped)[0]), &back); err != nil {
			t.Fatal(err)
		}
		if json.Unmarshal(body, &want) != nil || len(back) != 1 {
			t.Fatalf("got %q", back)
		}
		for k, v := range want {
			if back[k] != v {
				t.Errorf("got %q, want %q", back, want)
			}
		}
	})
}
