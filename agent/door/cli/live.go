package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/natrix-os/natrix/agent/command"
	"golang.org/x/term"
)

// screen is progress that is drawn over and over in one place, and takes keys.
type screen interface {
	Draw(columns, rows int) string // lines that fit, joined by newlines
	Press(key byte) (quit bool)
}

const (
	redraw = 250 * time.Millisecond

	// Terminal sequences (ECMA-48, and xterm's alternate screen).
	enterScreen = "\x1b[?1049h\x1b[?25l"
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	topLeft     = "\x1b[H"
	clearRight  = "\x1b[K"
	clearBelow  = "\x1b[J"

	ctrlC = 3 // in raw mode the terminal does not make a signal of it
)

// Stage is a terminal for a live display.
type Stage interface {
	io.Writer
	// Open hands over every key, Ctrl-C included, until close is called or ctx ends.
	Open(ctx context.Context) (keys <-chan byte, close func(), err error)
	// Size is zero where it is not known, as on a serial line.
	Size() (columns, rows int)
}

// stageOf is the terminal that w writes to, if it is one. The caller closes it.
func stageOf(w io.Writer) (Stage, func() error, bool) {
	if s, ok := w.(interface{ Stage() Stage }); ok {
		return s.Stage(), func() error { return nil }, true
	}
	t, ok := terminal(w)
	return t, t.Close, ok
}

// tty is the terminal of this process.
type tty struct{ *os.File }

// terminal opens the terminal that w writes to, if it is one. A file of its
// own has deadlines, which end the reading of keys, and leaves the modes of
// standard input alone. The caller closes it.
func terminal(w io.Writer) (tty, bool) {
	out, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(out.Fd())) {
		return tty{}, false
	}
	f, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return tty{}, false
	}
	return tty{f}, true
}

// watch runs a command and shows its screen until it ends or a key quits, then
// prints its result to w.
func watch(ctx context.Context, t Stage, w io.Writer, run command.Invocation, destination string) error {
	ctx, quit := context.WithCancel(ctx)
	defer quit()
	var display sync.WaitGroup
	shown := command.WithProgress(ctx, func(line fmt.Stringer) {
		if s, ok := line.(screen); ok {
			display.Go(func() { show(ctx, t, s, quit) })
		}
	})
	data, err := run.Measure(shown, destination)
	quit()
	display.Wait()
	if err != nil {
		return err
	}
	data.WriteText(w)
	return nil
}

// show draws a screen and hands it the keys until ctx ends.
func show(ctx context.Context, t Stage, s screen, quit func()) {
	keys, close, err := t.Open(ctx)
	if err != nil {
		return // it runs without being seen, and prints its result
	}
	defer close()
	io.WriteString(t, enterScreen)
	defer io.WriteString(t, leaveScreen)

	tick := time.NewTicker(redraw)
	defer tick.Stop()
	for {
		draw(t, s)
		select {
		case key := <-keys:
			if key == ctrlC || s.Press(key) {
				quit()
			}
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// draw overwrites the last page line by line, which does not flicker.
func draw(t Stage, s screen) {
	columns, rows := t.Size()
	if columns < 1 || rows < 1 {
		columns, rows = 80, 24
	}
	page := strings.ReplaceAll(s.Draw(columns, rows), "\n", clearRight+"\r\n")
	io.WriteString(t, topLeft+page+clearRight+clearBelow)
}

// Open has the terminal hand over each key.
func (t tty) Open(ctx context.Context) (<-chan byte, func(), error) {
	var saved *term.State
	err := t.control(func(fd int) (err error) { saved, err = term.MakeRaw(fd); return err })
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	keys := make(chan byte)
	var reading sync.WaitGroup
	reading.Go(func() { t.read(ctx, keys) })
	return keys, func() {
		cancel()
		t.SetReadDeadline(time.Unix(1, 0))
		reading.Wait()
		t.control(func(fd int) error { return term.Restore(fd, saved) })
	}, nil
}

// Size is that of the window.
func (t tty) Size() (columns, rows int) {
	t.control(func(fd int) (err error) { columns, rows, err = term.GetSize(fd); return err })
	return columns, rows
}

// read passes keys on until ctx ends or the terminal's deadline does.
func (t tty) read(ctx context.Context, keys chan<- byte) {
	var buf [16]byte
	for {
		n, err := t.Read(buf[:])
		if err != nil {
			return
		}
		for _, key := range buf[:n] {
			select {
			case keys <- key:
			case <-ctx.Done():
				return
			}
		}
	}
}

// control calls f with the descriptor. File.Fd would end the deadlines.
func (t tty) control(f func(fd int) error) error {
	raw, err := t.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = f(int(fd)) })
	return errors.Join(err, failed)
}
