package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/natrix-os/natrix/agent/command"
	"golang.org/x/sys/unix"
)

// page is a fake screen that remembers the keys.
type page struct {
	mu   sync.Mutex
	keys string
}

func (p *page) String() string { return "a page" }

func (p *page) Draw(columns, rows int) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return fmt.Sprintf("%d by %d\nkeys %q", columns, rows, p.keys)
}

func (p *page) Press(key byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys += string(key)
	return key == 'q'
}

type cycles struct{ Count int }

func (c *cycles) Flags(f *command.Flags) {
	f.Int(&c.Count, "report-cycles", "c", "rounds", 0, 10)
}

type hubs struct{ Rounds int }

func (h hubs) WriteText(w io.Writer) { fmt.Fprintf(w, "%d rounds\n", h.Rounds) }

// endless is a fake mtr: without a number of rounds it runs until it is told to end.
func endless() command.Definition {
	info := command.Info{Name: "mtr", Summary: "A fake", Example: "natrix mtr x"}
	return command.Define(info, func() cycles { return cycles{10} }, func(ctx context.Context, destination string, c cycles) (hubs, error) {
		if destination == "none.example.com" {
			return hubs{}, command.ErrResolve
		}
		command.Progress(ctx, &page{})
		if c.Count == 0 {
			<-ctx.Done()
		}
		return hubs{c.Count}, nil
	})
}

func runMTR(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	root := New(command.NewSet(endless()), nil)
	var out, errs strings.Builder
	root.SetArgs(append([]string{"mtr"}, args...))
	root.SetOut(&out)
	root.SetErr(&errs)
	code = Report(&errs, root.ExecuteContext(t.Context()))
	return out.String(), errs.String(), code
}

func TestMTRForms(t *testing.T) {
	for _, test := range []struct {
		args         []string
		stdout, errs string
		code         int
	}{
		{[]string{"x"}, "10 rounds\n", "", 0},
		{[]string{"-r", "-c", "3", "x"}, "3 rounds\n", "", 0},
		{[]string{"-j", "x"}, "{\n    \"Rounds\": 10\n}\n", "", 0},
		{[]string{"-o", "json", "x"}, "{\n    \"Rounds\": 10\n}\n", "", 0},
		{[]string{"-o", "json", "none.example.com"}, "", "natrix: name not resolved\n", ExitFailed},
		{[]string{"none.example.com"}, "mtr none.example.com: name not resolved\n", "", ExitFailed},
		{[]string{"-o", "xml", "x"}, "", "natrix: output \"xml\" is not text, json or document\n", ExitUsage},
	} {
		stdout, errs, code := runMTR(t, test.args...)
		if stdout != test.stdout || errs != test.errs || code != test.code {
			t.Errorf("%q: exit code %d\n got %q, %q\nwant %q, %q", test.args, code, stdout, errs, test.stdout, test.errs)
		}
	}
	if out, _, _ := runMTR(t, "-o", "document", "x"); !strings.HasPrefix(out, "==================MTR EXECUTE========================\n{\"status\":0,\"data\":{\"Rounds\":10}") {
		t.Errorf("got %s", out)
	}
}

// openPTY is the two ends of a pseudo-terminal of 100 columns and 30 rows.
func openPTY(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	var number int
	err = tty{master}.control(func(fd int) (err error) {
		if number, err = unix.IoctlGetInt(fd, unix.TIOCGPTN); err != nil {
			return err
		}
		size := unix.Winsize{Row: 30, Col: 100}
		return errors.Join(unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0), unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &size))
	})
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	return master, slave
}

// await reads until what is wanted has come, and returns all up to there.
func await(t *testing.T, from *os.File, want string) string {
	t.Helper()
	from.SetReadDeadline(time.Now().Add(10 * time.Second))
	var got strings.Builder
	buf := make([]byte, 4096)
	for !strings.Contains(got.String(), want) {
		n, err := from.Read(buf)
		got.Write(buf[:n])
		if err != nil {
			t.Fatalf("%v while waiting for %q in %q", err, want, got.String())
		}
	}
	return got.String()
}

func TestWatch(t *testing.T) {
	for _, test := range []struct{ name, last string }{{"quit", "q"}, {"control-c", "\x03"}} {
		t.Run(test.name, func(t *testing.T) {
			master, slave := openPTY(t)
			run := endless().Prepare()
			if err := run.Flags.Set("report-cycles", "0"); err != nil {
				t.Fatal(err)
			}
			before, err := modes(slave)
			if err != nil {
				t.Fatal(err)
			}
			var report strings.Builder
			done := make(chan error)
			go func() { done <- watch(t.Context(), tty{slave}, &report, run, "x") }()
			await(t, master, enterScreen+topLeft+"100 by 30"+clearRight+"\r\nkeys \"\"")
			io.WriteString(master, "dn")
			await(t, master, `keys "dn"`)
			io.WriteString(master, test.last)
			await(t, master, leaveScreen)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if report.String() != "0 rounds\n" {
				t.Errorf("got %q", report.String())
			}
			if after, err := modes(slave); err != nil || *after != *before {
				t.Errorf("the terminal was left in other modes: %v, %+v, want %+v", err, after, before)
			}
		})
	}
}

func modes(f *os.File) (modes *unix.Termios, err error) {
	err = tty{f}.control(func(fd int) (err error) { modes, err = unix.IoctlGetTermios(fd, unix.TCGETS); return err })
	return modes, err
}

func TestWatchFails(t *testing.T) {
	_, slave := openPTY(t)
	var report strings.Builder
	if err := watch(t.Context(), tty{slave}, &report, endless().Prepare(), "none.example.com"); !errors.Is(err, command.ErrResolve) || report.Len() > 0 {
		t.Errorf("got %v, %q", err, report.String())
	}
}

func TestNoTerminal(t *testing.T) {
	file, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, w := range []io.Writer{file, new(strings.Builder)} {
		if _, ok := terminal(w); ok {
			t.Errorf("%T is taken for a terminal", w)
		}
	}
}
