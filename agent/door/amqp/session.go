package amqp

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/natrix-os/natrix/agent/config"
	"github.com/natrix-os/natrix/sysinfo/netif"
	"github.com/rabbitmq/amqp091-go"
	"golang.org/x/sync/errgroup"
)

const (
	dialTimeout = 10 * time.Second
	heartbeat   = 10 * time.Second // a dead connection is noticed after two of them
)

// session is what lives as long as one connection to the broker.
type session struct {
	worker    *Worker
	conn      *amqp091.Connection
	commands  *amqp091.Channel // consumes; a channel that also published would be throttled with the publishers
	acks      *acks
	publisher *publisher
	blocks    chan amqp091.Blocking // the broker takes messages or does not
	cancels   chan string           // consumers that the broker cancelled, by tag
	group     *errgroup.Group       // every goroutine that ends with the session
	answering sync.WaitGroup        // responses on their way

	mu        sync.Mutex
	consumers map[string]netif.Link // by terminal id, which is also the consumer's tag; changed by consume alone

	// outlive starts what goes on beyond the session, in the context of the worker.
	outlive func(func(context.Context))
}

// session connects and works until the connection or ctx ends.
func (w *Worker) session(ctx context.Context, broker string) error {
	connecting := w.progress.begin("connecting to the broker", time.Now().Add(2*dialTimeout+grace))
	s, err := w.connect(ctx, broker)
	connecting()
	if err != nil {
		return err
	}
	w.state.connected(broker)
	w.Log.Info("connected", "broker", config.Redact(broker))

	s.outlive = func(do func(context.Context)) { w.running.Go(func() { do(ctx) }) }
	group, inner := errgroup.WithContext(ctx)
	s.group = group
	s.group.Go(func() error { return s.guard(inner) })
	s.group.Go(func() error { return s.consume(inner) })
	s.group.Go(func() error { return s.sweep(inner) })
	s.group.Go(func() error { return s.heed(inner) })
	for _, r := range w.Reports {
		s.group.Go(func() error { return s.report(inner, r) })
	}
	err = s.group.Wait()
	if refused(err, amqp091.NotImplemented) && !w.apart {
		w.apart = true // quorum queues, and brokers without global prefetch
	}
	return err
}

// connect opens the connection and its channels, and sees to the queues.
func (w *Worker) connect(ctx context.Context, broker string) (*session, error) {
	conn, err := Dial(ctx, broker, "natrix agent")
	if err != nil {
		return nil, err
	}
	s := &session{worker: w, conn: conn}
	if err := s.open(); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// guard waits for the end of the session, whichever side begins it, and closes
// the connection: that ends everybody who publishes or consumes.
func (s *session) guard(ctx context.Context) error {
	defer s.close()
	connection := s.conn.NotifyClose(make(chan *amqp091.Error, 1))
	commands := s.commands.NotifyClose(make(chan *amqp091.Error, 1))
	results := s.publisher.channel.NotifyClose(make(chan *amqp091.Error, 1))
	var err error
	select {
	case e := <-connection:
		return lost("connection", e)
	case e := <-commands:
		err = lost("channel for commands", e)
	case e := <-results:
		err = lost("channel for results", e)
	case id := <-s.cancels:
		return fmt.Errorf("queue %s was deleted", RequestQueue(id))
	case <-ctx.Done():
		s.settle(time.Second)
		return nil
	}
	select {
	case e := <-connection: // told before its channels, and says why
		return lost("connection", e)
	default:
		return err
	}
}

// settle waits until the responses that are on their way have arrived, at most
// for the time given.
func (s *session) settle(most time.Duration) {
	arrived := make(chan struct{})
	go func() { // ends with the connection at the latest
		s.answering.Wait()
		close(arrived)
	}()
	select {
	case <-arrived:
	case <-time.After(most):
	}
}

// lost says what ended. The library tells no reason for an end that it thinks was asked for.
func lost(what string, err *amqp091.Error) error {
	if err == nil {
		return fmt.Errorf("%s closed", what)
	}
	return fmt.Errorf("%s lost: %w", what, err)
}

func (s *session) close() { s.conn.CloseDeadline(time.Now().Add(time.Second)) }

func (s *session) open() (err error) {
	for _, name := range []string{ResponseQueue, BasicQueue, AdvanceQueue} {
		if err := ensure(s.conn, name, nil); err != nil {
			return err
		}
	}
	if s.publisher, err = newPublisher(s.conn); err != nil {
		return err
	}
	s.noteBlocks()
	if s.commands, err = s.conn.Channel(); err != nil {
		return fmt.Errorf("open channel: %w", err)
	}
	s.acks = newAcks(s.commands.Ack)
	// Listened to before there is anything to consume, so that nothing is
	// missed, and with room for a cancel of every link that there can be.
	s.cancels = s.commands.NotifyCancel(make(chan string, 1024))
	if err := s.commands.Qos(s.worker.Config.Prefetch, 0, !s.worker.apart); err != nil {
		return fmt.Errorf("set prefetch: %w", err)
	}
	return nil
}

// publish sends a durable message and returns once the broker has it.
func (s *session) publish(ctx context.Context, queue string, body []byte) error {
	begin := time.Now()
	err := s.publisher.publish(ctx, queue, body)
	if err == nil {
		s.worker.Tally.Published(time.Since(begin))
	}
	if errors.Is(err, errUnroutable) { // the queue was deleted under us
		if err := ensure(s.conn, queue, nil); err != nil {
			return err
		}
		err = s.publisher.publish(ctx, queue, body)
	}
	return err
}

// consume has a consumer for each link, as links come and go.
func (s *session) consume(ctx context.Context) error {
	defer s.worker.consuming.Store(false)
	first := sync.OnceFunc(func() {
		s.worker.consuming.Store(true)
		if s.worker.Opened != nil {
			s.worker.Opened()
		}
	})
	for links, err := range s.worker.Links(ctx) {
		if err != nil {
			return fmt.Errorf("watch links: %w", err)
		}
		if err := s.follow(ctx, links); err != nil {
			return err
		}
		if len(netif.Terminals(links)) > 0 {
			first()
		}
	}
	return ctx.Err()
}

// follow adjusts the consumers to the links that there are now.
func (s *session) follow(ctx context.Context, links []netif.Link) error {
	now := make(map[string]netif.Link)
	for _, l := range netif.Terminals(links) {
		now[l.Terminal()] = l
	}
	before := s.replace(now)
	for id := range before {
		if _, still := now[id]; !still {
			if err := s.commands.Cancel(id, false); err != nil {
				return fmt.Errorf("leave queue of %s: %w", id, err)
			}
		}
	}
	for id, link := range now {
		if _, already := before[id]; already {
			continue
		}
		if err := ensure(s.conn, RequestQueue(id), requestArguments()); err != nil {
			return err
		}
		deliveries, err := s.commands.Consume(RequestQueue(id), id, false, false, false, false, nil)
		if err != nil {
			return fmt.Errorf("consume %s: %w", RequestQueue(id), err)
		}
		s.worker.Log.Info("consuming", "queue", RequestQueue(id), "link", link.Name)
		s.group.Go(func() error { return s.serve(ctx, id, deliveries) })
	}
	return nil
}

// replace makes the links of now those of the consumers, and returns the ones before.
func (s *session) replace(now map[string]netif.Link) map[string]netif.Link {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.consumers
	s.consumers = now
	s.worker.state.consuming(now)
	return before
}

// link is the one that a terminal's queue belongs to at the moment: a MAC
// address can move from a port to its bridge.
func (s *session) link(id string) netif.Link {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.consumers[id]
}

// serve handles the deliveries of one queue, each in a goroutine of its own:
// the broker hands out no more than the prefetch before it gets acknowledgements.
func (s *session) serve(ctx context.Context, id string, deliveries <-chan amqp091.Delivery) error {
	for d := range deliveries {
		if s.worker.Received != nil {
			s.worker.Received()
		}
		link := s.link(id)
		s.group.Go(func() error { return s.handle(ctx, link, d) })
	}
	return nil
}

// report publishes one kind of report until ctx ends. A report that the broker
// does not take is not worth the session.
func (s *session) report(ctx context.Context, r Report) error {
	for first := true; ; first = false {
		begin := time.Now()
		body, err := r.Make(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil && s.publisher.gate.shut() == nil { // what the broker does not take now is old by then
			err = s.publish(ctx, r.Queue, body)
		}
		switch {
		case errors.Is(err, amqp091.ErrClosed):
			return fmt.Errorf("publish report: %w", err)
		case err != nil && ctx.Err() == nil:
			s.worker.Log.Warn("no report", "queue", r.Queue, "err", err)
		}
		if sleep(ctx, r.pause(first)-time.Since(begin)) != nil {
			return nil
		}
	}
}

// pause is the time from the beginning of a report to that of the next. The
// first is any part of what is allowed: terminals that began together, because
// the power or the broker came back, are spread evenly from the second report
// on, and later pauses keep them so. A tenth is left for a report that takes
// longer to make than the one before.
func (r Report) pause(first bool) time.Duration {
	most := r.Every - r.Every/10
	if first {
		return rand.N(most + 1)
	}
	return most - rand.N(most/10+1)
}

// Dial connects to a broker. The name tells the broker's operator who this is.
func Dial(ctx context.Context, broker, name string) (*amqp091.Connection, error) {
	if _, err := amqp091.ParseURI(broker); err != nil {
		// What is wrong with it is not said: the URL holds a password.
		return nil, errors.New("not a broker's URL such as amqp://user:password@host:5672/vhost")
	}
	properties := amqp091.NewConnectionProperties()
	properties.SetClientConnectionName(name)
	cut := func() bool { return true }
	conn, err := amqp091.DialConfig(broker, amqp091.Config{
		Heartbeat:  heartbeat,
		Properties: properties,
		Dial: func(network, addr string) (net.Conn, error) {
			d := net.Dialer{Timeout: dialTimeout}
			conn, err := d.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			cut = context.AfterFunc(ctx, func() { conn.Close() })
			// Bounds TLS and the AMQP handshake; the library lifts it after them.
			return newGather(conn), conn.SetDeadline(time.Now().Add(dialTimeout))
		},
	})
	cut()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("connect: %w", explain(err, broker))
	}
	return conn, nil
}

// explain adds what to do to the refusals that have an answer.
func explain(err error, broker string) error {
	switch {
	case errors.Is(err, amqp091.ErrCredentials):
		return fmt.Errorf("%w: check user name and password", err)
	case errors.Is(err, amqp091.ErrVhost), refused(err, amqp091.NotAllowed):
		uri, _ := amqp091.ParseURI(broker)
		return fmt.Errorf("%w: no access to virtual host %q (natrix and /natrix are different ones)", err, uri.Vhost)
	}
	return err
}

// backoff grows from least to most, each pause jittered by half of it so that
// the terminals of a fleet do not come back in the same second.
type backoff struct {
	least, most time.Duration
	current     time.Duration
}

func (b *backoff) next() time.Duration {
	b.current = min(max(b.current*2, b.least), b.most)
	return b.current/2 + rand.N(b.current/2+1)
}

func (b *backoff) reset() { b.current = 0 }
