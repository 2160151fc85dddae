package agent

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/natrix-os/natrix/agent/command"
	"github.com/natrix-os/natrix/sysinfo"
	"golang.org/x/sys/unix"
)

// released is before every time at which this program can run.
var released = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

// waitForClock returns once the wall clock is past floor, or released if that
// is zero: a board without a clock of its own starts in 1970, and what it
// stamped then would be wrong for ever. It returns nil if ctx ends first.
func waitForClock(ctx context.Context, floor time.Time, log *slog.Logger) error {
	if floor.IsZero() {
		floor = released
	}
	if time.Now().After(floor) {
		return nil
	}
	log.Warn("waiting for the clock to be set", "now", time.Now().UTC())
	// A timer on the wall clock expires when the clock is set past it
	// (timerfd_create(2)).
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return fmt.Errorf("wait for the clock: %w", err)
	}
	timer := os.NewFile(uintptr(fd), "timerfd")
	defer timer.Close()
	at := unix.ItimerSpec{Value: unix.NsecToTimespec(floor.UnixNano())}
	if err := unix.TimerfdSettime(fd, unix.TFD_TIMER_ABSTIME, &at, nil); err != nil {
		return fmt.Errorf("wait for the clock: %w", err)
	}
	defer context.AfterFunc(ctx, func() { timer.SetDeadline(time.Unix(1, 0)) })()
	if _, err := timer.Read(make([]byte, 8)); err != nil && ctx.Err() == nil {
		return fmt.Errorf("wait for the clock: %w", err)
	}
	return nil
}

// clocked is a core whose results say how far the clock could be trusted.
type clocked struct {
	command.Set
	note func(command.Result) // is shown each result; may be nil
}

func (c clocked) Execute(ctx context.Context, cmd command.Command) command.Result {
	r := c.Set.Execute(ctx, cmd)
	if now, err := (sysinfo.Machine{}).Clock(); err == nil {
		r.Clock = &command.Clock{Synchronised: now.Synchronised, Age: now.Corrected, Offset: now.Offset, MaxError: now.MaxError}
	}
	if c.note != nil {
		c.note(r)
	}
	return r
}
