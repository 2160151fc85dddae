package shell

import (
	"context"

	"golang.org/x/term"

	"github.com/natrix-os/natrix/agent/door/cli"
)

// output is where commands write. One that has a live display finds the stage
// for it here.
type output struct{ s *session }

func (o output) Write(p []byte) (int, error) { return o.s.screen.Write(p) }

// Stage is the terminal without the line editor.
func (o output) Stage() cli.Stage { return stage(o) }

type stage struct{ s *session }

func (t stage) Write(p []byte) (int, error) { return t.s.TTY.Write(p) }

// Open keeps the log off the screen, and the line editor off the keys.
func (t stage) Open(context.Context) (keys <-chan byte, close func(), err error) {
	t.s.log.Lock()
	keys, stop := t.s.keys.watch()
	return keys, func() {
		stop()
		t.s.log.Unlock()
	}, nil
}

func (t stage) Size() (columns, rows int) {
	control(t.s.TTY, func(fd int) (err error) { columns, rows, err = term.GetSize(fd); return err })
	return columns, rows
}
