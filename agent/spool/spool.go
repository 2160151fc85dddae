// Package spool keeps results until the server has them, and remembers for a
// while those that it has, so that a command which is delivered twice is run
// once and answered with the same bytes.
package spool

import (
	"context"
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
	entries map[string]*entry
	order   []string // keys, oldest first
	bytes   int
	dropped int
}

// An entry is one run of a command: under way until done is closed, then its
// result.
type entry struct {
	done      chan struct{}
	body      []byte // nil if the run was cut short, and left no result
	finished  time.Time
	delivered bool
}

// New is an empty spool.
func New(limits Limits) *Spool {
	return &Spool{limits: limits, entries: make(map[string]*entry)}
}

// Once returns the result of the run called key. The first caller runs it and
// the spool keeps what it returns; callers that come while it runs wait for it,
// and later ones get the same bytes. A run that returns nil was cut short: it
// leaves nothing, and those who waited try again themselves. The error is ctx's.
func (s *Spool) Once(ctx context.Context, key string, run func() []byte) (body []byte, first bool, err error) {
	for {
		e, mine := s.claim(key)
		if mine {
			// A run that panics must not leave others waiting.
			defer func() { s.finish(key, e, body) }()
			return run(), true, ctx.Err()
		}
		select {
		case <-e.done:
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
		if e.body != nil {
			return e.body, false, nil
		}
	}
}

// claim finds the entry of a key, or makes it and says that it is the caller's to run.
func (s *Spool) claim(key string) (e *entry, mine bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, found := s.entries[key]; found {
		return e, false
	}
	e = &entry{done: make(chan struct{})}
	s.entries[key] = e
	s.order = append(s.order, key)
	return e, true
}

func (s *Spool) finish(key string, e *entry, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.body, e.finished = body, time.Now()
	close(e.done)
	if body == nil {
		s.remove(func(k string, _ *entry) bool { return k == key }, 1)
		return
	}
	s.bytes += len(body)
	s.shrink()
}

// Delivered notes that the server has the result of key: it is only
// remembered from now on.
func (s *Spool) Delivered(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, found := s.entries[key]; found {
		e.delivered = true
	}
	s.shrink()
}

// Pending are the keys and bodies of results that have waited for the server
// for at least the given time, oldest first.
func (s *Spool) Pending(waited time.Duration) []Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	var pending []Entry
	for _, key := range s.order {
		if e := s.entries[key]; e.body != nil && !e.delivered && time.Since(e.finished) >= waited {
			pending = append(pending, Entry{key, e.body})
		}
	}
	return pending
}

// Entry is a result that is not yet with the server.
type Entry struct {
	Key  string
	Body []byte
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
	s.remove(func(_ string, e *entry) bool {
		return e.delivered && time.Since(e.finished) > s.limits.Delivered
	}, len(s.order))
	for s.bytes > s.limits.Bytes {
		if s.remove(func(_ string, e *entry) bool { return e.delivered }, 1) == 0 {
			s.dropped += s.remove(func(_ string, e *entry) bool { return e.body != nil }, 1)
		}
	}
}

// remove takes out at most limit entries that match, oldest first, and returns
// how many there were. s.mu is held.
func (s *Spool) remove(match func(string, *entry) bool, limit int) int {
	removed := 0
	kept := s.order[:0]
	for _, key := range s.order {
		if e := s.entries[key]; removed < limit && match(key, e) {
			s.bytes -= len(e.body)
			delete(s.entries, key)
			removed++
			continue
		}
		kept = append(kept, key)
	}
	clear(s.order[len(kept):])
	s.order = kept
	return removed
}
