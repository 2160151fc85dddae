// Package basicagent is the door for servers that speak BasicAgent: the
// terminal dials out, over TLS 1.3 with certificates on both sides, and answers
// queries, runs natrix commands and, where its own configuration allows it,
// commands of a shell.
package basicagent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/natrix-os/natrix/agent/command"
	"github.com/natrix-os/natrix/agent/config"
	"github.com/natrix-os/natrix/agent/door/basicagent/wire"
	"github.com/natrix-os/natrix/agent/execute"
)

// runner runs what the policy allows: a process of its own does, and there is
// none while the policy is off.
type runner interface {
	Run(context.Context, execute.Request) (execute.Result, error)
}

// Door is the terminal's end. Its fields are set before Run and left alone.
type Door struct {
	Config  config.BasicAgent
	Core    command.Set
	Shell   runner // nil refuses every command of a shell
	Collect func(ctx context.Context, name string, args []string) (any, error)
	Version string
	Log     *slog.Logger
	Timing  Timing

	ctx     context.Context // of Run: what a server asked for goes on when its connection is gone
	running sync.WaitGroup
	hands   chan struct{} // taken by requests in hand
	answers memory
	bucket  bucket
	tasks   tasks
	table   table
}

// Timing are the waits of a door.
type Timing struct {
	wire.Timing
	Connect time.Duration // to one address; default 5s
	First   time.Duration // bound of the first pause after a failed round; default 1s
	Longest time.Duration // bound of any pause; default 5m
	Stable  time.Duration // of a session that ends the growth of pauses; default 1m
}

// DefaultTiming is what BA/1 says.
func DefaultTiming() Timing {
	return Timing{Timing: wire.DefaultTiming(), Connect: 5 * time.Second, First: time.Second, Longest: 5 * time.Minute, Stable: time.Minute}
}

// Run keeps a session with a server until ctx ends, and runs the periodic tasks.
func (d *Door) Run(ctx context.Context) error {
	d.ctx = ctx
	if err := d.prepare(); err != nil {
		return err
	}
	defer d.wait()
	failures := 0
	for ctx.Err() == nil {
		lasted, err := d.round(ctx)
		if ctx.Err() != nil {
			break
		}
		if lasted >= d.Timing.Stable {
			failures = 0
		}
		pause := d.pause(failures, err)
		failures++
		d.Log.Warn("not connected", "err", err, "again", pause.Round(time.Millisecond))
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	return nil
}

// pause is how long to wait after so many failures: anything up to a bound that
// doubles, so that a fleet does not come back at once. A server that says when
// is believed, up to an hour.
func (d *Door) pause(failures int, err error) time.Duration {
	var busy *retryError
	if errors.As(err, &busy) {
		return min(busy.after, time.Hour) + rand.N(d.Timing.First)
	}
	bound := d.Timing.Longest
	if failures < 20 {
		bound = min(bound, d.Timing.First<<failures)
	}
	return rand.N(bound) + 1
}

// retryError is a refusal of a server that says when to come again.
type retryError struct {
	after time.Duration
	cause error
}

func (e *retryError) Error() string { return fmt.Sprintf("%v; again in %v", e.cause, e.after) }
func (e *retryError) Unwrap() error { return e.cause }
