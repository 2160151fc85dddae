// Package packet sends single packets and brings back what each of them met:
// an answer, an ICMP error, or nothing. An Engine has thousands in flight over
// a few raw sockets and takes round-trip times from the kernel's timestamps.
//
// For one packet there is [Engine.Do]. For many, a [Stream] takes requests in
// batches and returns results as they come, without a goroutine or an
// allocation per packet.
package packet

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Options are the settings of an Engine; the zero value is good for most.
type Options struct {
	InFlight int // packets in flight at once; default DefaultInFlight, at most MaxInFlight
	Buffer   int // receive buffer of each socket in bytes, bounded by net.core.rmem_max without CAP_NET_ADMIN; default 8 MiB

	// Unprivileged does without raw sockets even where they are allowed. Every
	// packet then costs a ping, UDP or TCP socket. TCP handshakes complete and
	// are then reset, TCP is timed by the monotonic clock, packets of a Flow
	// differ, replies lack quoted headers and the size of ICMP errors, late and
	// duplicate answers go unseen, and SCTP is ErrUnsupported. Without
	// CAP_NET_RAW this is what happens anyway.
	Unprivileged bool
}

// Bounds of packets in flight.
const (
	DefaultInFlight = 100_000
	MaxInFlight     = 1_000_000
)

const defaultBuffer = 8 << 20

// Stats counts what an Engine has seen since Open.
type Stats struct {
	Sent       uint64 // packets that the kernel took
	Received   uint64 // answers matched to a packet in flight
	Expired    uint64 // packets given up after their timeout
	Late       uint64 // answers that came after that
	Duplicate  uint64 // further answers to an answered packet
	OutOfOrder uint64 // answers overtaken by those of later packets
	Unmatched  uint64 // packets that passed the filter but answer nothing of ours
	Overflow   uint64 // packets that the kernel dropped because a receive buffer was full
	Unstamped  uint64 // answers without kernel stamps, timed by the monotonic clock
	Discarded  uint64 // surplus late or duplicate results that a Stream had no room for
	InFlight   int    // packets waiting for an answer now
}

// Engine sends packets and matches answers. It is safe for concurrent use.
//
// Its sockets belong to the network namespace of the thread that called Open,
// whichever threads use it later.
type Engine struct {
	opt    Options
	clock  clock
	routes *routes
	cards  hardware

	tx          sync.Mutex           // held while packets are staged and sent; taken before mu
	senders     [2]*sender           // IPv4, IPv6; nil where the family is missing
	fragmenters [2][SCTP + 1]*sender // for packets that the kernel has to fragment; ICMP and UDP have one

	glances uint // after batches; under tx, as hit
	hit     bool // the last glance found answers

	receivers []*receiver
	poller    *poller       // of the receivers, by index
	plain     *unprivileged // instead of senders and receivers

	mu       sync.Mutex
	table    table
	wheel    wheel
	order    uint64
	latest   latest
	orders   [orders]order
	launched int64 // when the last batch left
	resting  bool  // the sockets hear nothing
	stats    Stats
	closed   bool
	singles  []*Stream // idle streams of Do

	timer *time.Timer // fires when the wheel has something due
	armed int64       // when timer fires
	done  chan struct{}
	wg    sync.WaitGroup
}

// Open opens the sockets of an Engine in the network namespace of the calling
// thread. The caller closes it. Network cards there that can stamp packets
// but do not are made to until Close, if this process has CAP_NET_ADMIN and all
// of them have one clock.
func Open(o Options) (*Engine, error) {
	if o.InFlight == 0 {
		o.InFlight = DefaultInFlight
	}
	o.InFlight = min(o.InFlight, MaxInFlight)
	if o.Buffer == 0 {
		o.Buffer = defaultBuffer
	}
	e := &Engine{opt: o, clock: newClock(), cards: hardware{fd: -1}, done: make(chan struct{}), timer: time.NewTimer(time.Hour), armed: never}
	e.table.home = newHome()
	if err := e.open(); err != nil {
		e.release()
		return nil, err
	}
	settle()
	e.wg.Go(e.receive)
	e.wg.Go(e.expire)
	return e, nil
}

// open acquires everything that release gives back.
func (e *Engine) open() (err error) {
	if e.routes, err = openRoutes(); err != nil {
		return err
	}
	if e.poller, err = openPoller(); err != nil {
		return err
	}
	if err := e.table.grow(); err != nil {
		return err
	}
	return e.openSockets()
}

// Close ends all requests in flight with ErrClosed and returns when the
// engine's goroutines have ended.
func (e *Engine) Close() error {
	// Order: mark closed so that nothing new is sent, stop the goroutines, wait
	// for them, then close what they used.
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil
	}
	e.closed = true
	e.table.each(func(f *flight) {
		if f.state == staged || f.state == flying {
			e.fail(f, ErrClosed)
		}
	})
	e.mu.Unlock()
	close(e.done)
	err := e.poller.ring()
	e.wg.Wait()
	e.tx.Lock() // a sender may still be at work
	defer e.tx.Unlock()
	e.release()
	return err
}

func (e *Engine) release() {
	for _, r := range e.receivers {
		unix.Close(r.fd)
	}
	e.eachSender(func(s *sender) { s.close() })
	e.receivers, e.senders, e.fragmenters = nil, [2]*sender{}, [2][SCTP + 1]*sender{}
	e.table.release()
	e.cards.close()
	if e.routes != nil {
		e.routes.close()
	}
	if e.poller != nil {
		e.poller.close()
	}
	e.timer.Stop()
}

// Stats returns the counters. The kernel tells of an overflow with the next
// packet that it could deliver, so Overflow lags behind by that much.
func (e *Engine) Stats() Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.stats
	s.InFlight = e.table.aloft
	return s
}

// Owns reports whether a number is this engine's, as the identifier of its
// echoes or as its source port: no other engine of the network namespace has it.
func (e *Engine) Owns(number uint16) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.table.lane(number) != nil
}

// Do sends one packet and waits for its answer. No answer is a Reply of kind
// NoReply; an error means that the packet could not be sent, or that ctx ended.
func (e *Engine) Do(ctx context.Context, r Request) (Reply, error) {
	if ctx.Err() != nil {
		return Reply{}, ctx.Err()
	}
	s := e.single()
	defer e.retire(s)
	s.Submit([]Request{r})
	var results [1]Result
	if _, err := s.Wait(ctx, results[:]); err != nil {
		return Reply{}, err
	}
	return results[0].Reply, results[0].Err
}

// single returns a Stream with room for one request.
func (e *Engine) single() *Stream {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n := len(e.singles); n > 0 {
		s := e.singles[n-1]
		e.singles = e.singles[:n-1]
		return s
	}
	return newStream(e, 1)
}

// retire takes back a Stream of single, which may still have its packet in flight.
func (e *Engine) retire(s *Stream) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if f := s.newest; f != nil && f.sink == s {
		e.drop(f)
	}
	s.reset()
	e.singles = append(e.singles, s)
}

// expire gives up packets whose timeout has passed.
func (e *Engine) expire() {
	for {
		select {
		case <-e.done:
			return
		case <-e.timer.C:
		}
		e.mu.Lock()
		now := e.clock.monotonic()
		for f := e.wheel.pop(now); f != nil; f = e.wheel.pop(now) {
			e.giveUp(f)
		}
		e.armed = never
		e.arm(min(e.wheel.next(now), e.linger(now)))
		e.mu.Unlock()
	}
}

// After the last packet, if nothing is in flight, the engine listens for late and
// duplicate answers from attention on, and until lingering.
const (
	attention = 50 * time.Millisecond
	lingering = 10 * time.Second
)

// linger does what is due when nothing is in flight, and returns when it is to be asked again.
func (e *Engine) linger(now int64) int64 {
	idle := now - e.launched
	switch {
	case e.table.aloft > 0 || e.resting:
		return never
	case idle < int64(attention):
		return e.launched + int64(attention)
	case idle < int64(lingering):
		e.poller.listen()
		return e.launched + int64(lingering)
	}
	e.resting = true
	e.rest()
	return never
}

// giveUp ends f without an answer.
func (e *Engine) giveUp(f *flight) {
	e.stats.Expired++
	e.finish(f, expired, Reply{Kind: NoReply, Sent: f.departure()})
}

// arm makes the timer fire at t unless it fires earlier anyway.
func (e *Engine) arm(t int64) {
	if t >= e.armed {
		return
	}
	e.armed = t
	e.timer.Reset(time.Duration(t - e.clock.monotonic()))
}

// finish takes f out of flight and hands its outcome to whoever sent it.
func (e *Engine) finish(f *flight, s state, r Reply) {
	e.land(f, s)
	f.sink.deliver(Result{Tag: f.tag, Reply: r})
	f.sink.aloft--
}

// fail ends f, which could not be sent or will not be waited for.
func (e *Engine) fail(f *flight, err error) {
	e.land(f, idle)
	f.sink.deliver(Result{Tag: f.tag, Err: err})
	f.sink.aloft--
	f.sink = nil
}

// drop forgets f, whose sender has lost interest.
func (e *Engine) drop(f *flight) {
	if f.state == staged || f.state == flying {
		e.land(f, expired)
	}
	f.sink = nil
}

func (e *Engine) land(f *flight, s state) {
	e.wheel.remove(f)
	e.table.land(f, s)
	if f.fd != 0 {
		delete(e.plain.flights, f.fd)
		unix.Close(f.fd)
		f.fd = 0
	}
}
