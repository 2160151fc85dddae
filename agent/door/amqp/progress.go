package amqp

import (
	"fmt"
	"sync"
	"time"
)

// progress knows what the worker is about, and by when each thing has to end:
// whatever lasts longer is stuck.
type progress struct {
	mu  sync.Mutex
	due map[*string]time.Time
}

// begin notes that something begins, which ends by due. The caller says when it
// has ended.
func (p *progress) begin(what string, due time.Time) (ended func()) {
	key := &what
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.due == nil {
		p.due = make(map[*string]time.Time)
	}
	p.due[key] = due
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.due, key)
	}
}

// overdue names something that should have ended, or is "".
func (p *progress) overdue() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	for what, due := range p.due {
		if late := time.Since(due); late > 0 {
			return fmt.Sprintf("%s should have ended %v ago", *what, late.Round(time.Second))
		}
	}
	return ""
}

// grace is what everything may take beyond its deadline before it counts as stuck.
const grace = time.Minute

// Stuck says what makes no progress: an attempt to connect that does not end,
// or a command that runs past its deadline. It is "" if all is well, which it
// also is with no broker to be had.
func (w *Worker) Stuck() string { return w.progress.overdue() }
