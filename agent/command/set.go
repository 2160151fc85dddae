package command

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime/debug"
	"slices"
	"time"
)

// Info is what people read about a command, and how they type it.
type Info struct {
	Name       string // as on the wire and on the command line
	Summary    string // one line
	Positional string // parameter that is typed before the destination, without its option; "" if none
	Example    string // command lines, as they are typed
	Weight     int    // what it takes of the machine, in light commands such as a ping; 0 is 1
	Wire       any    // a value of the type that its results marshal to, for their schema; nil if there is none
}

// Definition is a command that a Set can hold: see Define.
type Definition struct {
	Info
	prepare func() Invocation
}

// Invocation is one command about to run: its parameters at their defaults,
// and what runs it with what they were set to.
type Invocation struct {
	Flags *Flags

	run    func(ctx context.Context, destination string) (Data, error)
	weight int
}

// Prepare begins a new run of the command.
func (d Definition) Prepare() Invocation { return d.prepare() }

// parameters is a pointer to a struct of parameters, which declares them.
type parameters[P any] interface {
	*P
	Flags(*Flags)
}

// Define makes a command of a typed method: defaults gives its parameters
// their values before any is set, run measures.
func Define[P any, PP parameters[P], R Data](info Info, defaults func() P, run func(context.Context, string, P) (R, error)) Definition {
	return Definition{info, func() Invocation {
		params := defaults()
		flags := newFlags(info.Name)
		PP(&params).Flags(flags)
		return Invocation{flags, func(ctx context.Context, destination string) (Data, error) {
			return run(ctx, destination, params)
		}, info.Weight}
	}}
}

// Set is the commands of a terminal, or those of them that a door may run.
// It does not change and may be shared.
type Set struct {
	definitions []Definition
	limiter     *limiter // nil for none
}

// NewSet holds the given commands, in this order. It panics if two have the same name.
func NewSet(definitions ...Definition) Set {
	var s Set
	for _, d := range definitions {
		if _, found := s.Lookup(d.Name); found {
			panic("command: " + d.Name + " defined twice")
		}
		s.definitions = append(s.definitions, d)
	}
	return s
}

// Only is the part of the set with the given names: what a door is granted.
func (s Set) Only(names ...string) Set {
	part := Set{limiter: s.limiter}
	for _, d := range s.definitions {
		if slices.Contains(names, d.Name) {
			part.definitions = append(part.definitions, d)
		}
	}
	return part
}

// All yields the commands in their order.
func (s Set) All() iter.Seq[Definition] { return slices.Values(s.definitions) }

// Lookup finds a command by its name.
func (s Set) Lookup(name string) (Definition, bool) {
	i := slices.IndexFunc(s.definitions, func(d Definition) bool { return d.Name == name })
	if i < 0 {
		return Definition{}, false
	}
	return s.definitions[i], true
}

// Execute runs a command until it is done, its deadline has passed or ctx
// ends, and never fails: what went wrong is in the result.
func (s Set) Execute(ctx context.Context, c Command) Result {
	d, found := s.Lookup(c.Name)
	if !found {
		return Fail(c, fmt.Errorf("%q: %w", c.Name, ErrUnsupported))
	}
	run := d.Prepare()
	if err := run.Flags.apply(c.Params); err != nil {
		return Fail(c, err)
	}
	return run.execute(WithRemote(ctx), c, s.limiter)
}

// Execute runs a prepared command, whose parameters were set through its
// Flags: those of c are not looked at. It waits for nobody. See [Set.Execute].
func (i Invocation) Execute(ctx context.Context, c Command) Result {
	return i.execute(ctx, c, nil)
}

func (i Invocation) execute(ctx context.Context, c Command, l *limiter) Result {
	limited, cancel := context.WithDeadline(WithLink(ctx, c.Link), c.Deadline())
	defer cancel()

	// Times are counted from the first by the monotonic clock, so that a step
	// of the wall clock cannot put them out of order.
	now := func() time.Time { return c.Received.Add(time.Since(c.Received)) }
	r := Result{Command: c, Sent: now()}
	leave, err := l.enter(limited, i.weight)
	if err == nil {
		r.Sent = now()
		r.Data, err = i.finish(limited, c.Destination, leave)
	}
	r.Err, r.Answered = err, now()
	if err != nil && !errors.Is(err, ErrInternal) && ctx.Err() == nil && limited.Err() != nil {
		r.Err = fmt.Errorf("%s %v after it was received: %w", cutOff(leave != nil), r.Answered.Sub(c.Received).Round(time.Second), ErrTimeout)
	}
	r.Returned = now()
	return r
}

// grace is how long a probe may take to end when its time is up.
const grace = 5 * time.Second

// finish measures until ctx ends, and a little longer at most: a probe that
// does not end then is left behind, so that its command is answered. It keeps
// its part of the limit for as long as it goes on.
func (i Invocation) finish(ctx context.Context, destination string, leave func()) (data Data, err error) {
	done := make(chan struct{})
	var measured Data
	var failed error
	go func() {
		defer leave()
		measured, failed = i.Measure(ctx, destination)
		close(done)
	}()
	select {
	case <-done:
		return measured, failed
	case <-ctx.Done():
	}
	select {
	case <-done:
		return measured, failed
	case <-time.After(grace):
		return nil, fmt.Errorf("%w: the probe does not end", ErrInternal)
	}
}

// cutOff says what ended at the deadline.
func cutOff(begun bool) string {
	if begun {
		return "cut off"
	}
	return "not begun, because of too many others, until"
}

// Measure runs the command for as long as ctx lasts, without a deadline of its
// own. A panic of a probe becomes a failure: one command that trips over a bug
// must not take the others with it, nor be redelivered for ever.
func (i Invocation) Measure(ctx context.Context, destination string) (data Data, err error) {
	defer func() {
		if p := recover(); p != nil {
			data, err = nil, fmt.Errorf("%w: %v\n%s", ErrInternal, p, debug.Stack())
		}
	}()
	if destination == "" {
		return nil, fmt.Errorf("%w: no destination", ErrParameter)
	}
	data, err = i.run(ctx, destination)
	if err == nil && data == nil {
		return nil, errors.New("nothing measured")
	}
	if err != nil {
		data = nil // a typed nil of the probe is not a result
	}
	return data, err
}
