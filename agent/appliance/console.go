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
	"sync"

	"golang.org/x/sys/unix"
)

// screen shows the journal on one console. There is one writer of a console at
// any time: PID 1, or the shell that holds the screen and mixes the log with
// the line that is being typed.
type screen struct {
	name    string
	tty     *os.File
	journal *journal

	mu   sync.Mutex // held by whoever writes to the console
	next int64      // number of the next line of the journal to show
}

// openScreens shows the journal on every console. Without any, it goes where
// the kernel pointed PID 1's own output.
func (m *machine) openScreens() {
	names := consoleNames("/sys/class/tty/console/active")
	for _, name := range names {
		tty, err := os.OpenFile(filepath.Join("/dev", name), os.O_RDWR|unix.O_NOCTTY, 0)
		if err != nil {
			m.log.Warn("no such console", "err", err)
			continue
		}
		s := &screen{name: name, tty: tty, journal: m.journal}
		m.screens[name] = s
		m.wait.Go(func() { s.show(m.ctx) })
	}
	if len(m.screens) == 0 {
		s := &screen{name: "stderr", tty: os.Stderr, journal: m.journal}
		m.screens[s.name] = s
		m.wait.Go(func() { s.show(m.ctx) })
	}
}

// keepShells keeps a shell on each console.
func (m *machine) keepShells(args []string) {
	for name, s := range m.screens {
		if s.tty != os.Stderr {
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
	for {
		s.mu.Lock()
		more := s.print(s.tty, "\r\n")
		s.mu.Unlock()
		select {
		case <-more:
		case <-ctx.Done():
			return
		}
	}
}

// print writes what the screen has not shown yet. The caller holds s.mu.
func (s *screen) print(w io.Writer, newline string) (more <-chan struct{}) {
	lines, next, lost, more := s.journal.since(s.next)
	s.next = next
	if _, err := w.Write(text(lines, lost, newline)); err != nil {
		return more // a console that hangs up has nobody to tell it to
	}
	return more
}

// flush shows the end of the journal and waits until it has left the machine.
func (s *screen) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.print(s.tty, "\r\n")
	unix.IoctlSetInt(int(s.tty.Fd()), unix.TCSBRK, 1) // tcdrain(3)
}

// text joins lines for output in one write.
func text(lines []string, lost int64, newline string) []byte {
	var b bytes.Buffer
	if lost > 0 {
		fmt.Fprintf(&b, "(%d lines lost)%s", lost, newline)
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
		tty, err := os.OpenFile(s.tty.Name(), os.O_RDWR|unix.O_NOCTTY, 0)
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
	tty, err := os.OpenFile(s.tty.Name(), os.O_RDWR|unix.O_NOCTTY, 0)
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
