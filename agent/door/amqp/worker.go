// Package amqp is the door of the Natrix server: a worker that takes commands
// from RabbitMQ, answers them and sends reports. Each link of the terminal has
// a queue of its own, named for its MAC address.
package amqp

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/natrix-os/natrix/agent/command"
	"github.com/natrix-os/natrix/agent/config"
	"github.com/natrix-os/natrix/agent/spool"
	"github.com/natrix-os/natrix/agent/status"
	"github.com/natrix-os/natrix/sysinfo/netif"
	"github.com/rabbitmq/amqp091-go"
	"golang.org/x/sync/errgroup"
)

// executor is the core as this door sees it.
type executor interface {
	Execute(context.Context, command.Command) command.Result
}

// Report is a document that is published at once and then again and again.
type Report struct {
	Queue string                                // see BasicQueue, AdvanceQueue
	Every time.Duration                         // the longest time between two
	Make  func(context.Context) ([]byte, error) // the document as it stands
}

// Worker consumes the queues of this terminal's links until its context ends,
// over as many connections as it takes. Its fields are set before Run and left
// alone after it.
type Worker struct {
	Config  config.AMQP
	Core    executor
	Reports []Report
	Results *spool.Spool // what was run, and is not yet with the server
	Log     *slog.Logger
	Tally   *status.Tally // counts what is done; may be nil

	// Links yields the links of the terminal, again whenever they change.
	Links func(context.Context) iter.Seq2[[]netif.Link, error]

	Opened   func() // called each time the queues are being consumed; may be nil
	Received func() // called for each command that comes in; may be nil

	consuming atomic.Bool

	slots    chan struct{} // one for each command that may run
	running  sync.WaitGroup
	progress progress
	state    state
	apart    bool // the broker counts the prefetch for each consumer alone: a session learns it and tells the next
}

// Consuming reports whether the queues are being consumed.
func (w *Worker) Consuming() bool { return w.consuming.Load() }

// Run consumes until ctx ends, and then returns nil once every command it
// started has ended. What was cut short stays in the broker's queue.
func (w *Worker) Run(ctx context.Context) error {
	w.slots = make(chan struct{}, w.Config.Prefetch)
	defer w.running.Wait()

	w.await(ctx, 5*time.Second)
	pause := backoff{least: time.Second, most: time.Minute}
	for try := 0; ctx.Err() == nil; try++ {
		broker := w.Config.URLs[try%len(w.Config.URLs)]
		begin := time.Now()
		err := w.session(ctx, broker)
		w.state.lost(broker, err)
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(begin) > pause.most { // a session that ends at once is no recovery
			pause.reset()
		}
		wait := pause.next()
		w.Log.Warn("no broker", "broker", config.Redact(broker), "err", err, "again", wait.Round(time.Millisecond))
		w.pause(ctx, wait)
	}
	return nil
}

// await returns once the machine has a route to a broker, or after d: there may
// be one all the same. A lookup before the lease would have
// Go's resolver go by a resolv.conf without name servers for five seconds.
func (w *Worker) await(ctx context.Context, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	for links, err := range w.Links(ctx) {
		if err != nil || slices.ContainsFunc(w.Config.URLs, func(broker string) bool { return within(broker, links) }) {
			return
		}
	}
}

// within reports whether there is a route to a broker. One with a name needs
// that to name servers first, which are anywhere.
func within(broker string, links []netif.Link) bool {
	if u, err := amqp091.ParseURI(broker); err == nil && net.ParseIP(u.Host) != nil {
		conn, err := net.Dial("udp", net.JoinHostPort(u.Host, strconv.Itoa(u.Port))) // sends nothing
		if err == nil {
			conn.Close()
		}
		return err == nil
	}
	return slices.ContainsFunc(links, func(l netif.Link) bool { return l.Default4 || l.Default6 })
}

// pause waits for d, or less if the links change meanwhile: a cable was plugged
// in, or a lease came.
func (w *Worker) pause(ctx context.Context, d time.Duration) {
	const settle = 50 * time.Millisecond // changes come in swarms
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	first := true
	for _, err := range w.Links(ctx) {
		if err != nil {
			break
		}
		if !first {
			sleep(ctx, settle)
			return
		}
		first = false
	}
	<-ctx.Done()
}

// handle takes one delivery from bytes to acknowledgement. It acknowledges only
// once the broker has the result: a crash repeats work rather than losing it.
// An error ends the session, and the delivery comes again in the next.
func (s *session) handle(ctx context.Context, link netif.Link, d amqp091.Delivery) error {
	cmd, err := command.Decode(d.Body)
	if cmd.Echo != nil && cmd.Echo.Terminal == nil {
		cmd.Echo.Terminal = strconv.AppendQuote(nil, link.Terminal()) // it is whom the queue belongs to
	}
	if err != nil {
		return s.refuse(ctx, link, d, cmd, err)
	}
	if d.Redelivered && cmd.Expired() && !s.worker.Results.Knows(cmd.Key()) {
		s.worker.Log.Warn("too late", "cmd", cmd.Name, "dst", cmd.Target(), "id", cmd.Key())
		return s.acks.ack(d.DeliveryTag) // the terminal was away for longer than the server waits
	}
	cmd.Link = link.Name
	entry, body := s.result(ctx, cmd)
	if body == nil {
		return nil // cut short: not acknowledged, the broker delivers it again
	}
	return s.answer(ctx, cmd, body, d, entry.Delivered)
}

// answer publishes a response, tells so, and acknowledges the command.
func (s *session) answer(ctx context.Context, cmd command.Command, body []byte, d amqp091.Delivery, published func()) error {
	if err := sleep(ctx, s.worker.Config.ReplyDelay-time.Since(cmd.Received)); err != nil {
		return err
	}
	// From here on the end of the worker waits: what is published but not
	// acknowledged would be run again by the next one.
	s.answering.Add(1)
	defer s.answering.Done()
	if err := s.publish(context.WithoutCancel(ctx), ResponseQueue, body); err != nil {
		return err
	}
	published()
	return s.acks.ack(d.DeliveryTag)
}

// attempts is how often a command may be begun that never ended.
const attempts = 2

// result is what the command gave when it was run before, or gives now. The
// body is nil if ctx ended first.
func (s *session) result(ctx context.Context, cmd command.Command) (*spool.Entry, []byte) {
	for {
		entry, mine := s.worker.Results.Claim(cmd.Key())
		if mine && entry.Attempt > attempts {
			entry.Finish(command.Encode(command.Fail(cmd, fmt.Errorf("%w: the terminal's program ended during this command %d times", command.ErrInternal, attempts))))
		} else if mine {
			s.outlive(func(lifetime context.Context) { entry.Finish(s.run(ctx, lifetime, cmd)) })
		} else {
			s.worker.Log.Info("delivered again", "cmd", cmd.Name, "dst", cmd.Target(), "id", cmd.Key())
		}
		body, err := entry.Wait(ctx)
		if body != nil || err != nil || ctx.Err() != nil {
			return entry, body
		}
	}
}

// run executes a command and returns its result for the server, or nil if it
// was cut short. It waits for its turn only as long as the session lasts, but
// once begun goes on without it: the result is then there when the command is
// delivered again.
func (s *session) run(ctx, lifetime context.Context, cmd command.Command) []byte {
	w := s.worker
	select {
	case w.slots <- struct{}{}:
		defer func() { <-w.slots }()
	case <-ctx.Done():
		return nil
	}
	defer w.progress.begin("command "+cmd.Name, cmd.Deadline().Add(grace))()
	result := w.Core.Execute(lifetime, cmd)
	if lifetime.Err() != nil {
		return nil
	}
	w.Tally.Ran(ran(cmd, result))
	w.Log.Info("done", "cmd", cmd.Name, "dst", cmd.Target(), "link", cmd.Link, "took", result.Answered.Sub(result.Sent).Round(time.Microsecond), "err", result.Err)
	return command.Encode(result)
}

// ran is what a status tells of a command.
func ran(cmd command.Command, r command.Result) status.Run {
	run := status.Run{At: cmd.Received, Command: cmd.Name, Target: cmd.Target(), Took: r.Answered.Sub(r.Sent)}
	if r.Err != nil {
		run.Err = r.Err.Error()
	}
	if errors.Is(r.Err, command.ErrUnsupported) {
		run.Command = "unknown" // a server can make up any number of names
	}
	return run
}

// refuse deals with a message that is not a command. It will never be one, and
// the server cannot read it from the dead-letter queue: it is acknowledged, and
// answered where there is something to answer to.
func (s *session) refuse(ctx context.Context, link netif.Link, d amqp091.Delivery, cmd command.Command, err error) error {
	s.worker.Log.Warn("not a command", "link", link.Name, "bytes", len(d.Body), "err", err)
	if cmd.Echo != nil {
		return s.answer(ctx, cmd, command.Encode(command.Fail(cmd, err)), d, func() {})
	}
	return s.acks.ack(d.DeliveryTag)
}

// sweep publishes results that nobody asks for: the terminal's own, at once,
// and now and then those of commands that the broker forgot when it went down.
// It delivers again what it did not forget as soon as there is a session.
func (s *session) sweep(ctx context.Context) error {
	const patience = 5 * time.Second
	waited := spool.Unasked
	for {
		if err := s.offer(ctx, s.worker.Results.Pending(waited)); err != nil {
			return err
		}
		select {
		case <-s.worker.Results.News():
		case <-time.After(patience):
			waited = patience
		case <-ctx.Done():
			return nil
		}
	}
}

// offer publishes finished results, many at a time, so that their confirms do
// not wait for each other.
func (s *session) offer(ctx context.Context, entries []*spool.Entry) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(64)
	for _, e := range entries {
		group.Go(func() error {
			body, err := e.Wait(ctx)
			if err != nil {
				return nil // the session ends
			}
			if err := s.publish(ctx, ResponseQueue, body); err != nil {
				return fmt.Errorf("publish a waiting result: %w", err)
			}
			e.Delivered()
			return nil
		})
	}
	return group.Wait()
}

// sleep waits for d, or returns the error of ctx if that ends first.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
