package shell

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/spf13/cobra"
)

// person sits at the other end of the serial cable.
type person struct {
	t     *testing.T
	tty   *os.File
	ended chan error

	mu      sync.Mutex
	output  string // what came, without what was waited for
	changed chan struct{}
}

// sit starts a shell and waits for its prompt.
func sit(t *testing.T, c Config) *person {
	t.Helper()
	ours, theirs, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	c.TTY = theirs
	if c.Root == nil {
		c.Root = commands
	}
	p := &person{t: t, tty: ours, ended: make(chan error, 1), changed: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { p.ended <- Run(ctx, c) }()
	read := make(chan struct{})
	go func() { defer close(read); p.read() }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-p.ended:
			if err != nil {
				t.Errorf("Run: got %v, want nil", err)
			}
		case <-time.After(5 * time.Second):
			t.Error("Run did not return when its context ended")
		}
		theirs.Close()
		ours.Close()
		<-read
	})
	p.sees(prompt)
	return p
}

func (p *person) read() {
	buf := make([]byte, 1024)
	for {
		n, err := p.tty.Read(buf)
		p.mu.Lock()
		p.output += string(buf[:n])
		p.mu.Unlock()
		select {
		case p.changed <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

func (p *person) types(keys string) {
	p.t.Helper()
	if _, err := io.WriteString(p.tty, keys); err != nil {
		p.t.Fatal(err)
	}
}

// sees waits for text on the screen and returns what came before it.
func (p *person) sees(text string) string {
	p.t.Helper()
	deadline := time.After(5 * time.Second)
	for {
		p.mu.Lock()
		before, after, found := strings.Cut(p.output, text)
		if found {
			p.output = after
		}
		p.mu.Unlock()
		if found {
			return before
		}
		select {
		case <-p.changed:
		case <-deadline:
			p.t.Fatalf("screen: got %q, want %q", before, text)
		}
	}
}

// commands are those of a small command line.
func commands() *cobra.Command {
	root := &cobra.Command{Use: "natrix"}
	echo := &cobra.Command{
		Use: "echo", Short: "print the arguments", ValidArgs: []string{"alpha", "alpine", "beta"},
		Run: func(c *cobra.Command, args []string) { fmt.Fprintf(c.OutOrStdout(), "%q\n", args) },
	}
	echo.Flags().Int("count", 1, "how often")
	echo.Flags().Int("interval", 1, "how soon")
	root.AddCommand(echo,
		&cobra.Command{Use: "wait", Short: "wait", RunE: func(c *cobra.Command, _ []string) error {
			fmt.Fprintln(c.OutOrStdout(), "waiting")
			<-c.Context().Done()
			return c.Context().Err()
		}},
		&cobra.Command{Use: "crash", Run: func(*cobra.Command, []string) { panic("bug") }},
		&cobra.Command{Use: "two", Run: func(c *cobra.Command, _ []string) { fmt.Fprint(c.OutOrStdout(), "one\ntwo\n") }},
	)
	return root
}

func TestQuoting(t *testing.T) {
	p := sit(t, Config{})
	for typed, want := range map[string]string{
		`echo a  b`:            `["a" "b"]`,
		`echo "a  b" 'c "d"'`:  `["a  b" "c \"d\""]`,
		`echo a\ b`:            `["a b"]`,
		`echo http://x/?a=b#c`: `["http://x/?a=b#c"]`,
		`natrix echo x`:        `["x"]`,
		`echo "open`:           `error: quotes: EOF found when expecting closing quote`,
	} {
		p.types(typed + "\r")
		p.sees(want + "\r\n")
		p.sees(prompt)
	}
}

func TestMistakesDoNotEndTheShell(t *testing.T) {
	p := sit(t, Config{})
	for typed, want := range map[string]string{
		"ech":            `error: unknown command "ech" for "natrix"`,
		"echo --nothing": "error: unknown flag: --nothing",
		"crash":          "error: the command crashed: bug",
		"":               "",
		"   ":            "",
		"help":           "print the arguments",
		"echo --help":    "how often",
	} {
		p.types(typed + "\r")
		p.sees(want)
		p.sees(prompt)
	}
	p.types("echo still\r")
	p.sees(`["still"]`)
}

func TestOutputReturnsTheCarriage(t *testing.T) {
	p := sit(t, Config{})
	p.types("two\r")
	if got := p.sees(prompt); !strings.HasSuffix(got, "one\r\ntwo\r\n") {
		t.Errorf("output: got %q, want lines that end in CR LF", got)
	}
}

func TestInterruptEndsTheCommand(t *testing.T) {
	p := sit(t, Config{})
	p.types("wait\r")
	p.sees("waiting")
	p.types("echo typed ahead, then regretted\x03")
	p.sees("error: interrupted")
	p.sees(prompt)
	p.types("echo next\r")
	if got := p.sees(`["next"]`); strings.Contains(got, "regretted") {
		t.Errorf("after Ctrl-C: got %q, want nothing of what was typed before it", got)
	}
}

func TestInterruptClearsTheLine(t *testing.T) {
	p := sit(t, Config{})
	p.types("echo wrong")
	p.sees("wrong")
	p.types("\x03")
	p.sees(prompt)
	p.types("echo right\r")
	p.sees(`["right"]`)
}

func TestTypedAhead(t *testing.T) {
	p := sit(t, Config{})
	p.types("wait\r")
	p.sees("waiting")
	p.types("\x03")
	p.types("echo first\recho second\r")
	p.sees(`["first"]`)
	p.sees(`["second"]`)
}

func TestEndOfInputKey(t *testing.T) {
	p := sit(t, Config{})
	p.types("\x04")
	p.sees("exit leaves the shell")
	p.types("echo abX\x1b[D\x04\r") // on a letter it deletes it
	p.sees(`["ab"]`)
}

func TestExit(t *testing.T) {
	for _, word := range []string{"exit", "logout"} {
		p := sit(t, Config{})
		p.types(word + "\r")
		select {
		case err := <-p.ended:
			p.ended <- err
		case <-time.After(5 * time.Second):
			t.Errorf("%s: the shell goes on", word)
		}
	}
}

func TestHistory(t *testing.T) {
	p := sit(t, Config{})
	for _, word := range []string{"one", "two", "two"} {
		p.types("echo " + word + "\r")
		p.sees(fmt.Sprintf("[%q]", word))
		p.sees(prompt)
	}
	p.types("\r")
	p.sees(prompt)
	p.types("\x1b[A\x1b[A\r") // the repetition and the empty line do not count
	p.sees(`["one"]`)
}

func TestCompletion(t *testing.T) {
	tests := map[string]struct{ typed, want string }{
		"command":                    {"ec\t alpha\r", `["alpha"]`},
		"argument":                   {"echo b\t\r", `["beta"]`},
		"common part, then a choice": {"echo a\tine\r", `["alpine"]`},
		"flag":                       {"echo --co\t 3 x\r", `["x"]`},
		"built in":                   {"exi\t\x15echo ok\r", `["ok"]`},
		"before the rest of a line":  {"ec x\x1b[D\x1b[D\t\r", `["x"]`},
		"nothing fits":               {"echo zz\t\r", `["zz"]`},
		"inside quotes":              {"echo \"a\t\"\r", `["a"]`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := sit(t, Config{})
			p.types(tt.typed)
			p.sees(tt.want)
		})
	}
}

func TestCompletionShowsTheChoice(t *testing.T) {
	p := sit(t, Config{})
	p.types("echo al\t")
	p.sees("alp")
	p.types("\t")
	p.sees("alpha")
	p.sees("alpine")
	p.sees(prompt + "echo alp")
	p.types("\x15e\t")
	p.sees("echo  print the arguments")
}

// pid1 is a Machine that is asked.
type pid1 struct {
	lines chan string // that the console is to show
	asked chan string
}

func (m *pid1) Services(context.Context) ([]Service, error) {
	return []Service{{Name: "agent", PID: 7, Memory: 10 << 20, For: 90 * time.Second, Restarts: 2, Last: "exit status 1: panic: bug"}}, nil
}

func (m *pid1) Log(ctx context.Context, w io.Writer, n int, follow bool) error {
	fmt.Fprintf(w, "%d lines of log\n", n)
	return nil
}

func (m *pid1) Console(ctx context.Context, w io.Writer, name string) error {
	for {
		select {
		case line := <-m.lines:
			fmt.Fprintf(w, "%s on %s\n", line, name)
		case <-ctx.Done():
			return nil
		}
	}
}

func (m *pid1) Restart(_ context.Context, service string) error {
	m.asked <- "restart " + service
	return nil
}

func (m *pid1) Reboot(context.Context) error   { m.asked <- "reboot"; return nil }
func (m *pid1) PowerOff(context.Context) error { m.asked <- "poweroff"; return nil }

func TestLogAboveTheLineBeingTyped(t *testing.T) {
	m := &pid1{lines: make(chan string)}
	p := sit(t, Config{Machine: m, Console: "ttyS0"})
	p.types("echo ha")
	p.sees("echo ha")
	m.lines <- "news"
	p.sees("news on ttyS0\r\n")
	p.sees(prompt + "echo ha") // drawn again
	p.types("lf\r")
	p.sees(`["half"]`)
}

func TestMachineWords(t *testing.T) {
	m := &pid1{asked: make(chan string, 1)}
	p := sit(t, Config{Machine: m, Version: "v1.2"})
	p.types("status\r")
	p.sees("v1.2")
	p.sees("running for 1m30s, 10.0 MiB, restarted 2 times, ended last with exit status 1: panic: bug")
	p.types("log -n 5\r")
	p.sees("5 lines of log")
	for _, word := range []string{"reboot", "poweroff"} {
		p.types(word + "\r")
		select {
		case got := <-m.asked:
			if got != word {
				t.Errorf("asked PID 1 for %s, want %s", got, word)
			}
		case <-time.After(5 * time.Second):
			t.Errorf("%s: PID 1 was not asked", word)
		}
	}
	p.types("log -f\r")
	p.sees("20 lines of log")
	p.types("\x03")
	p.sees(prompt)
}

func TestOrdinaryMachineHasNoMachineWords(t *testing.T) {
	p := sit(t, Config{})
	p.types("reboot\r")
	p.sees(`error: unknown command "reboot"`)
}
