package zabbix

import (
	"testing"
	"time"
)

func TestParseKey(t *testing.T) {
	for text, want := range map[string]string{
		"agent.ping":               "agent.ping",
		"icmpping[,3]":             "icmpping[,3]",
		`a["x,y", z ,"q\"r"]`:      `a["x,y",z ,"q\"r"]`,
		"a[]":                      "a[]",
		`web[host,"[0-9]+",[a,b]]`: `web[host,"[0-9]+","a,b"]`,
	} {
		k, err := parseKey(text)
		if err != nil || k.String() != want {
			t.Errorf("%s: got %s, %v, want %s", text, k, err, want)
		}
	}
	for _, text := range []string{"", "a[", "a[b", `a["b]`, "a]", "a[b]c", "ü", "a[b]]"} {
		if k, err := parseKey(text); err == nil {
			t.Errorf("%q: got %v, want an error", text, k)
		}
	}
}

func TestNext(t *testing.T) {
	at := func(s string) time.Time {
		v, err := time.ParseInLocation("2006-01-02 15:04:05", s, time.UTC)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, test := range []struct {
		delay string
		seed  uint64
		now   string // a Monday
		want  string
	}{
		{"10s", 3, "2026-11-16 12:00:00", "2026-11-16 12:00:03"},
		{"10s", 3, "2026-11-16 12:00:03", "2026-11-16 12:00:13"},
		{"1m", 61, "2026-11-16 12:00:30", "2026-11-16 12:01:01"},
		{"0;h9m30", 5, "2026-11-16 12:00:00", "2026-11-17 09:30:00"},
		{"0;wd6m0s0", 5, "2026-11-16 12:00:00", "2026-11-21 00:00:00"},
		{"0;md1h12-13m/30", 5, "2026-11-16 12:00:00", "2026-12-01 12:00:00"},
		{"0;s/5", 5, "2026-11-16 12:00:01", "2026-11-16 12:00:05"},
		{"1h;10s/1,12:00-13:00", 0, "2026-11-16 12:30:01", "2026-11-16 12:30:10"},
		{"1h;10s/1,12:00-13:00", 0, "2026-11-16 11:00:01", "2026-11-16 12:00:00"},
		{"30s;0/1-5,12:00-13:00", 0, "2026-11-16 12:00:01", "2026-11-16 13:00:00"},
		{"0;30s/2,08:00-09:00", 1, "2026-11-16 12:00:01", "2026-11-17 08:00:01"},
	} {
		d, err := parseDelay(test.delay)
		if err != nil {
			t.Errorf("%s: %v", test.delay, err)
			continue
		}
		if got := d.next(at(test.now), test.seed).UTC(); !got.Equal(at(test.want)) {
			t.Errorf("%s after %s: got %v, want %s", test.delay, test.now, got, test.want)
		}
	}
	for _, text := range []string{"", "0", "x", "1y", "90000", "1s;", "1s;h25", "1s;10s/8,00:00-24:00", "1s;10s/1,12:00-11:00", "1s;m5x", "-1"} {
		if d, err := parseDelay(text); err == nil {
			t.Errorf("%q: got %+v, want an error", text, d)
		}
	}
}

func FuzzKeyAndDelay(f *testing.F) {
	f.Add(`a["x,y",[1,2]]`, "30s;10s/1-5,09:00-18:00;md1wd1-5h9-18m0-59/15s30")
	f.Fuzz(func(t *testing.T, text, interval string) {
		if k, err := parseKey(text); err == nil {
			if _, err := parseKey(k.String()); err != nil {
				t.Errorf("%q comes back as %q: %v", text, k, err)
			}
		}
		now := time.Unix(1795204326, 0).UTC()
		if d, err := parseDelay(interval); err == nil {
			if next := d.next(now, 7); !next.IsZero() && !next.After(now) {
				t.Errorf("%q: next is %v, not after %v", interval, next, now)
			}
		}
	})
}

func TestSteps(t *testing.T) {
	for _, test := range []struct {
		kind int
		in   string
		p    [3]string
		want string // "!" for an error
	}{
		{stepMultiplier, "21", [3]string{"2"}, "42"},
		{stepMultiplier, "1.5", [3]string{"0.1"}, "0.15000000000000002"},
		{stepMultiplier, "NaN", [3]string{"2"}, "!"},
		{stepTrim, " x\n", [3]string{` \n`}, "x"},
		{stepRegex, "load: 12 of 34", [3]string{`(\d+) of (\d+)`, `\2/\1`}, "34/12"},
		{stepRegex, "none", [3]string{`(\d+)`, `\1`}, "!"},
		{stepRegex, "x", [3]string{`(?<=x)y`, `\1`}, "!"},
		{stepBool, "Running", [3]string{}, "1"},
		{stepOctal, "17", [3]string{}, "15"},
		{stepHex, "ff 0a", [3]string{}, "65290"},
		{stepJSONPath, `{"a":[{"b":"x"},{"b":2}]}`, [3]string{"$.a[0].b"}, "x"},
		{stepJSONPath, `{"a":[{"b":"x"},{"b":2}]}`, [3]string{"$.a[*].b"}, `["x",2]`},
		{stepJSONPath, `{"a":[1,2,3]}`, [3]string{"$.a.length()"}, "3"},
		{stepJSONPath, `{"a":[1,2,3]}`, [3]string{"$.a[*].sum()"}, "6"},
		{stepJSONPath, `{"a":{"b":18446744073709551615}}`, [3]string{"$..b.first()"}, "18446744073709551615"},
		{stepJSONPath, `{"a":1}`, [3]string{"$.b"}, "!"},
		{stepJSONPath, `{"a":1}`, [3]string{"$.a[?(@.x > 1)]"}, "!"},
		{stepInRange, "5", [3]string{"1", "5"}, "5"},
		{stepInRange, "6", [3]string{"1", "5"}, "!"},
		{stepMatches, "abc", [3]string{"^a"}, "abc"},
		{stepMatchesNot, "abc", [3]string{"^a"}, "!"},
		{stepErrorJSON, `{"error":"broken"}`, [3]string{"$.error"}, "!"},
		{stepErrorJSON, `{"value":1}`, [3]string{"$.error"}, `{"value":1}`},
		{stepCSV, "a,b\n1,\"x,y\"", [3]string{",", `"`, "1"}, `[{"a":"1","b":"x,y"}]`},
		{stepReplace, "a-b", [3]string{"-", `\n`}, "a\nb"},
		{21, "x", [3]string{"return value"}, "!"},
	} {
		got, err := pure(test.kind, test.in, func(i int) string { return test.p[i] })
		if err != nil {
			got = "!"
		}
		if got != test.want {
			t.Errorf("step %d of %q with %q: got %q, %v, want %q", test.kind, test.in, test.p, got, err, test.want)
		}
	}
}

// values runs values a second apart through an item's steps.
func values(it *item, in ...string) (out []string) {
	p := newProcessor()
	for i, text := range in {
		v := p.steps(it, value{at: time.Unix(int64(1000+i), 0), text: text})
		switch {
		case v.none:
			out = append(out, "-")
		case v.failed:
			out = append(out, "!"+v.text)
		default:
			out = append(out, v.text)
		}
	}
	return out
}

func TestStepsThatRemember(t *testing.T) {
	for _, test := range []struct {
		step     step
		in, want []string
	}{
		{step{kind: stepDelta}, []string{"10", "25", "20"}, []string{"-", "15", "-5"}},
		{step{kind: stepSpeed}, []string{"10", "25", "20", "30"}, []string{"-", "15", "-", "10"}},
		{step{kind: stepUnchanged}, []string{"a", "a", "b"}, []string{"a", "-", "b"}},
		{step{kind: stepUnchangedSince, params: []string{"2s"}}, []string{"a", "a", "a"}, []string{"a", "-", "a"}},
		{step{kind: stepDelta, onError: onErrorValue, onErrorText: "0"}, []string{"x"}, []string{"0"}},
		{step{kind: stepDelta, onError: onErrorText, onErrorText: "bad"}, []string{"x"}, []string{"!bad"}},
		{step{kind: stepDelta, onError: onErrorDiscard}, []string{"x"}, []string{"-"}},
	} {
		got := values(&item{steps: []step{test.step}}, test.in...)
		for i := range test.want {
			if got[i] != test.want[i] {
				t.Errorf("step %+v of %q: got %q, want %q", test.step, test.in, got, test.want)
				break
			}
		}
	}
}

func TestConverted(t *testing.T) {
	for _, test := range []struct {
		kind     int
		in, want string
	}{
		{valueUnsigned, " 007 ", "7"}, {valueUnsigned, "18446744073709551615", "18446744073709551615"},
		{valueUnsigned, "18446744073709551616", "!"}, {valueUnsigned, "-1", "!"}, {valueUnsigned, "x", "!"},
		{valueFloat, "1e300", "1e300"}, {valueFloat, "NaN", "!"}, {valueFloat, "0x10", "!"}, {valueFloat, "1,5", "!"},
		{valueText, "ZBX_NOTSUPPORTED", "!"}, {valueText, "ü", "ü"},
	} {
		v := converted(&item{value: test.kind}, value{text: test.in})
		if v.failed {
			v.text = "!"
		}
		if v.text != test.want {
			t.Errorf("%q as %d: got %q, want %q", test.in, test.kind, v.text, test.want)
		}
	}
}
