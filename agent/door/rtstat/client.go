package rtstat

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"github.com/natrix-os/natrix/sysinfo"
)

// wire is the connection of a client, whichever transport it came by. Reading
// and writing may overlap; each is done by one goroutine.
type wire interface {
	read(ctx context.Context) (string, error) // the next message
	write(ctx context.Context, message []byte) error
	end(reason error) // closes it; nil is a polite end
}

const (
	writeTime = 10 * time.Second // a client that takes nothing for so long is gone
	waiting   = 64               // lines of running commands that wait to be written
)

// errQuit ends a client that asked for it.
var errQuit = errors.New("quit")

// client is one client: a machine of states that its one goroutine owns.
type client struct {
	*Server
	wire wire
	from netip.Addr

	authorized bool
	failures   int
	interval   time.Duration
	ticker     *time.Ticker // of the pushes, nil while stopped
	before     sysinfo.Stat // as of the last push: usage is counted from there

	lines chan []byte // of commands that run
	runs  runs
}

// serve speaks with a client until it leaves or ctx ends, and closes the wire.
func (s *Server) serve(ctx context.Context, w wire, from netip.Addr, authorized bool) {
	ctx, cancel := context.WithCancel(ctx)
	c := &client{Server: s, wire: w, from: from, authorized: authorized || s.gate.open(), lines: make(chan []byte, waiting)}
	defer s.hub.subscribe()()
	var running sync.WaitGroup
	defer running.Wait()
	defer c.runs.wait()
	defer cancel()
	messages := make(chan string)
	running.Go(func() { c.listen(ctx, messages) })
	err := c.talk(ctx, messages)
	c.stop()
	if errors.Is(err, errQuit) || ctx.Err() != nil {
		err = nil
	}
	w.end(err)
}

// listen passes on what the client says until there is nothing more.
func (c *client) listen(ctx context.Context, messages chan<- string) {
	defer close(messages)
	for {
		m, err := c.wire.read(ctx)
		if err != nil {
			return
		}
		select {
		case messages <- m:
		case <-ctx.Done():
			return
		}
	}
}

// talk answers, and pushes. It writes where it waits, so a client that reads
// too slowly misses pushes rather than having them queued.
func (c *client) talk(ctx context.Context, messages <-chan string) error {
	if err := c.write(ctx, line("Welcome", greeting)); err != nil {
		return err
	}
	if now, err := c.hub.now(ctx); err == nil {
		c.before = now.sample.Stat
	}
	for {
		var err error
		select {
		case m, more := <-messages:
			if !more {
				return nil
			}
			err = c.handle(ctx, m)
		case <-c.ticks():
			err = c.push(ctx)
		case l := <-c.lines:
			err = c.write(ctx, l)
		case <-ctx.Done():
			return ctx.Err()
		}
		if err != nil {
			return err
		}
	}
}

func (c *client) ticks() <-chan time.Time {
	if c.ticker == nil {
		return nil
	}
	return c.ticker.C
}

func (c *client) write(ctx context.Context, message []byte) error {
	ctx, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	return c.wire.write(ctx, message)
}

// handle does what a message asks for. Only what ends the client is an error.
func (c *client) handle(ctx context.Context, message string) error {
	if message == "" {
		return c.refuse(ctx, errUnknownMessage)
	}
	r := parse(message)
	switch r.name {
	case "version":
		return c.write(ctx, line("Version", protocolVersion))
	case "quit", "exit":
		return errQuit
	case "pong":
		return nil // clients of 0.4 may say it
	}
	do := map[string]func(context.Context, request) error{
		"auth": c.auth, "interval": c.setInterval, "start": c.start, "stop": c.halt,
		"history": c.history, "run": c.run, "cancel": c.cancel,
	}[r.name]
	switch {
	case do == nil:
		return c.refuse(ctx, errUnknownCommand)
	case r.name != "auth" && !c.authorized:
		return c.refuse(ctx, errNotAuthorized)
	}
	return c.refuse(ctx, do(ctx, r))
}

// refuse tells the client what is wrong with its request, if anything is.
// Errors that are not about the request end the client.
func (c *client) refuse(ctx context.Context, err error) error {
	var broken *brokenError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &broken):
		return broken.error
	}
	if err := c.write(ctx, line("Error", err.Error())); err != nil {
		return err
	}
	if c.failures >= failuresMax {
		return errAuthFailed
	}
	return nil
}

// brokenError is a failure of the wire, as opposed to a mistake of the client.
type brokenError struct{ error }

// send writes an answer in the course of a request.
func (c *client) send(ctx context.Context, message []byte) error {
	if err := c.write(ctx, message); err != nil {
		return &brokenError{err}
	}
	return nil
}

// auth stops the pushes of a client that fails: it has become somebody else.
func (c *client) auth(ctx context.Context, r request) error {
	token, given := r.argument()
	if !given {
		return errNoToken
	}
	if c.gate.open() {
		return errAuthFailed // there is nothing to know, and nothing to guess
	}
	c.authorized = c.gate.try(ctx, c.from, token)
	if !c.authorized {
		c.failures++
		c.stop()
		return errAuthFailed
	}
	return nil
}

func (c *client) setInterval(_ context.Context, r request) error {
	text, given := r.argument()
	if !given || text == "" {
		return errNoInterval
	}
	interval, err := parseInterval(text)
	if err != nil {
		return err
	}
	c.interval = interval
	if c.ticker != nil {
		c.ticker.Reset(interval)
	}
	return nil
}

func (c *client) start(context.Context, request) error {
	switch {
	case c.ticker != nil:
		return errAlreadyStarted
	case c.interval == 0:
		return errIntervalNotSet
	}
	c.ticker = time.NewTicker(c.interval)
	return nil
}

func (c *client) halt(context.Context, request) error {
	if c.ticker == nil {
		return errNotStarted
	}
	c.stop()
	return nil
}

func (c *client) stop() {
	if c.ticker != nil {
		c.ticker.Stop()
		c.ticker = nil
	}
}

// push sends the state of the machine, and CPU usage since the last push.
func (c *client) push(ctx context.Context) error {
	now, err := c.hub.now(ctx)
	if err != nil {
		return err
	}
	message := make([]byte, 0, 256+len(now.shared))
	message = append(message, `Push::{"cpu_stat":`...)
	message = appendCPU(message, now.sample.Stat, c.before)
	message = append(message, now.shared...)
	message = append(message, "}\n"...)
	c.before = now.sample.Stat
	return c.write(ctx, message)
}

// history sends the last five minutes, and at once the state of the machine:
// who asks for the one has nothing to show yet.
func (c *client) history(ctx context.Context, _ request) error {
	message, err := document("History", c.Server.history())
	if err != nil {
		return err
	}
	if err := c.send(ctx, message); err != nil {
		return err
	}
	c.before = c.hub.earlier()
	if err := c.push(ctx); err != nil {
		return &brokenError{err}
	}
	return nil
}
