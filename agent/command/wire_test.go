package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestDecodeServerExamples(t *testing.T) {
	paths, err := filepath.Glob("testdata/server/cmd_*.json")
	if err != nil || len(paths) < 20 {
		t.Fatalf("examples: got %d (%v), want all of the server's", len(paths), err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			body, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			c, err := Decode(body)
			if err != nil {
				t.Fatal(err)
			}
			var want struct {
				UUID      json.RawMessage `json:"uuid"`
				Terminal  json.RawMessage `json:"terminal"`
				Generated json.RawMessage `json:"generate_timestamp"`
				Protocol  string          `json:"protocol"`
			}
			if err := json.Unmarshal(body, &want); err != nil {
				t.Fatal(err)
			}
			if c.Name != strings.ToLower(want.Protocol) {
				t.Errorf("name: got %q, want %q", c.Name, want.Protocol)
			}
			for _, echo := range []struct{ got, want json.RawMessage }{
				{c.Echo.UUID, want.UUID}, {c.Echo.Terminal, want.Terminal}, {c.Echo.Generated, want.Generated},
			} {
				if !bytes.Equal(echo.got, echo.want) {
					t.Errorf("echo: got %s, want %s", echo.got, echo.want)
				}
			}
		})
	}
}

func TestDecodeParameters(t *testing.T) {
	for _, test := range []struct {
		name, raw string
		want      map[string]string
	}{
		{"absent", ``, map[string]string{}},
		{"null", `null`, map[string]string{}},
		{"numbers", `{"count":10,"timeout":"3","size":5.0}`, map[string]string{"count": "10", "timeout": "3", "size": "5.0"}},
		{"null and empty are absent", `{"dns_server":null,"interface":""}`, map[string]string{}},
		{"booleans", `{"is_default":true}`, map[string]string{"is_default": "true"}},
		{"objects stay JSON", `{"http_header":{"A":"b"}}`, map[string]string{"http_header": `{"A":"b"}`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			body := `{"uuid":"u","protocol":"PING","destination":" www.example.com "`
			if test.raw != "" {
				body += `,"parameters":` + test.raw
			}
			c, err := Decode([]byte(body + "}"))
			if err != nil {
				t.Fatal(err)
			}
			if len(c.Params) != len(test.want) {
				t.Fatalf("got %v, want %v", c.Params, test.want)
			}
			for key, want := range test.want {
				if c.Params[key] != want {
					t.Errorf("%s: got %q, want %q", key, c.Params[key], want)
				}
			}
			if c.Name != "ping" || c.Destination != "www.example.com" {
				t.Errorf("got %q to %q", c.Name, c.Destination)
			}
		})
	}
}

func TestDecodeGarbage(t *testing.T) {
	for _, test := range []struct {
		name, body string
		answerable bool // a uuid can be read, so the server is told
	}{
		{"empty", "", false},
		{"not JSON", "ping www.example.com", false},
		{"array", `[1,2]`, false},
		{"zeros", strings.Repeat("\x00", 1<<20), false},
		{"deep", strings.Repeat("[", 1<<20), false},
		{"uuid is not UTF-8", "{\"uuid\":\"\xff\"}", false},
		{"destination is not UTF-8", "{\"uuid\":\"u\",\"protocol\":\"ping\",\"destination\":\"caf\xe9\"}", true},
		{"no uuid", `{"protocol":"ping","destination":"x"}`, false},
		{"null uuid", `{"uuid":null,"protocol":"ping"}`, false},
		{"no protocol", `{"uuid":"u","destination":"x"}`, true},
		{"protocol is a number", `{"uuid":"u","protocol":5,"destination":"x"}`, true},
		{"destination is a list", `{"uuid":"u","protocol":"ping","destination":["x"]}`, true},
		{"parameters is a list", `{"uuid":"u","protocol":"ping","destination":"x","parameters":[1]}`, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, err := Decode([]byte(test.body))
			if err == nil {
				t.Fatal("no error")
			}
			if got := c.Echo != nil; got != test.answerable {
				t.Errorf("answerable: got %v, want %v (%v)", got, test.answerable, err)
			}
		})
	}
}

// number is a measurement of one number.
type number float64

func (n number) WriteText(w io.Writer)        {}
func (n number) MarshalJSON() ([]byte, error) { return json.Marshal(float64(n)) }

func TestEncode(t *testing.T) {
	at := time.Unix(1557990000, 343456000)
	c := Command{
		Name: "ping", Destination: "www.example.com", Received: at,
		Echo: &Echo{UUID: json.RawMessage(`"<u&1>"`), Terminal: json.RawMessage(`"b827ebf94174"`), Generated: json.RawMessage(`1557990000.12345678`)},
	}
	later := at.Add(1500 * time.Millisecond)
	const stamps = `"stamp":{"server_request_generate_time":1557990000.12345678,"terminal_request_receive_time":1557990000.343456,` +
		`"terminal_request_send_time":1557990000.343456,"terminal_response_receive_time":1557990001.843456,"terminal_response_return_time":1557990001.843456}}`
	const head = `{"command":{"uuid":"<u&1>","terminal":"b827ebf94174"},`
	for _, test := range []struct {
		name string
		r    Result
		want string
	}{
		{"success", Result{Command: c, Data: number(3), Sent: at, Answered: later, Returned: later}, head + `"status":0,"data":3,` + stamps},
		{"failure", Result{Command: c, Err: ErrResolve, Sent: at, Answered: later, Returned: later},
			head + `"status":1,"data":{"errorcode":140,"errorinfo":"name not resolved"},` + stamps},
		{"unwritable", Result{Command: c, Data: number(math.NaN()), Sent: at, Answered: later, Returned: later},
			head + `"status":1,"data":{"errorcode":140,"errorinfo":"internal error: json: error calling MarshalJSON for type command.number: json: unsupported value: NaN"},` + stamps},
		{"command line", Result{Command: Command{Name: "ping", Received: at}, Data: number(3), Sent: at, Answered: later, Returned: later},
			`{"status":0,"data":3,` + strings.Replace(stamps, "1557990000.12345678", "null", 1)},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := string(Encode(test.r)); got != test.want {
				t.Errorf("\n got %s\nwant %s", got, test.want)
			}
		})
	}
}

// trap is a measurement that cannot be written.
type trap struct{ number }

func (trap) MarshalJSON() ([]byte, error) { panic("sprung") }

func TestEncodeSurvivesAPanic(t *testing.T) {
	body := Encode(Result{Command: Command{Name: "ping", Received: time.Now()}, Data: trap{}})
	if !bytes.Contains(body, []byte(`"errorinfo":"internal error: sprung"`)) {
		t.Errorf("got %s", body)
	}
}

func TestKeyTellsCommandsApart(t *testing.T) {
	of := func(name, destination string, params map[string]string) string {
		return Command{Name: name, Destination: destination, Params: params, Echo: &Echo{UUID: json.RawMessage(`"u"`)}}.Key()
	}
	base := of("ping", "x", map[string]string{"count": "1", "auth_user": "secret"})
	if again := of("ping", "x", map[string]string{"auth_user": "secret", "count": "1"}); again != base {
		t.Errorf("the same command twice: %s, %s", base, again)
	}
	for _, other := range []string{of("dns", "x", map[string]string{"count": "1", "auth_user": "secret"}), of("ping", "y", nil), of("ping", "x", nil)} {
		if other == base {
			t.Errorf("different commands, one key: %s", base)
		}
	}
	if strings.Contains(base, "secret") {
		t.Errorf("the key shows a parameter: %s", base)
	}
}

func TestTargetHidesThePassword(t *testing.T) {
	for destination, want := range map[string]string{"http://bob:secret@h/x": "http://bob:xxxxx@h/x", "www.example.com:80": "www.example.com:80", "::1": "::1"} {
		if got := (Command{Destination: destination}).Target(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestEncodeHTTPFailureReceivedNothing(t *testing.T) {
	body := Encode(Fail(Command{Name: "http", Received: time.Now()}, ErrConnect))
	if !bytes.Contains(body, []byte(`"terminal_response_receive_time":null`)) || !bytes.Contains(body, []byte(`"errorcode":7,`)) {
		t.Errorf("got %s", body)
	}
}

func TestDeadline(t *testing.T) {
	received := time.Unix(1557990100, 0)
	for _, test := range []struct {
		name, generated string
		want            time.Duration
	}{
		{"counted from generation", "1557990000", 190 * time.Second},
		{"numeric string", `"1557990000"`, 190 * time.Second},
		{"clock of the server ahead", "1557990105", answerWithin},
		{"stored example", "1500000000", answerWithin},
		{"readme sample", `"222222"`, answerWithin},
		{"not a number", `"now"`, answerWithin},
		{"absurd", "1e300", answerWithin},
		{"absent", "", answerWithin},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := Command{Received: received, Echo: &Echo{Generated: json.RawMessage(test.generated)}}
			if got := c.Deadline().Sub(received); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestTargetHasNoPassword(t *testing.T) {
	for destination, want := range map[string]string{
		"www.example.com":             "www.example.com",
		"https://www.example.com/@me": "https://www.example.com/@me",
		"http://u:secret@h/p":         "http://u:xxxxx@h/p",
		"http://u:secret@h:port/":     "http://xxxxx@h:port/",
		"http://u:sec%ret@h/":         "http://xxxxx@h/",
		"u:secret@h":                  "xxxxx@h",
		"u:sec/ret@h/p":               "xxxxx@h/p",
	} {
		if got := (Command{Destination: destination}).Target(); got != want {
			t.Errorf("%s: got %s, want %s", destination, got, want)
		}
	}
}

func TestExpired(t *testing.T) {
	received := time.Unix(1557990000, 0)
	for _, test := range []struct {
		name, generated string
		want            bool
	}{
		{"just now", "1557989999.5", false},
		{"two minutes ago", "1557989880", false},
		{"a little more", "1557989879.5", true},
		{"an hour ago", "1557986400", true},
		{"clock of the server ahead", "1557990105", false},
		{"stored example", "1500000000", false},
		{"readme sample", `"222222"`, false},
		{"not a number", `"now"`, false},
		{"absent", "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := Command{Received: received, Echo: &Echo{Generated: json.RawMessage(test.generated)}}
			if got := c.Expired(); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	paths, _ := filepath.Glob("testdata/server/*.json")
	for _, path := range paths {
		body, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	f.Add([]byte(`{"uuid":{"a":[]},"protocol":"x","destination":"y","parameters":{"a":[1,"\ud800"]}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := Decode(body)
		if err != nil && c.Echo == nil {
			return
		}
		c.Deadline()
		answer := Encode(Fail(c, errors.New("\x00")))
		var doc struct {
			Command struct {
				UUID json.RawMessage `json:"uuid"`
			} `json:"command"`
			Data struct {
				Info string `json:"errorinfo"`
			} `json:"data"`
		}
		if err := json.Unmarshal(answer, &doc); err != nil {
			t.Fatalf("answer is not JSON: %v: %s", err, answer)
		}
		if strings.TrimSpace(doc.Data.Info) == "" {
			t.Errorf("blank errorinfo: %s", answer)
		}
	})
}

func TestEncodeClock(t *testing.T) {
	r := Result{Command: Command{Name: "ping"}, Data: number(1), Clock: &Clock{Synchronised: true, Age: 90 * time.Second, Offset: -1500 * time.Microsecond, MaxError: 45 * time.Millisecond}}
	want := `"clock":{"synchronised":true,"age":90,"offset":-1.5,"max_error":45}`
	if got := string(Encode(r)); !strings.Contains(got, want) {
		t.Errorf("got %s, want it to hold %s", got, want)
	}
}
