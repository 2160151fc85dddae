package shell

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/spf13/cobra"

	"github.com/natrix-os/natrix/agent/door/cli"
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
	p := sitDown(t, c)
	p.sees(prompt)
	return p
}

// sitDown starts a shell.
func sitDown(t *testing.T, c Config) *person {
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

// appliance is what the shell of one has besides PID 1.
func appliance(t *testing.T) (Config, *pid1) {
	t.Helper()
	dir := t.TempDir()
	m := &pid1{asked: make(chan string, 10)}
	root := func() *cobra.Command {
		root := commands()
		root.AddCommand(&cobra.Command{Use: "config"})
		return root
	}
	return Config{Root: root, Machine: m, Settings: Settings{Session: filepath.Join(dir, "session.ini")}}, m
}

func (m *pid1) wasAsked(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-m.asked:
		if got != want {
			t.Errorf("asked PID 1 for %s, want %s", got, want)
		}
	case <-time.After(5 * time.Second):
		t.Errorf("PID 1 was not asked for %s", want)
	}
}

func TestSetting(t *testing.T) {
	c, m := appliance(t)
	medium := filepath.Join(t.TempDir(), "natrix.ini")
	if err := os.WriteFile(medium, []byte("# mine\n[RABBITMQ]\nprefetch = 2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	kernel := filepath.Join(t.TempDir(), "cmdline")
	if err := os.WriteFile(kernel, []byte("quiet natrix.broker=amqp://a:b@c/\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Settings.Kernel = kernel
	c.Settings.Save = func() string { return medium }
	p := sit(t, c)
	p.types("config save\r")
	p.sees("nothing was set")
	p.types("set broker amqp://natrix:secret@10.0.2.2/x\r")
	p.sees("rabbitmq.url is set, agent starts anew\r\nfor this boot only, until config save")
	m.wasAsked(t, "restart agent")
	p.types("set dns 192.0.2.53 192.0.2.54\r")
	p.sees("appliance.dns is set, network starts anew")
	m.wasAsked(t, "restart network")
	p.types("set clock ntp 192.0.2.123\r")
	p.sees("appliance.ntp is set")
	m.wasAsked(t, "restart network")
	p.types("config set appliance.hostname box\r")
	p.sees("appliance.hostname is set for the next session")
	p.types("config show\r")
	p.sees("rabbitmq.url        amqp://natrix:xxxxx@10.0.2.2/x  set here, not saved")
	p.types("set dns dhcp\r")
	p.sees("appliance.dns is set")
	m.wasAsked(t, "restart network")
	p.types("config save\r")
	p.sees("rabbitmq.url, appliance.hostname, appliance.ntp, appliance.dns is kept in " + medium)
	p.sees("but the kernel's command line says rabbitmq.url too")
	p.sees(prompt)
	got, err := os.ReadFile(medium)
	want := "# mine\n[RABBITMQ]\nprefetch = 2\nurl = amqp://natrix:secret@10.0.2.2/x\n[APPLIANCE]\nhostname = box\nntp = 192.0.2.123\ndns = \n"
	if err != nil || string(got) != want {
		t.Errorf("saved\n%s%v\nwant\n%s", got, err, want)
	}
	for typed, wrong := range map[string]string{
		"set broker nowhere":                     "error: [rabbitmq] url: not a broker's URL",
		"set dns x":                              `error: [appliance] dns: "x" is not an address`,
		"set address lo 300/8":                   `error: "300/8" is not an address with its bits`,
		"set address lo 192.0.2.7/24 10.0.0.1":   "error: the gateway 10.0.0.1 is not in the network 192.0.2.0/24",
		"set address none 192.0.2.7/24":          `error: no link "none"`,
		"set link lo sideways":                   `error: "sideways" is neither up nor down`,
		"set clock noon":                         `error: "noon" is not a time such as`,
		"config set rabbitmq.nothing 1":          "error: no such setting",
		"config set common.log_level deafening ": `"deafening" is not debug`,
	} {
		p.types(typed + "\r")
		p.sees(wrong)
		p.sees(prompt)
	}
}

func TestNothingToSaveTo(t *testing.T) {
	c, m := appliance(t)
	p := sit(t, c)
	p.types("set dns 192.0.2.53\r")
	p.sees("for this boot only: this machine has no medium to keep it on")
	m.wasAsked(t, "restart network")
	p.types("config save\r")
	p.sees("error: this machine has no medium to keep settings on")
}

func TestPassword(t *testing.T) {
	c, _ := appliance(t)
	p := sit(t, c)
	p.types("config password\r")
	p.sees("new password: ")
	p.types("open sesame\r")
	p.sees("again: ")
	p.types("open sesam\r")
	p.sees("error: these were two different passwords")
	p.types("config password\r")
	p.sees("new password: ")
	p.types("\x03")
	p.sees("again: ")
	p.types("\x03")
	p.sees("error: no password, so nothing is changed")
	p.types("config password\r")
	p.sees("new password: ")
	p.types("open sesame\r")
	p.sees("again: ")
	p.types("open sesame\r")
	if got := p.sees("appliance.password is set for the next session"); strings.Contains(got, "sesame") {
		t.Errorf("the password is shown: %q", got)
	}
	p.types("config show\r")
	p.sees("appliance.password  (hidden)")

	locked := sitDown(t, c)
	locked.sees("password: ")
	locked.types("guess\r")
	if got := locked.sees("wrong password"); strings.Contains(got, "guess") || strings.Contains(got, prompt) {
		t.Errorf("after a wrong password: got %q", got)
	}
	locked.sees("password: ")
	locked.types("open sesame\r")
	locked.sees(prompt)
}

func TestHistoryIsKept(t *testing.T) {
	file := filepath.Join(t.TempDir(), "history")
	if err := os.WriteFile(file, []byte(strings.Repeat("echo old\n", 2*maxHistory)+"echo before\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := sit(t, Config{History: file})
	p.types("\x1b[A\r")
	p.sees(`["before"]`)
	for _, line := range []string{"echo now", "echo amqp://natrix:secret@h/", "echo later"} {
		p.types(line + "\r")
		p.sees("]\r\n")
		p.sees(prompt)
	}
	body, err := os.ReadFile(file)
	lines := strings.Split(strings.TrimSpace(string(body)), "\n")
	if err != nil || len(lines) != maxHistory+2 || lines[len(lines)-2] != "echo now" || lines[len(lines)-1] != "echo later" {
		t.Errorf("kept %d lines that end with %q, %v", len(lines), lines[max(0, len(lines)-3):], err)
	}
}

func TestQuestionMark(t *testing.T) {
	p := sit(t, Config{})
	p.types("?")
	p.sees("echo    print the arguments")
	p.types("echo ?")
	p.sees("echo: print the arguments\r\n")
	p.sees("alpine")
	p.sees(prompt + "echo ")
	p.types("what?\r")
	p.sees(`["what?"]`)
	p.types("wait ?")
	p.sees("wait: wait\r\n")
}

// TestTools runs a program that has the terminal, and its modes, to itself.
func TestTools(t *testing.T) {
	c, m := appliance(t)
	m.lines = make(chan string, 1)
	c.Console = "ttyS0"
	p := sit(t, c)
	p.types("shell echo \"it's\" '$HOME'\r")
	p.sees("it's $HOME\r\n")
	p.sees(prompt)
	p.types("shell\r")
	p.sees(map[bool]string{true: "# ", false: "$ "}[os.Getuid() == 0])
	p.types("read x; echo got $x\r") // for the program, line by line
	p.types("words\r")
	p.sees("got words")
	m.lines <- "news" // does not tear what is typed there
	p.types("exit\r")
	p.sees("news on ttyS0")
	p.types("echo ba\tck\r")
	p.sees(`["back"]`)
}

func TestToolsMayBeForbidden(t *testing.T) {
	c, _ := appliance(t)
	if err := os.WriteFile(c.Settings.Session, []byte("[APPLIANCE]\ntools = off\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := sit(t, c)
	p.types("shell\r")
	p.sees("error: the settings do not allow it: appliance.tools is off")
}

func TestToolsEndWithTheSession(t *testing.T) {
	c, _ := appliance(t)
	p := sit(t, c)
	p.types("shell sleep 1000\r")
	p.sees("1000\r\n") // the end of the test ends the session, which must return
}

// TestLive has a command take the screen and the keys.
func TestLive(t *testing.T) {
	c, m := appliance(t)
	m.lines = make(chan string, 1)
	c.Console = "ttyS0"
	c.Root = func() *cobra.Command {
		root := commands()
		root.AddCommand(&cobra.Command{Use: "live", RunE: func(c *cobra.Command, _ []string) error {
			stage := c.OutOrStdout().(interface{ Stage() cli.Stage }).Stage()
			keys, done, err := stage.Open(c.Context())
			if err != nil {
				return err
			}
			defer done()
			fmt.Fprintf(stage, "\x1b[Hlive")
			fmt.Fprintf(stage, "key %d key %d", <-keys, <-keys)
			return nil
		}})
		return root
	}
	p := sit(t, c)
	p.types("live\r")
	p.sees("\x1b[Hlive")
	m.lines <- "news"
	p.types("q\x03")
	if got := p.sees("key 113 key 3"); strings.Contains(got, "news") {
		t.Errorf("the log is on the live display: %q", got)
	}
	p.sees("news on ttyS0")
	p.types("echo back\r")
	p.sees(`["back"]`)
}
