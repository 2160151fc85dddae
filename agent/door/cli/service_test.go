package cli

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/natrix-os/natrix/agent/command"
	"github.com/natrix-os/natrix/agent/service"
)

// serviceOf runs natrix service on a machine that is a directory.
func serviceOf(t *testing.T, m service.Manager, args ...string) (output string, code int) {
	t.Helper()
	root := New(command.NewSet(), nil, Service(func(w io.Writer) service.Manager { m.Out = w; return m }))
	var out bytes.Buffer
	root.SetArgs(append([]string{"service"}, args...))
	root.SetOut(&out)
	root.SetErr(&out)
	code = Report(&out, root.ExecuteContext(t.Context()))
	return out.String(), code
}

func TestServiceExitCodes(t *testing.T) {
	bare := service.Manager{Root: t.TempDir()}
	gone := service.Manager{Root: t.TempDir()}
	if err := os.MkdirAll(filepath.Join(gone.Root, "etc/systemd/system"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(gone.Root, "etc/systemd/system/natrixclient.service"), []byte("[Service]\nExecStart=/usr/local/bin/natrix agent\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		m    service.Manager
		args []string
		want string
		code int
	}{
		{"start without unit", bare, []string{"start"}, "natrix service init", ExitStartNoUnit},
		{"start without program", gone, []string{"start"}, "/usr/local/bin/natrix: no such file", ExitStartNoProgram},
		{"enable without unit", bare, []string{"enable"}, "natrix service init", ExitEnableNoUnit},
		{"enable without program", gone, []string{"enable"}, "/usr/local/bin/natrix: no such file", ExitEnableNoProgram},
		{"stop without unit", bare, []string{"stop"}, "natrix service init", ExitFailed},
		{"init on an appliance", service.Manager{Appliance: true}, []string{"init"}, "runs natrix and nothing else", ExitFailed},
		{"init for a version of Python", service.Manager{Appliance: true}, []string{"init", "-p", "3"}, "runs natrix and nothing else", ExitFailed},
		{"init for none", bare, []string{"init", "-p", "4"}, "2 and 3", ExitUsage},
		{"which", bare, nil, "which command?", ExitUsage},
	} {
		if got, code := serviceOf(t, test.m, test.args...); code != test.code || !strings.Contains(got, test.want) {
			t.Errorf("%s: exit code %d, want %d, %q in %s", test.name, code, test.code, test.want, got)
		}
	}
}

func TestServiceInitForAnImage(t *testing.T) {
	program := filepath.Join(t.TempDir(), "natrix")
	if err := os.WriteFile(program, []byte("program"), 0o755); err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	got, code := serviceOf(t, service.Manager{Program: program}, "init", "-p", "2", "--root", root)
	want := []string{"1. /usr/local/bin/natrix: copied from " + program, "3. /etc/natrix/natrix.ini: written", "7. systemctl daemon-reload: left to the machine", strings.Repeat("=", 96)}
	for _, w := range want {
		if code != 0 || !strings.Contains(got, w+"\n") {
			t.Errorf("exit code %d, missing %q in\n%s", code, w, got)
		}
	}
}
