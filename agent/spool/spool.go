// Package spool keeps results until the server has them, and remembers for a
// while those that it has, so that a command which is delivered twice is run
// once and answered with the same bytes.
//
// A spool lives in memory. Given a directory on a RAM disk it survives the
// death of the process; given one on a medium as well, what waits for the
// server survives a power cut. The medium is written to only when results wait:
// while the server takes them at once, it is left alone.
package spool

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Limits bound a Spool.
type Limits struct {
	Bytes     int           // of results, with what it takes to keep them; beyond it the oldest go, delivered ones first
	Delivered time.Duration // how long a delivered result is remembered
	Age       time.Duration // how long a result waits for the server at most
}

// DefaultLimits suits a terminal with 64 MiB of memory or more: the server asks
// again within its 120 s queue limit and its 300 s answer limit, or never.
// Results of the terminal's own schedule wait for a week.
func DefaultLimits() Limits {
	return Limits{Bytes: 8 << 20, Delivered: 10 * time.Minute, Age: 7 * 24 * time.Hour}
}

// Places are the directories in which a spool keeps itself. Both may be "".
type Places struct {
	RAM    string // on a RAM disk: every step is written, at once
	Medium string // on a disk or card: what has waited for a while
}

// Spool is safe for concurrent use. Its methods write to the RAM disk with the
// lock held, which takes microseconds; the medium is written to by Run alone.
type Spool struct {
	limits Limits
	news   chan struct{} // a result was Put

	mu      sync.Mutex
	entries map[string]*Entry
	order   []*Entry // oldest first
	bytes   int
	dropped int
	crashed map[string]step // runs that ended with the process, by key
	gone    []string        // keys that the medium has and need not have any longer
	ram     *journal        // nil if there is none
	ramErr  error           // what the last write to it came to
	payload []byte          // scratch space of write
	records []byte          // likewise

	mediumErr error // what the last write to the medium came to

	saving sync.Mutex
	medium *journal // used under saving; nil if there is none
}

// Entry is one run of a command: under way until it is finished, then its
// result.
type Entry struct {
	Key     string
	Attempt int // 1, or more if the process died in the earlier ones

	spool     *Spool
	done      chan struct{} // closed once body is set
	body      []byte        // nil if the run was cut short, and left no result
	finished  time.Time
	delivered bool
	saved     bool // on the medium
	unasked   bool // nobody will ask for it: see Put
}

// New is an empty spool in memory.
func New(limits Limits) *Spool {
	return &Spool{
		limits:  limits,
		entries: make(map[string]*Entry),
		crashed: make(map[string]step),
		news:    make(chan struct{}, 1),
	}
}

// Open returns a spool that holds what the places kept of an earlier one. The
// spool is always usable: the error tells which place is not, and the spool
// does without it. Run keeps the medium; Close ends it all.
func Open(limits Limits, places Places) (*Spool, error) {
	s := New(limits)
	s.mu.Lock()
	defer s.mu.Unlock()
	var mediumErr, ramErr error
	if places.Medium != "" {
		s.medium, mediumErr = openIn(places.Medium, func(p []byte) { s.replay(p, true) })
	}
	if places.RAM != "" {
		s.ram, ramErr = openIn(places.RAM, func(p []byte) { s.replay(p, false) })
	}
	for key, b := range s.crashed {
		if e, found := s.entries[key]; found && e.body != nil || time.Since(b.at) > limits.Delivered {
			delete(s.crashed, key)
		}
	}
	slices.SortStableFunc(s.order, func(a, b *Entry) int { return a.finished.Compare(b.finished) })
	s.shrink()
	return s, errors.Join(mediumErr, ramErr)
}

func openIn(dir string, replay func([]byte)) (*journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open spool in %s: %w", dir, err)
	}
	return openJournal(filepath.Join(dir, "results"), replay)
}

// replay takes in one record of a place. s.mu is held.
func (s *Spool) replay(payload []byte, medium bool) {
	step, err := decodeStep(payload)
	if err != nil {
		return
	}
	e, found := s.entries[step.key]
	switch step.kind {
	case began:
		s.crashed[step.key] = step
	case finished:
		if !found && len(step.body) > 0 {
			s.add(&Entry{Key: step.key, body: slices.Clone(step.body), finished: step.at, saved: medium, done: closed()})
		}
	case delivered:
		if found {
			e.delivered = true
			s.leave(e)
		}
	case forgotten:
		delete(s.crashed, step.key)
		if found {
			if !medium {
				s.leave(e)
			}
			s.remove(slices.Index(s.order, e))
		}
	}
}

func closed() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// add takes in an entry. s.mu is held.
func (s *Spool) add(e *Entry) {
	e.spool = s
	s.entries[e.Key] = e
	s.order = append(s.order, e)
	s.bytes += e.size()
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
	e = &Entry{Key: key, Attempt: s.crashed[key].n + 1, done: make(chan struct{})}
	s.add(e)
	s.write(step{kind: began, at: time.Now(), key: key, n: e.Attempt})
	return e, true
}

// Knows reports whether the run called key has an entry.
func (s *Spool) Knows(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, found := s.entries[key]
	return found && !s.old(e)
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
	delete(s.crashed, e.Key)
	if body == nil {
		s.write(step{kind: forgotten, at: e.finished, key: e.Key})
		s.remove(slices.Index(s.order, e))
		return
	}
	s.write(step{kind: finished, at: e.finished, key: e.Key, body: body})
	s.bytes += e.size()
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

// Put keeps a result that no server asked for. It is pending at once,
// while the others give the server time to ask for them again.
func (s *Spool) Put(key string, body []byte) {
	e, mine := s.Claim(key)
	if !mine {
		return
	}
	s.mu.Lock()
	e.unasked = true
	s.mu.Unlock()
	e.Finish(body)
	select {
	case s.news <- struct{}{}:
	default: // told already
	}
}

// News receives after results were Put. One reader gets it.
func (s *Spool) News() <-chan struct{} { return s.news }

// Delivered notes that the server has the result: it is only remembered from
// now on.
func (e *Entry) Delivered() {
	s := e.spool
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.delivered {
		return
	}
	e.delivered = true
	s.leave(e)
	s.write(step{kind: delivered, at: time.Now(), key: e.Key})
	s.shrink()
}

// Unasked has Pending return none but the entries that were Put.
const Unasked = time.Duration(math.MaxInt64)

// Pending are the finished entries that have waited for the server for at
// least the given time, and those that were Put, oldest first.
func (s *Spool) Pending(waited time.Duration) []*Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	var pending []*Entry
	for _, e := range s.order {
		if e.waits() && (e.unasked || time.Since(e.finished) >= waited) {
			pending = append(pending, e)
		}
	}
	return pending
}

// waits reports whether the server is still to get the result. The spool's mu is held.
func (e *Entry) waits() bool { return e.body != nil && !e.delivered }

// size is what a finished entry counts for among the bytes that are kept.
func (e *Entry) size() int {
	if e.body == nil {
		return 0
	}
	const beside = 64 // the rest of the entry and of its records
	return beside + len(e.Key) + len(e.body)
}

// State is what a spool tells about itself.
type State struct {
	Waiting int   // results that the server is still to get
	Bytes   int   // of all results that are kept
	Dropped int   // results given up undelivered, because the spool was full or they were too old
	Err     error // the last failure to write to one of its places; nil if all is well
}

// State is how the spool stands now.
func (s *Spool) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := State{Bytes: s.bytes, Dropped: s.dropped, Err: errors.Join(s.ramErr, s.mediumErr)}
	for _, e := range s.order {
		if e.waits() {
			state.Waiting++
		}
	}
	return state
}

// shrink forgets delivered results that are old and results that waited too
// long, then whatever is oldest until the rest fits. s.mu is held.
func (s *Spool) shrink() {
	for len(s.order) > 0 && s.old(s.order[0]) {
		s.drop(0)
	}
	for s.bytes > s.limits.Bytes {
		i := slices.IndexFunc(s.order, func(e *Entry) bool { return e.delivered })
		if i < 0 {
			i = slices.IndexFunc(s.order, func(e *Entry) bool { return e.body != nil })
		}
		s.drop(i)
	}
}

// old reports whether an entry need not be kept any more. s.mu is held.
func (s *Spool) old(e *Entry) bool {
	age := time.Since(e.finished)
	return e.delivered && age > s.limits.Delivered || e.waits() && age > s.limits.Age
}

// drop removes the entry at i, and counts it if the server never got it. s.mu
// is held.
func (s *Spool) drop(i int) {
	e := s.order[i]
	if e.waits() {
		s.dropped++
		s.leave(e)
	}
	s.remove(i)
	s.write(step{kind: forgotten, at: time.Now(), key: e.Key})
}

// leave notes that the medium need not have the entry any longer. s.mu is held.
func (s *Spool) leave(e *Entry) {
	if e.saved {
		s.gone = append(s.gone, e.Key)
		e.saved = false
	}
}

// remove takes out the entry at i. s.mu is held.
func (s *Spool) remove(i int) {
	e := s.order[i]
	s.bytes -= e.size()
	delete(s.entries, e.Key)
	if i == 0 {
		s.order[0] = nil
		s.order = s.order[1:] // the common case, and without moving the rest
		return
	}
	s.order = slices.Delete(s.order, i, i+1)
}
