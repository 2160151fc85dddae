package cli

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/natrix-os/natrix/agent/command"
)

func TestLog(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		file string
		want []string
		not  string
	}{
		{"outcome", []string{"ping", "-o", "json", "http://u:secret@x/"}, "", []string{"msg=done cmd=ping dst=http://u:xxxxx@x/"}, "under way"},
		{"failure", []string{"ping", "none.example.com"}, "", []string{"dst=none.example.com", `err="name not resolved"`}, "under way"},
		{"debug", []string{"-d", "ping", "x"}, "", []string{`msg="under way" cmd=ping`, "msg=done"}, "secret"},
		{"debug, and text", []string{"-d", "--log-file", "f", "ping", "-o", "text", "x"}, "f", []string{`msg="under way" cmd=ping`}, "secret"},
		{"a file with its name attached", []string{"--log-file=g", "ping", "x"}, "g", []string{"msg=done"}, "secret"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var logged bytes.Buffer
			var named string
			closed := false
			root := New(command.NewSet(fake("ping", "")), func(file string, debug bool) (*slog.Logger, func(), error) {
				level := slog.LevelInfo
				if debug {
					level = slog.LevelDebug
				}
				named = file
				return slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: level})), func() { closed = true }, nil
			})
			root.SetArgs(test.args)
			var out bytes.Buffer
			root.SetOut(&out)
			root.SetErr(&out)
			root.ExecuteContext(t.Context())
			got := logged.String()
			for _, want := range test.want {
				if !strings.Contains(got, want) {
					t.Errorf("missing %q in %s", want, got)
				}
			}
			if strings.Contains(got, test.not) || named != test.file || !closed {
				t.Errorf("file %q, closed %v: %s", named, closed, got)
			}
		})
	}
}

func TestLogThatCannotBeOpened(t *testing.T) {
	root := New(command.NewSet(fake("ping", "")), func(string, bool) (*slog.Logger, func(), error) {
		return nil, nil, errors.New("open f: no space")
	})
	root.SetArgs([]string{"--log-file", "f", "ping", "x"})
	var out bytes.Buffer
	root.SetOut(&out)
	if code := Report(&out, root.ExecuteContext(t.Context())); code != ExitFailed || out.String() != "natrix: open f: no space\n" {
		t.Errorf("exit code %d, %q", code, out.String())
	}
}

func TestProgress(t *testing.T) {
	master, slave := openPTY(t)
	p := newProgress(slave, "ping x")
	p.say("seq=1")
	seen := make(chan string, 1)
	go func() {
		var all strings.Builder
		b := make([]byte, 4096)
		for !strings.Contains(all.String(), "ping x, 1 s: seq=1") {
			n, err := master.Read(b)
			if err != nil {
				break
			}
			all.Write(b[:n])
		}
		seen <- all.String()
	}()
	select {
	case got := <-seen:
		if !strings.Contains(got, "\rping x, 1 s: seq=1"+clearRight) {
			t.Errorf("got %q", got)
		}
	case <-time.After(20 * time.Second):
		t.Error("nothing is shown")
	}
	p.end()
	p.end()
}

func TestProgressOnNoTerminal(t *testing.T) {
	var b bytes.Buffer
	p := newProgress(&b, "ping x")
	p.say("seq=1")
	p.end()
	if b.Len() > 0 {
		t.Errorf("got %q", b.String())
	}
}

func TestProgressFitsTheLine(t *testing.T) {
	p := &progress{what: "ping x", wide: 12, line: "many words\nand lines"}
	if got, want := p.text(1500*time.Millisecond), "ping x, 1 s"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
