// Package spool keeps results until the server has them, and remembers for a
// while those that it has, so that a command which is delivered twice is run
// once and answered with the same bytes.
package spool

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Limits bound a Spool.
type Limits struct {
	Bytes     int           // of result bodies; beyond it the oldest go, delivered ones first
	Delivered time.Duration // how long a delivered result is remembered
}

// DefaultLimits suits a terminal with 64 MiB of memory or more: the server asks
// again within its 120 s queue limit and its 300 s answer limit, or never.
func DefaultLimits() Limits {
	return Limits{Bytes: 8 << 20, Delivered: 10 * time.Minute}
}

// Spool is safe for concurrent use. It holds results in memory.
type Spool struct {
	limits Limits

	mu      sync.Mutex
	entries map[string]*Entry
	order   []*Entry // oldest first
	bytes   int
	dropped int
}

// Entry is one run of a command: under way until it is finished, then its
// result.
type Entry struct {
	Key string

	spool     *Spool
	done      chan struct{} // closed once body is set
	body      []byte        // nil if the run was cut short, and left no result
	finished  time.Time
	delivered bool
}

// New is an empty spool.
func New(limits Limits) *Spool {
	return &Spool{limits: limits, entries: make(map[string]*Entry)}
}

// Claim returns the entry of the run called key. If it was not known, mine is
// true and the caller has to run it and to call Finish; everybody else Waits.
func (s *Spool) Claim(key string) (e *Entry, mine bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, found := s.entries[key]; found && !s.old(e) {
		return e, false
	} else if found {
		s.remove(slices.Index(s.order, e))
	}
	e = &Entry{Key: key, spool: s, done: make(chan struct{})}
	s.entries[key] = e
	s.order = append(s.order, e)
	return e, true
}

// Finish gives the run its result, which the spool keeps and nobody changes
// any more. Nil says that the run was cut short: it leaves nothing, and whoever
// waited may claim it.
func (e *Entry) Finish(body []byte) {
	s := e.spool
	s.mu.Lock()
	defer s.mu.Unlock()
	e.body, e.finished = body, time.Now()
	close(e.done)
	if body == nil {
		s.remove(slices.Index(s.order, e))
		return
	}
	s.bytes += len(body)
	s.shrink()
}

// Wait returns the result once the run is finished: nil if it was cut short.
// The error is ctx's.
func (e *Entry) Wait(ctx context.Context) ([]byte, error) {
	select {
	case <-e.done:
		return e.body, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Delivered notes that the server has the result: it is only remembered from
// now on.
func (e *Entry) Delivered() {
	e.spool.mu.Lock()
	defer e.spool.mu.Unlock()
	e.delivered = true
	e.spool.shrink()
}

// Pending are the finished entries that have waited for the server for at
// least the given time, oldest first.
func (s *Spool) Pending(waited time.Duration) []*Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	var pending []*Entry
	for _, e := range s.order {
		if e.body != nil && !e.delivered && time.Since(e.finished) >= waited {
			pending = append(pending, e)
		}
	}
	return pending
}

// Dropped counts the results that were given up undelivered because the spool
// was full.
func (s *Spool) Dropped() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dropped
}

// shrink forgets delivered results that are old, then whatever is oldest until
// the rest fits. s.mu is held.
func (s *Spool) shrink() {
	for len(s.order) > 0 && s.old(s.order[0]) {
		s.remove(0)
	}
	for s.bytes > s.limits.Bytes {
		i := slices.IndexFunc(s.order, func(e *Entry) bool { return e.delivered })
		if i < 0 {
			i = slices.IndexFunc(s.order, func(e *Entry) bool { return e.body != nil })
			s.dropped++
		}
		s.remove(i)
	}
}

// old reports whether an entry need not be remembered any more. s.mu is held.
func (s *Spool) old(e *Entry) bool {
	return e.delivered && time.Since(e.finished) > s.limits.Delivered
}

// remove takes out the entry at i. s.mu is held.
func (s *Spool) remove(i int) {
	e := s.order[i]
	s.bytes -= len(e.body)
	delete(s.entries, e.Key)
	if i == 0 {
		s.order[0] = nil
		s.order = s.order[1:] // the common case, and without moving the rest
		return
	}
	s.order = slices.Delete(s.order, i, i+1)
}
