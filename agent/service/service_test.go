package service

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/natrix-os/natrix/agent/config"
)

// machine is a directory that stands for a machine with systemd, and programs
// on PATH that write down how they are called.
type machine struct {
	*testing.T
	Manager
	out   bytes.Buffer
	calls string // file with a line for each call
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{T: t, calls: filepath.Join(t.TempDir(), "calls")}
	m.Manager = Manager{Root: t.TempDir(), Program: filepath.Join(t.TempDir(), "natrix"), Out: &m.out}
	m.put("/run/systemd/system/x", "")
	if err := os.WriteFile(m.Program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", t.TempDir()+":"+os.Getenv("PATH"))
	m.fake("systemctl", "exit 0")
	m.fake("crontab", "exit 1")
	return m
}

// fake puts a program on PATH in the place of a real one.
func (m *machine) fake(name, script string) {
	m.Helper()
	dir, _, _ := strings.Cut(os.Getenv("PATH"), ":")
	body := "#!/bin/sh\necho " + name + " \"$@\" >>" + m.calls + "\n" + script + "\n"
	// Renamed into place, as a file that was being written cannot be run (ETXTBSY).
	fresh := filepath.Join(m.TempDir(), name)
	if err := os.WriteFile(fresh, []byte(body), 0o755); err != nil {
		m.Fatal(err)
	}
	if err := os.Rename(fresh, filepath.Join(dir, name)); err != nil {
		m.Fatal(err)
	}
}

func (m *machine) called() []string {
	m.Helper()
	b, err := os.ReadFile(m.calls)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		m.Fatal(err)
	}
	return slices.DeleteFunc(strings.Split(string(b), "\n"), func(s string) bool { return s == "" })
}

func (m *machine) put(name, body string) {
	m.Helper()
	if err := os.MkdirAll(filepath.Dir(m.path(name)), 0o755); err != nil {
		m.Fatal(err)
	}
	if err := os.WriteFile(m.path(name), []byte(body), 0o600); err != nil {
		m.Fatal(err)
	}
}

func (m *machine) read(name string) string {
	m.Helper()
	b, err := os.ReadFile(m.path(name))
	if err != nil {
		m.Fatal(err)
	}
	return string(b)
}

func (m *machine) init(fresh bool) {
	m.Helper()
	if err := m.Init(m.Context(), fresh); err != nil {
		m.Fatal(err)
	}
}

const configured = "[RABBITMQ]\nhost = broker.example.com\n"

func TestInit(t *testing.T) {
	m := newMachine(t)
	m.init(false)
	if got := m.read(program); got != m.readProgram() {
		t.Errorf("program: got %q", got)
	}
	if got := m.read(config.File); got != config.Template() {
		t.Errorf("configuration: got %q", got)
	}
	if info, err := os.Stat(m.path(config.File)); err != nil || info.Mode() != 0o600 {
		t.Errorf("a configuration that will hold a password: %v, %v", info.Mode(), err)
	}
	if info, err := os.Stat(m.path(logs)); err != nil || !info.IsDir() {
		t.Errorf("log directory: %v", err)
	}
	if got := m.read(m.unitFile()); !strings.Contains(got, "\nExecStart=/usr/local/bin/natrix agent --config /etc/natrix/natrix.ini\n") {
		t.Errorf("unit: got %s", got)
	}
	if want := []string{"crontab -l", "systemctl daemon-reload"}; !slices.Equal(m.called(), want) {
		t.Errorf("called %q, want %q", m.called(), want)
	}
}

func (m *machine) readProgram() string {
	m.Helper()
	b, err := os.ReadFile(m.Program)
	if err != nil {
		m.Fatal(err)
	}
	return string(b)
}

func TestInitAgainChangesNothing(t *testing.T) {
	m := newMachine(t)
	m.init(false)
	m.put(config.File, configured)
	before := m.files()
	m.init(false)
	if after := m.files(); !slices.Equal(before, after) {
		t.Errorf("got %q, want %q", after, before)
	}
	if got := m.read(config.File); got != configured {
		t.Errorf("configuration: got %q", got)
	}
}

// files are the names of all files, without what is a matter of the test.
func (m *machine) files() []string {
	m.Helper()
	var names []string
	err := filepath.WalkDir(m.Root, func(path string, d os.DirEntry, err error) error {
		names = append(names, path)
		return err
	})
	if err != nil {
		m.Fatal(err)
	}
	return names
}

func TestInitKeepsWhatItReplaces(t *testing.T) {
	m := newMachine(t)
	m.put(m.unitFile(), "of the original client")
	m.put(config.File, configured)
	m.init(true)
	for name, want := range map[string]string{m.unitFile(): "of the original client", config.File: configured} {
		kept, err := filepath.Glob(m.path(name) + ".*")
		if err != nil || len(kept) != 1 || !regexp.MustCompile(`\.[0-9]{14}$`).MatchString(kept[0]) {
			t.Fatalf("%s: kept as %q, %v", name, kept, err)
		}
		if got, err := os.ReadFile(kept[0]); string(got) != want {
			t.Errorf("%s: kept %q, %v", name, got, err)
		}
	}
	if got := m.read(config.File); got != config.Template() {
		t.Errorf("configuration: got %q", got)
	}
}

func TestInitNamesMistakes(t *testing.T) {
	m := newMachine(t)
	m.put(config.File, "[RABBITMQ]\nhots = x\n")
	m.init(false)
	if want := "natrix.ini:2: no such setting: [RABBITMQ] hots"; !strings.Contains(m.out.String(), want) {
		t.Errorf("got %q, want %q", m.out.String(), want)
	}
}

func TestInitRetiresTheOriginalsCrontab(t *testing.T) {
	m := newMachine(t)
	written := filepath.Join(t.TempDir(), "table")
	m.fake("crontab", `if [ "$1" = - ]; then cat >`+written+`; exit; fi
cat <<'END'
# natrix report basic was here
* * * * * sudo natrix report basic >> /var/log/natrix/natrixclient_crontab_basic.log 2>&1
*/30 * * * * sudo natrix report advance >> /var/log/natrix/natrixclient_crontab_advance.log 2>&1
0 4 * * * backup
END`)
	m.init(false)
	got, err := os.ReadFile(written)
	if want := "# natrix report basic was here\n0 4 * * * backup\n"; string(got) != want || err != nil {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

func TestInitSaysWhatSystemctlSays(t *testing.T) {
	m := newMachine(t)
	m.fake("systemctl", "echo no bus; exit 1")
	err := m.Init(t.Context(), false)
	if err == nil || !strings.Contains(err.Error(), "step 7, systemctl daemon-reload") || !strings.Contains(m.out.String(), "no bus") {
		t.Errorf("got %v, %q", err, m.out.String())
	}
}

func TestNotHere(t *testing.T) {
	appliance := newMachine(t)
	appliance.Appliance = true
	for name, test := range map[string]struct {
		err  error
		want error
	}{
		"init on the appliance":   {appliance.Init(t.Context(), false), ErrAppliance},
		"start on the appliance":  {appliance.Start(t.Context()), ErrAppliance},
		"status on the appliance": {appliance.Status(t.Context()), ErrAppliance},
		"start before init":       {newMachine(t).Start(t.Context()), ErrNoUnit},
		"enable before init":      {newMachine(t).Enable(t.Context()), ErrNoUnit},
		"stop before init":        {newMachine(t).Stop(t.Context()), ErrNoUnit},
		"status before init":      {newMachine(t).Status(t.Context()), ErrNoUnit},
	} {
		if !errors.Is(test.err, test.want) {
			t.Errorf("%s: got %v, want %v", name, test.err, test.want)
		}
	}
	if got := len(appliance.called()); got != 0 {
		t.Errorf("%d programs were called on the appliance", got)
	}
}

func TestStart(t *testing.T) {
	m := newMachine(t)
	m.init(false)
	if err := m.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "no broker is configured") {
		t.Errorf("without a broker: got %v", err)
	}
	m.put(config.File, configured)
	for _, do := range []error{m.Start(t.Context()), m.Enable(t.Context()), m.Stop(t.Context()), m.Disable(t.Context())} {
		if do != nil {
			t.Error(do)
		}
	}
	want := []string{"systemctl start natrixclient", "systemctl enable natrixclient", "systemctl stop natrixclient", "systemctl disable natrixclient"}
	if got := m.called(); !slices.Equal(got[2:], want) {
		t.Errorf("called %q, want %q", got, want)
	}

	m.fake("systemctl", "echo Access denied >&2; exit 4")
	if err := m.Stop(t.Context()); err == nil || !strings.Contains(err.Error(), "Access denied") {
		t.Errorf("a failure of systemctl: got %v", err)
	}
	if err := os.Remove(m.path(program)); err != nil {
		t.Fatal(err)
	}
	if err := m.Start(t.Context()); !errors.Is(err, ErrNoProgram) {
		t.Errorf("without its program: got %v", err)
	}
	if err := m.Enable(t.Context()); !errors.Is(err, ErrNoProgram) {
		t.Errorf("without its program: got %v", err)
	}
}

func TestStatus(t *testing.T) {
	m := newMachine(t)
	m.init(false)
	m.fake("systemctl", "echo Active: active; exit 0")
	if err := m.Status(t.Context()); err != nil || !strings.Contains(m.out.String(), "Active: active") {
		t.Errorf("got %v, %q", err, m.out.String())
	}
	m.fake("systemctl", "exit 3")
	if err := m.Status(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("got %v", err)
	}
	m.fake("systemctl", "exit 1")
	if err := m.Status(t.Context()); err == nil || errors.Is(err, ErrNotRunning) {
		t.Errorf("got %v", err)
	}
}

// TestUnitVerified asks systemd itself about the unit.
func TestUnitVerified(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		if slices.Contains(strings.Split(os.Getenv("NATRIX_MUST"), ","), "systemd") {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	unit := filepath.Join(t.TempDir(), "natrixclient.service")
	if err := os.WriteFile(unit, []byte(strings.ReplaceAll(unitText, "@program@", "/bin/true")), 0o644); err != nil {
		t.Fatal(err)
	}
	said, err := exec.CommandContext(t.Context(), "systemd-analyze", "verify", "--man=no", unit).CombinedOutput()
	if err != nil || len(said) > 0 { // it warns of what it does not know, and is content
		t.Errorf("verify: %v\n%s", err, said)
	}
	// Exposure is from 0 to 10; what is ok ends at 4.9 (systemd-analyze(1)).
	said, err = exec.CommandContext(t.Context(), "systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold=30", unit).CombinedOutput()
	if err != nil {
		t.Errorf("security: %v\n%s", err, said)
	}
}
