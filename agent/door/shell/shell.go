// Package shell is the natrix prompt of a console: a line editor that runs the
// commands of the command line, for a person at the other end of a serial cable.
package shell

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/google/shlex"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/natrix-os/natrix/agent/door/cli"
)

// Config is what a shell needs.
type Config struct {
	TTY     *os.File              // the terminal, opened without blocking as os.OpenFile does; the caller closes it
	Root    func() *cobra.Command // the commands, in a new tree for each line; they write to the command's Out and Err
	Version string                // for the banner
	Leases  string                // directory of the leases; none are shown if empty
	Update  func() string         // how far an update is, or what became of the last one; nil where there are none
	Wrong   func() error          // what is wrong with the configuration, a line for each mistake; nil if nobody knows

	Machine  Machine  // PID 1; nil where natrix is not that
	Settings Settings // of that machine
	History  string   // file of the lines that were typed; "" to forget them
	Console  string   // the console that the shell takes over from Machine, to show the log above the prompt; "" for none
}

// Machine is PID 1 as the shell sees it.
type Machine interface {
	// Services returns what PID 1 keeps running.
	Services(ctx context.Context) ([]Service, error)
	// Restart has a service start anew, with the settings of now.
	Restart(ctx context.Context, service string) error
	// Log writes the last n lines of the log, and those to come if follow is
	// set, until ctx ends.
	Log(ctx context.Context, w io.Writer, n int, follow bool) error
	// Console hands the log of a console to w, in whole lines, until ctx ends.
	Console(ctx context.Context, w io.Writer, name string) error
	// Reboot and PowerOff return when the machine is about to go down.
	Reboot(ctx context.Context) error
	PowerOff(ctx context.Context) error
}

// Service is one process that PID 1 keeps running.
type Service struct {
	Name     string
	PID      int           // 0 while it does not run
	Memory   int64         // resident, in bytes; 0 if unknown
	For      time.Duration // that it has been running, or not running
	Restarts int
	Last     string // how it ended last; empty if it never has
}

const prompt = "natrix> "

// errExit is returned by the command that ends the shell.
var errExit = errors.New("exit")

// Run talks to the person at the terminal until that person leaves, the
// terminal hangs up, or ctx ends; none of these is an error.
func Run(ctx context.Context, c Config) error {
	restore, err := raw(c.TTY)
	if err != nil {
		return err
	}
	defer restore()

	ctx, cancel := context.WithCancel(ctx)
	var wait sync.WaitGroup
	defer wait.Wait()
	defer cancel()
	keys := newKeys()
	screen := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{keys, newlines{c.TTY}}, prompt)
	s := &session{Config: c, keys: keys, screen: screen, restore: restore, width: 80}
	screen.History = openHistory(c.History)
	screen.AutoCompleteCallback = func(line string, pos int, key rune) (string, int, bool) {
		return s.key(ctx, line, pos, key)
	}

	wait.Go(func() { keys.read(c.TTY) })
	defer context.AfterFunc(ctx, func() { c.TTY.SetReadDeadline(past) })() // ends keys.read
	defer c.TTY.SetReadDeadline(past)
	addressed := s.banner(ctx)
	if c.Machine != nil && c.Console != "" {
		wait.Go(func() { s.showLog(ctx) })
	}
	if c.Machine != nil && !s.logIn(ctx, c.Settings.load().Appliance.Password) {
		return nil
	}
	if !addressed {
		wait.Go(func() { s.showAddress(ctx) })
	}
	return s.loop(ctx)
}

// raw has the terminal hand over each key. Output keeps its newlines, for what
// is written by others.
func raw(tty *os.File) (restore func(), err error) {
	var old *term.State
	err = control(tty, func(fd int) error {
		if old, err = term.MakeRaw(fd); err != nil {
			return err
		}
		t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err != nil {
			return err
		}
		t.Oflag |= unix.OPOST | unix.ONLCR
		return unix.IoctlSetTermios(fd, unix.TCSETS, t)
	})
	if err != nil {
		return nil, fmt.Errorf("set up %s: %w", tty.Name(), err)
	}
	return func() { control(tty, func(fd int) error { return term.Restore(fd, old) }) }, nil
}

// control calls f with the descriptor of tty. Fd would turn its deadlines off.
func control(tty *os.File, f func(fd int) error) error {
	conn, err := tty.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := conn.Control(func(fd uintptr) { failed = f(int(fd)) }); err != nil {
		return err
	}
	return failed
}

// session is one person's stay.
type session struct {
	Config
	keys    *keys
	screen  *term.Terminal
	restore func() // gives the terminal its own modes
	width   int    // columns

	log sync.Mutex // held by who keeps the log off the screen, and for each line of it
}

// aside is the screen for what comes unasked: the log, above the prompt. It
// waits while a program or a live display has the screen to itself.
type aside struct{ *session }

func (a aside) Write(p []byte) (int, error) {
	a.log.Lock()
	defer a.log.Unlock()
	return a.screen.Write(p)
}

func (s *session) loop(ctx context.Context) error {
	for {
		s.resize()
		line, err := s.screen.ReadLine()
		if err != nil { // the terminal hung up, or ctx has ended
			return nil
		}
		if err := s.run(ctx, line); errors.Is(err, errExit) {
			return nil
		} else if err != nil {
			fmt.Fprintf(s.screen, "error: %v\n", err)
		}
	}
}

// resize follows the size of the terminal. A serial line does not report one.
func (s *session) resize() {
	control(s.TTY, func(fd int) error {
		if width, height, err := term.GetSize(fd); err == nil && width > 0 && height > 0 {
			s.width = width
			return s.screen.SetSize(width, height)
		}
		return nil
	})
}

// run runs one line. Ctrl-C ends the command's context.
func (s *session) run(ctx context.Context, line string) (err error) {
	args, err := shlex.Split(line)
	if err != nil {
		return fmt.Errorf("quotes: %w", err)
	}
	root := s.tree()
	if len(args) > 0 && args[0] == root.Name() { // as it is typed elsewhere
		args = args[1:]
	}
	if len(args) == 0 {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.keys.interrupts(cancel)
	defer s.keys.interrupts(nil)
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the command crashed: %v\n%s", p, debug.Stack())
		}
	}()
	root.SetArgs(args)
	root.SetIn(eof{})
	root.SetOut(output{s})
	root.SetErr(s.screen)
	err = root.ExecuteContext(ctx)
	switch {
	case errors.Is(err, context.Canceled):
		return errors.New("interrupted")
	case errors.Is(err, cli.ErrProbe): // has said so itself
		return nil
	}
	return err
}

// tree is the command line's, with the shell's own words.
func (s *session) tree() *cobra.Command {
	root := s.Root()
	root.SilenceErrors, root.SilenceUsage = true, true
	root.CompletionOptions.DisableDefaultCmd = true
	has := make(map[string]bool)
	for _, c := range root.Commands() {
		has[c.Name()] = true
	}
	for _, c := range s.words() {
		if !has[c.Name()] {
			root.AddCommand(c)
		}
	}
	for _, c := range root.Commands() {
		if c.Name() == "config" && s.Machine != nil {
			c.AddCommand(s.configWords()...)
		}
		forPeople(c)
	}
	return root
}

// forPeople makes text the form in which a command prints.
func forPeople(c *cobra.Command) {
	if form := c.Flags().Lookup("output"); form != nil && form.DefValue == "document" {
		form.Value.Set("text")
		form.DefValue = "text"
	}
}

// showLog shows the log above the prompt. When PID 1 is too busy to answer, it
// shows the log itself meanwhile.
func (s *session) showLog(ctx context.Context) {
	for ctx.Err() == nil {
		if err := s.Machine.Console(ctx, aside{s}, s.Console); err != nil {
			fmt.Fprintf(aside{s}, "log: %v\n", err)
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}

// newlines leaves the carriage return before each newline to the terminal's
// driver, which the line editor thinks is off.
type newlines struct{ io.Writer }

func (w newlines) Write(p []byte) (int, error) {
	if _, err := w.Writer.Write(bytes.ReplaceAll(p, []byte("\r\n"), []byte("\n"))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// eof is the standard input of commands: the keyboard stays with the shell.
type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }
