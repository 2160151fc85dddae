// Package status is what an agent knows about how it is doing: counted while it
// works, asked for over a socket in its runtime directory, and read by people
// on one screen and by Prometheus.
package status

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// Status is how an agent stands at one moment. Times without a value are zero.
type Status struct {
	Version    string    `json:"version"`
	At         time.Time `json:"at"`
	Began      time.Time `json:"began"`
	Problems   []string  `json:"problems"` // why it is not healthy; empty if it is
	Broker     Broker    `json:"broker"`
	Spool      Spool     `json:"spool"`
	Clock      Clock     `json:"clock"`
	Counts     Counts    `json:"counts"`
	Schedule   []string  `json:"schedule"` // lines of it, as configured
	Sandbox    bool      `json:"sandbox"`
	Goroutines int       `json:"goroutines"`
	Memory     int64     `json:"memory"` // bytes resident
}

// Broker is the connection to the broker.
type Broker struct {
	URL       string    `json:"url"` // without its password; the last one that was tried
	Connected bool      `json:"connected"`
	Since     time.Time `json:"since"`             // of the connection, or of the time without
	Err       string    `json:"error,omitempty"`   // why there is none, or what ended the one before
	Blocked   string    `json:"blocked,omitempty"` // why the broker takes nothing at the moment
	Sessions  int       `json:"sessions"`          // connections so far
	Queues    []Queue   `json:"queues"`            // that are consumed
	Stuck     string    `json:"stuck,omitempty"`   // what makes no progress
}

// Queue is one that is consumed, for a link.
type Queue struct {
	Link string `json:"link"`
	Name string `json:"name"`
}

// Spool is what waits for the server.
type Spool struct {
	Waiting int    `json:"waiting"`
	Bytes   int    `json:"bytes"` // of all results that are kept
	Dropped int    `json:"dropped"`
	Err     string `json:"error,omitempty"`
}

// Clock is the wall clock.
type Clock struct {
	Synchronised bool    `json:"synchronised"`
	Offset       float64 `json:"offset"` // seconds
}

// Judge notes what keeps the agent from being healthy, most important first.
func (s *Status) Judge() {
	s.Problems = nil
	note := func(wrong bool, format string, args ...any) {
		if wrong {
			s.Problems = append(s.Problems, fmt.Sprintf(format, args...))
		}
	}
	b := s.Broker
	note(b.Stuck != "", "no progress: %s", b.Stuck)
	note(!b.Connected, "no broker for %v: %s; natrix doctor says more", s.age(b.Since), b.Err)
	note(b.Connected && len(b.Queues) == 0, "no link has a queue: is a cable plugged in?")
	note(b.Blocked != "", "the broker takes nothing, because of its %s: results wait here", b.Blocked)
	note(s.Spool.Err != "", "results cannot be written: %s", s.Spool.Err)
	note(s.Spool.Dropped > 0, "%d results were dropped, because they were too many or too old", s.Spool.Dropped)
	note(!s.Clock.Synchronised, "nobody keeps the clock right")
	note(!s.Sandbox, "the sandbox is off or not complete")
}

func (s *Status) age(t time.Time) time.Duration {
	if t.IsZero() {
		return s.At.Sub(s.Began).Round(time.Second)
	}
	return s.At.Sub(t).Round(time.Second)
}

// WriteText writes one screen for people.
func (s *Status) WriteText(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) { fmt.Fprintf(w, name+"\t"+format+"\n", args...) }
	if len(s.Problems) == 0 {
		line("health", "all is well")
	}
	for _, p := range s.Problems {
		line("health", "%s", p)
	}
	line("agent", "%s, running for %v, %.1f MiB, %d goroutines", s.Version, s.age(s.Began), float64(s.Memory)/(1<<20), s.Goroutines)
	state := "not connected"
	if s.Broker.Connected {
		state = "connected"
	}
	line("broker", "%s, %s for %v, %d sessions", s.Broker.URL, state, s.age(s.Broker.Since), s.Broker.Sessions)
	if s.Broker.Err != "" && s.Broker.Connected {
		line("", "before that: %s", s.Broker.Err)
	}
	for _, q := range s.Broker.Queues {
		line("queue", "%s on %s", q.Name, q.Link)
	}
	line("spool", "%d results wait, %d KiB are kept, %d dropped", s.Spool.Waiting, s.Spool.Bytes>>10, s.Spool.Dropped)
	for _, c := range s.Counts.Commands {
		line("commands", "%s: %d done, %d failed", c.Name, c.Done, c.Failed)
	}
	if n := s.Counts.Publish.Count; n > 0 {
		line("published", "%d messages, confirmed after %v on average", n, s.Counts.Publish.mean().Round(10*time.Microsecond))
	}
	for _, j := range s.Schedule {
		line("schedule", "%s", j)
	}
	for _, l := range s.Counts.Last {
		line("last", "%s", l)
	}
	return w.Flush()
}

// String is one line for people.
func (r Run) String() string {
	s := fmt.Sprintf("%s %s %s in %v", r.At.UTC().Format("15:04:05"), r.Command, r.Target, r.Took.Round(10*time.Microsecond))
	if r.Err != "" {
		first, _, _ := strings.Cut(r.Err, "\n")
		s += ": " + first
	}
	return s
}
