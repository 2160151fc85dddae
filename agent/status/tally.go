package status

import (
	"slices"
	"strings"
	"sync"
	"time"
)

// Counts are what a Tally has counted.
type Counts struct {
	Commands  []Command `json:"commands"` // by name
	Durations Histogram `json:"durations"`
	Publish   Histogram `json:"publish"` // from publishing to the broker's confirm
	Last      []Run     `json:"last"`    // the last commands, oldest first
}

// Command counts the commands of one name. Beyond many names the rest are
// counted as "unknown", so that nobody fills memory with them.
type Command struct {
	Name   string `json:"name"`
	Done   int    `json:"done"` // all of them, the failed ones included
	Failed int    `json:"failed"`
}

// Run is one command that was run.
type Run struct {
	At      time.Time     `json:"at"`
	Command string        `json:"command"`
	Target  string        `json:"target"`
	Took    time.Duration `json:"took"` // ns
	Err     string        `json:"error,omitempty"`
}

// bounds are the upper ends of a histogram's buckets, in seconds.
var bounds = [...]float64{0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300}

// Histogram counts durations. Buckets hold those that are not above their
// bound and above the one before, and at last the rest.
type Histogram struct {
	Buckets [len(bounds) + 1]int `json:"buckets"`
	Count   int                  `json:"count"`
	Sum     time.Duration        `json:"sum"` // ns
}

func (h *Histogram) add(d time.Duration) {
	i, _ := slices.BinarySearch(bounds[:], d.Seconds())
	h.Buckets[i]++
	h.Count++
	h.Sum += d
}

func (h Histogram) mean() time.Duration { return h.Sum / time.Duration(max(h.Count, 1)) }

// Tally counts what an agent does. It is safe for concurrent use, and a nil one
// counts nothing.
type Tally struct {
	mu       sync.Mutex
	commands map[string]*Command
	counts   Counts
}

const (
	remembered = 5  // commands that Last holds
	names      = 64 // kinds of commands that are told apart
)

// Ran counts a command.
func (t *Tally) Ran(r Run) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.commands == nil {
		t.commands = make(map[string]*Command)
	}
	name := r.Command
	if t.commands[name] == nil && len(t.commands) >= names {
		name = "unknown"
	}
	c := t.commands[name]
	if c == nil {
		c = &Command{Name: name}
		t.commands[name] = c
	}
	c.Done++
	if r.Err != "" {
		c.Failed++
	}
	t.counts.Durations.add(r.Took)
	if len(t.counts.Last) == remembered {
		t.counts.Last = t.counts.Last[1:]
	}
	t.counts.Last = append(t.counts.Last, r)
}

// Published counts a message that the broker confirmed after the given time.
func (t *Tally) Published(after time.Duration) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts.Publish.add(after)
}

// Counts are those so far.
func (t *Tally) Counts() Counts {
	if t == nil {
		return Counts{}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.counts
	c.Last = slices.Clone(c.Last)
	c.Commands = nil
	for _, one := range t.commands {
		c.Commands = append(c.Commands, *one)
	}
	slices.SortFunc(c.Commands, func(a, b Command) int { return strings.Compare(a.Name, b.Name) })
	return c
}
