package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/natrix-os/natrix/agent/command"
)

// params and told are a fake probe: what it was told is what it measures.
type params struct {
	Operation string
	Count     int
}

func (p *params) Flags(f *command.Flags) {
	f.Text(&p.Operation, "operation", "", "what to do")
	f.Int(&p.Count, "count", "c", "how often", 1, 10)
	f.Hide("operation")
}

type told struct {
	Operation   string
	Count       int
	Destination string
}

func (m told) WriteText(w io.Writer) {
	fmt.Fprintf(w, "%s %s %d times\n", m.Operation, m.Destination, m.Count)
}

type line string

func (l line) String() string { return string(l) }

func fake(name, positional string) command.Definition {
	info := command.Info{Name: name, Summary: "A fake", Positional: positional, Example: "natrix " + name + " x"}
	return command.Define(info, func() params { return params{Count: 3} }, func(ctx context.Context, destination string, p params) (told, error) {
		if destination == "none.example.com" {
			return told{}, command.ErrResolve
		}
		command.Progress(ctx, line("under way"))
		return told{p.Operation, p.Count, destination}, nil
	})
}

// natrix runs a command line and returns what it printed and its exit code.
func natrix(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	root := New(command.NewSet(fake("ping", ""), fake("dns", ""), fake("http", "operation")), nil, Config(), Version("1.2.3"))
	var out, errs bytes.Buffer
	root.SetArgs(args)
	root.SetOut(&out)
	root.SetErr(&errs)
	code = Report(&errs, root.ExecuteContext(t.Context()))
	return out.String(), errs.String(), code
}

var stamps = regexp.MustCompile(`[0-9]{10}\.[0-9]{6}`)

func TestForms(t *testing.T) {
	const stamp = `"stamp":{"server_request_generate_time":null,"terminal_request_receive_time":T,"terminal_request_send_time":T,"terminal_response_receive_time":T,"terminal_response_return_time":T}}`
	const footer = "======================================================\n"
	for _, test := range []struct {
		name string
		args []string
		want string
		code int
	}{
		{"document", []string{"ping", "-c", "2", "x"},
			"==================PING EXECUTE========================\n" + `{"status":0,"data":{"Operation":"","Count":2,"Destination":"x"},` + stamp + "\n" + footer, 0},
		{"document of dns", []string{"dns", "x"},
			"=====================DNS EXECUTE======================\n" + `{"status":0,"data":{"Operation":"","Count":3,"Destination":"x"},` + stamp + "\n" + footer, 0},
		{"operation before the destination", []string{"http", "-c", "1", "get", "x", "-o", "json"},
			`{"status":0,"data":{"Operation":"get","Count":1,"Destination":"x"},` + stamp + "\n", 0},
		{"text with progress", []string{"ping", "x", "--output=text"}, "under way\n x 3 times\n", 0},
		{"failure in the document keeps 0", []string{"ping", "none.example.com"},
			"==================PING EXECUTE========================\n" + `{"status":1,"data":{"errorcode":140,"errorinfo":"name not resolved"},` + stamp + "\n" + footer, 0},
		{"failure in JSON", []string{"ping", "-o", "json", "none.example.com"}, `{"status":1,"data":{"errorcode":140,"errorinfo":"name not resolved"},` + stamp + "\n", ExitFailed},
		{"failure in text", []string{"ping", "-o", "text", "none.example.com"}, "ping none.example.com: name not resolved\n", ExitFailed},
		{"version", []string{"version"}, "natrix 1.2.3\n", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			out, errs, code := natrix(t, test.args...)
			if got := stamps.ReplaceAllString(out, "T"); got != test.want || code != test.code || errs != "" {
				t.Errorf("exit code %d, stderr %q\n got %s\nwant %s", code, errs, got, test.want)
			}
		})
	}
}

func TestUsage(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{nil, "which command?"},
		{[]string{"pong"}, `unknown command "pong", did you mean ping?`},
		{[]string{"ping"}, "want: natrix ping DESTINATION"},
		{[]string{"ping", "a", "b"}, "want: natrix ping DESTINATION"},
		{[]string{"config"}, "which command?"},
		{[]string{"config", "bogus"}, `unknown command "bogus"`},
		{[]string{"completion", "zzz"}, `unknown command "zzz"`},
		{[]string{"version", "x"}, "want: natrix version"},
		{[]string{"http", "x"}, "want: natrix http OPERATION DESTINATION"},
		{[]string{"ping", "--bogus", "x"}, "unknown flag: --bogus"},
		{[]string{"ping", "-c", "11", "x"}, "11 is not within 1 to 10"},
		{[]string{"ping", "-o", "xml", "x"}, `output "xml" is not document, text or json`},
	} {
		_, errs, code := natrix(t, test.args...)
		if code != ExitUsage || !strings.Contains(errs, test.want) {
			t.Errorf("%q: exit code %d, %q, want %q", test.args, code, errs, test.want)
		}
	}
}

func TestHelpShowsExamples(t *testing.T) {
	out, _, code := natrix(t, "ping", "--help")
	for _, want := range []string{"natrix ping x", "-c, --count int", "how often (default 3)"} {
		if !strings.Contains(out, want) {
			t.Errorf("missing %q in\n%s", want, out)
		}
	}
	if code != 0 || strings.Contains(out, "operation") {
		t.Errorf("exit code %d\n%s", code, out)
	}
}

func TestConfigCheck(t *testing.T) {
	path := filepath.Join(t.TempDir(), "natrix.ini")
	for body, want := range map[string]struct {
		text string
		code int
	}{
		"[RABBITMQ]\nhost = h\nusername = u\npassword = secret\nvhost = /natrix\n": {"amqp://u:xxxxx@h:5672/%2Fnatrix", 0},
		"[RABBITMQ]\nhots = h\n": {"natrix.ini:2: no such setting: [RABBITMQ] hots", ExitFailed},
		"":                       {"broker     none", 0},
	} {
		if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		out, errs, code := natrix(t, "config", "check", path)
		if code != want.code || !strings.Contains(out+errs, want.text) || strings.Contains(out+errs, "secret") {
			t.Errorf("%q: exit code %d\n%s%s", body, code, out, errs)
		}
	}
}

func TestReport(t *testing.T) {
	var b bytes.Buffer
	if code := Report(&b, errors.New("no broker")); code != ExitFailed || b.String() != "natrix: no broker\n" {
		t.Errorf("got %d, %q", code, b.String())
	}
}

func TestRevision(t *testing.T) {
	for _, test := range []struct {
		settings []debug.BuildSetting
		want     string
	}{
		{nil, ""},
		{[]debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.modified", Value: "false"}}, " (abc)"},
		{[]debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.modified", Value: "true"}}, " (abc, changed)"},
	} {
		if got := revision(test.settings); got != test.want {
			t.Errorf("%v: got %q, want %q", test.settings, got, test.want)
		}
	}
}
