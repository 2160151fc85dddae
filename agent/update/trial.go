package update

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/natrix-os/natrix/agent/medium"
)

// Settle notes what the boot says of the last update, and returns it. A record
// in the state Trial means that the running slot is on trial from now on.
func Settle(m Medium) (Record, error) {
	r, err := m.Last()
	if err != nil || r.State != Trial {
		return r, err
	}
	c, err := m.choice()
	if err != nil {
		return r, err
	}
	switch {
	case m.Booted != r.Slot:
		r.State = RolledBack
		if r.Reason == "" {
			r.Reason = "it did not get as far as to say why: it panicked, hung, or lost its power"
		}
	case c.Slot != r.Slot:
		return r, nil // on trial
	case r.Straight:
		// The loader was told for good. From here on it is a trial like any other.
		return r, m.choose(medium.Choice{Slot: r.Slot.Other()})
	default:
		r.State = Kept // the power was cut before that was noted
	}
	return r, m.note(r)
}

// Keep makes the slot on trial the ordinary one.
func Keep(m Medium, r Record) error {
	if err := m.choose(medium.Choice{Slot: r.Slot}); err != nil {
		return err
	}
	r.State, r.Reason = Kept, ""
	return m.note(r)
}

// Reject notes why the slot on trial is not kept. The next boot is that of the
// other one.
func Reject(m Medium, r Record, reason error) error {
	r.Reason = strings.ReplaceAll(reason.Error(), "\n", "; ")
	return m.note(r)
}

// Need is something that works on a terminal that is well.
type Need struct {
	Name  string
	Works func(ctx context.Context) error // asks once
}

// Working are the names of those that work now.
func Working(ctx context.Context, needs []Need) []string {
	var names []string
	for _, n := range needs {
		if n.Works(ctx) == nil {
			names = append(names, n.Name)
		}
	}
	return names
}

// Gate returns nil as soon as each of the needs that are named has worked,
// asking again every so often. When ctx ends it says which never did.
func Gate(ctx context.Context, needs []Need, named []string, every time.Duration) error {
	failures := make([]error, len(needs))
	var asking sync.WaitGroup
	for i, n := range needs {
		for _, name := range named {
			if n.Name == name {
				asking.Go(func() { failures[i] = n.wait(ctx, every) })
			}
		}
	}
	asking.Wait()
	var missing []string
	for i, err := range failures {
		if err != nil {
			missing = append(missing, fmt.Sprintf("%s: %v", needs[i].Name, err))
		}
	}
	if missing != nil {
		return fmt.Errorf("what worked before does not: %s", strings.Join(missing, "; "))
	}
	return nil
}

// wait returns the last failure if ctx ends before there is none.
func (n Need) wait(ctx context.Context, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		err := n.Works(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}
