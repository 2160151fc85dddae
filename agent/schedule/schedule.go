// Package schedule runs the commands that the terminal was told to run by
// itself, whether or not a server can be reached, and leaves their results to
// the spool.
package schedule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/natrix-os/natrix/agent/command"
	"github.com/natrix-os/natrix/agent/config"
	"github.com/robfig/cron/v3"
)

// executor is the core as this package sees it.
type executor interface {
	Execute(context.Context, command.Command) command.Result
}

// keeper is what results are left to: the spool.
type keeper interface {
	Put(key string, body []byte)
}

// Schedule is a list of commands with their times. Its fields are set before
// Run and left alone after it.
type Schedule struct {
	Core     executor
	Results  keeper
	Terminal func() string // the terminal id that results are told under: the MAC of the default link, 12 hex digits
	Log      *slog.Logger

	jobs []job
}

type job struct {
	config.Scheduled
	when    cron.Schedule
	command command.Command
}

// Add checks lines of the schedule against the commands that there are. The
// good ones will run; the error names the others.
func (s *Schedule) Add(set command.Set, lines []config.Scheduled) error {
	var problems []error
	for _, line := range lines {
		when, err := cron.ParseStandard(line.When)
		var cmd command.Command
		if err == nil && when.Next(time.Now()).IsZero() {
			err = fmt.Errorf("%q never comes", line.When)
		}
		if err == nil {
			cmd, err = set.Parse(line.Command)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("[schedule] %s: %w", line.Name, err))
			continue
		}
		s.jobs = append(s.jobs, job{line, when, cmd})
	}
	return errors.Join(problems...)
}

// Run runs the commands at their times until ctx ends. A command that still
// runs when its time comes again misses that time.
func (s *Schedule) Run(ctx context.Context) {
	var running sync.WaitGroup
	for _, j := range s.jobs {
		running.Go(func() {
			for at := range ticks(ctx, j.when) {
				s.run(ctx, j, at)
			}
		})
	}
	running.Wait()
}

// ticks yields the times of a schedule as they come, until ctx ends.
func ticks(ctx context.Context, when cron.Schedule) iter.Seq[time.Time] {
	return func(yield func(time.Time) bool) {
		for next := when.Next(time.Now()); !next.IsZero() && wait(ctx, next); next = when.Next(time.Now()) {
			if !yield(next) {
				return
			}
		}
	}
}

// wait returns true at the given time of the wall clock, and false when ctx
// ends. It looks at the clock again every now and then, because that may be set
// meanwhile.
func wait(ctx context.Context, until time.Time) bool {
	for {
		left := until.Round(0).Sub(time.Now().Round(0))
		if left <= 0 {
			return ctx.Err() == nil
		}
		select {
		case <-time.After(min(left, 30*time.Second)):
		case <-ctx.Done():
			return false
		}
	}
}

// run runs a command that was due at the given time, and spools its result.
func (s *Schedule) run(ctx context.Context, j job, due time.Time) {
	cmd := j.command
	cmd.Received = time.Now()
	cmd.Echo = s.echo(j, due)
	result := s.Core.Execute(ctx, cmd)
	if ctx.Err() != nil {
		return
	}
	s.Log.Info("done", "job", j.Name, "cmd", cmd.Name, "dst", cmd.Target(), "err", result.Err)
	s.Results.Put(cmd.Key(), command.Encode(result))
}

// echo is what the server would have sent with the command: a uuid that this
// line of this terminal's schedule always has, and the time it was due.
func (s *Schedule) echo(j job, due time.Time) *command.Echo {
	terminal := s.Terminal()
	line := strings.Join(append([]string{terminal, j.Name, j.When}, j.Scheduled.Command...), " ")
	return &command.Echo{
		UUID:      quote(uuid.NewSHA1(uuid.NameSpaceOID, []byte(line)).String()),
		Terminal:  quote(terminal),
		Generated: json.RawMessage(strconv.FormatInt(due.Unix(), 10)),
	}
}

func quote(s string) json.RawMessage { return strconv.AppendQuote(nil, s) }
