package appliance

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// screen shows the journal on one console. There is one writer of a console at
// any time: PID 1, or the shell that holds the screen and mixes the log with
// the line that is being typed.
type screen struct {
	name    string
	path    string
	journal *journal

	held chan struct{} // full while somebody writes to the console, and has what follows to himself
	tty  *os.File
	next int64 // number of the next line of the journal to show
}

func newScreen(j *journal, name string) *screen {
	return &screen{name: name, path: filepath.Join("/dev", name), journal: j, held: make(chan struct{}, 1)}
}

// hold is false if ctx ends before the console is free.
func (s *screen) hold(ctx context.Context) bool {
	select {
	case s.held <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *screen) release() { <-s.held }

// openScreens shows the journal on every console. Without any, it goes where
// the kernel pointed PID 1's own output.
func (m *machine) openScreens() {
	for _, name := range consoleNames("/sys/class/tty/console/active") {
		s := newScreen(m.journal, name)
		if err := s.open(); err != nil {
			m.log.Warn("no such console", "err", err)
			continue
		}
		m.screens[name] = s
	}
	if len(m.screens) == 0 {
		s := newScreen(m.journal, "")
		s.tty = os.Stderr
		m.screens[""] = s
	}
	for _, s := range m.screens {
		m.wait.Go(func() { s.show(m.ctx) })
	}
}

// open opens the console anew. Every open file of a terminal is hung up when
// the session that it controls ends, as that of the shell does (tty_ioctl(4),
// TIOCNOTTY), so this is no rare event.
func (s *screen) open() error {
	if s.tty != nil {
		s.tty.Close()
	}
	var err error
	s.tty, err = openTTY(s.path)
	return err
}

// openTTY does not make the terminal PID 1's own.
func openTTY(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
}

// Write writes to the console itself. The caller holds the screen.
func (s *screen) Write(p []byte) (int, error) {
	n, err := s.tty.Write(p)
	if err == nil || s.name == "" {
		return n, err
	}
	if err := s.open(); err != nil {
		return 0, err
	}
	return s.tty.Write(p)
}

// keepShells keeps a shell on each console.
func (m *machine) keepShells(args []string) {
	for name, s := range m.screens {
		if name != "" {
			m.wait.Go(func() { m.keepShell(s, append(slices.Clone(args), name)) })
		}
	}
}

// consoleNames are the consoles that the kernel uses. tty0 stands for the
// virtual terminal in front, and shells belong to the first.
func consoleNames(active string) []string {
	b, _ := os.ReadFile(active) // a kernel without consoles has no such file
	var names []string
	for _, name := range strings.Fields(string(b)) {
		if name == "tty0" {
			name = "tty1"
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// show writes the journal to the console whenever nobody else holds it.
func (s *screen) show(ctx context.Context) {
	for s.hold(ctx) {
		more := s.print(s, "\r\n")
		s.release()
		select {
		case <-more:
		case <-ctx.Done():
			return
		}
	}
}

// screenful is how many lines a console is shown at once. More than that has
// come while it was busy, and at 115200 bits a second a person would wait for
// them in vain: log has them.
const screenful = 100

// print writes what the screen has not shown yet, or the end of it. The caller
// holds the screen.
func (s *screen) print(w io.Writer, newline string) (more <-chan struct{}) {
	lines, next, lost, more := s.journal.since(s.next)
	s.next = next
	if extra := len(lines) - screenful; extra > 0 {
		lines, lost = lines[extra:], lost+int64(extra)
	}
	if len(lines) > 0 {
		w.Write(text(lines, lost, newline)) // if it fails, there is nobody to tell it to
	}
	return more
}

// flush shows the end of the journal and waits until it has left the machine.
func (s *screen) flush() {
	s.held <- struct{}{}
	defer s.release()
	s.print(s, "\r\n")
	unix.IoctlSetInt(int(s.tty.Fd()), unix.TCSBRK, 1) // tcdrain(3)
}

// text joins lines for output in one write.
func text(lines []string, lost int64, newline string) []byte {
	var b bytes.Buffer
	if lost > 0 {
		fmt.Fprintf(&b, "(%d lines not shown)%s", lost, newline)
	}
	for _, l := range lines {
		b.WriteString(l)
		b.WriteString(newline)
	}
	return b.Bytes()
}

// keepShell keeps a shell on the console. On a virtual terminal it waits for
// somebody to press Enter: most have neither monitor nor keyboard, and a shell
// takes memory.
func (m *machine) keepShell(s *screen, args []string) {
	shellPace.keep(m.ctx, func(ctx context.Context) {
		if strings.HasPrefix(s.name, "tty") && s.name[3] >= '0' && s.name[3] <= '9' && !s.waitForEnter(ctx) {
			return
		}
		tty, err := openTTY(s.path)
		if err != nil {
			m.log.Error("shell not started", "err", err)
			return
		}
		p, err := m.children.start(args, true, tty, tty, tty)
		tty.Close()
		if err != nil {
			m.log.Error("shell not started", "err", err)
			return
		}
		if status := p.end(ctx); status != 0 && ctx.Err() == nil {
			m.log.Error("shell ended", "console", s.name, "how", describe(status))
		}
	})
}

// waitForEnter is false if ctx ends first.
func (s *screen) waitForEnter(ctx context.Context) bool {
	tty, err := openTTY(s.path)
	if err != nil {
		return false
	}
	defer tty.Close()
	defer context.AfterFunc(ctx, func() { tty.Close() })()
	fmt.Fprint(tty, "\r\nnatrix: press Enter for the shell\r\n")
	for b := []byte{0}; b[0] != '\n' && b[0] != '\r'; {
		if _, err := tty.Read(b); err != nil {
			return false
		}
	}
	return true
}
