// Package mtr lets mtr and the Python module mtrpacket measure through natrix:
// it speaks the command protocol of mtr-packet(8) on standard input and output.
//
// A line "7 send-probe ip-4 192.0.2.1 ttl 3" becomes a packet.Request, and its
// outcome a line "7 ttl-expired ip-4 198.51.100.9 round-trip-time 1234".
// Replies come as they complete, exactly one to a command.
package mtr

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/natrix-os/natrix/agent/packet"
	"golang.org/x/sync/errgroup"
)

// Config is how the door presents itself to its client.
type Config struct {
	// Version is the version of mtr to be, "0.95" or "0.96": what check-support
	// answers, and whose words replies use; default [Newest]. See [VersionFor].
	Version string

	// RawSCTP offers SCTP although the kernel has none. The engine can do
	// without the kernel's, but then nobody on this machine answers for closed
	// ports, which mtr's own tests demand.
	RawSCTP bool

	// Parent is the process that the door works for. Once the input has ended
	// and Parent too, nobody will read the outstanding replies, and the door
	// does not wait for them. 0 means that it always waits.
	Parent int
}

// InFlight is how many probes may be without a reply. One more is answered by
// probes-exhausted.
const InFlight = 1 << 16

// batch is how many results are answered by one write.
const batch = 512

// stream is what the door uses of packet.Stream.
type stream interface {
	Submit([]packet.Request) int
	Wait(context.Context, []packet.Result) (int, error)
	Pending() int
}

// Serve answers the commands of in on out, until in has ended and every probe
// has its reply, or until ctx ends; both are no error. Every batch of replies
// is one call of out.Write.
//
// When ctx ends, a Read under way is cut short if in has SetReadDeadline, as
// pipes and sockets do; otherwise Serve returns after it, and in any case after
// a Write that the client does not read. A process that lives for its client
// alone does better to leave signals their default action, as mtr-packet does.
func Serve(ctx context.Context, c Config, e *packet.Engine, in io.Reader, out io.Writer) error {
	return serve(ctx, c, e.NewStream(InFlight), in, out)
}

func serve(ctx context.Context, c Config, s stream, in io.Reader, out io.Writer) error {
	parent, err := watch(c.Parent)
	if err != nil {
		return err
	}
	defer parent.close()
	d := &door{dialect: newDialect(c), stream: s, out: out, submitted: make(chan struct{}, 1), results: make([]packet.Result, batch)}

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { interrupt(in) })
	defer stop()
	var g errgroup.Group
	g.Go(func() error {
		defer cancel()
		err := d.ask(in)
		cut := ctx.Err() != nil // short, by interrupt
		close(d.submitted)
		if err != nil && !cut {
			return err
		}
		parent.wait(ctx) // without a parent nobody reads the replies still to come
		return nil
	})
	g.Go(func() error {
		defer cancel()
		return d.answer(ctx)
	})
	return g.Wait()
}

// interrupt ends a Read under way, if r is made for it.
func interrupt(r io.Reader) {
	if d, ok := r.(interface{ SetReadDeadline(time.Time) error }); ok {
		_ = d.SetReadDeadline(time.Unix(1, 0)) // refused by what cannot, such as a terminal
	}
}

// door is one client's session. One goroutine asks, another answers.
type door struct {
	dialect dialect
	stream  stream

	submitted chan struct{} // holds one token after a Submit; closed when there will be none

	// The asking goroutine's.
	requests []packet.Request
	replies  []byte

	waiting sync.Mutex      // held by the goroutine that waits for results
	results []packet.Result // under waiting

	mu  sync.Mutex
	out io.Writer // under mu
}

// ask reads commands until the input ends. What one Read brings is sent
// together.
func (d *door) ask(in io.Reader) error {
	var lines splitter
	for {
		err := lines.read(in)
		for lines.next() {
			d.command(lines.line)
		}
		if err := d.flush(); err != nil {
			return err
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// command deals with one line; nil is one that was too long.
func (d *door) command(line []byte) {
	if line == nil {
		d.reply(0, "command-buffer-overflow")
		return
	}
	var c command
	if !c.parse(line) {
		d.reply(0, "command-parse-error")
		return
	}
	switch string(c.name) {
	case "send-probe":
		var p probe
		if complaint := p.read(&c, &d.dialect); complaint != "" {
			d.reply(c.token, complaint)
			return
		}
		d.requests = append(d.requests, p.request)
	case "check-support":
		d.replies = d.dialect.appendSupport(d.replies, &c)
	default:
		d.reply(c.token, "unknown-command")
	}
}

func (d *door) reply(token int32, words string) {
	d.replies = appendReply(d.replies, token, words)
}

// flush sends the probes and the replies that have come together.
func (d *door) flush() error {
	if len(d.requests) > 0 {
		d.submit()
	}
	err := d.write(d.replies)
	d.replies = d.replies[:0]
	return err
}

// submit sends the probes, and has the other goroutine wait for their results
// unless they are there already. On a machine that answers itself they are,
// and waking somebody for them would cost more than the probe.
func (d *door) submit() {
	n := d.stream.Submit(d.requests)
	for _, r := range d.requests[n:] {
		d.reply(tokenOf(r.Tag), "probes-exhausted")
	}
	d.requests = d.requests[:0]
	if d.collect() {
		return
	}
	select {
	case d.submitted <- struct{}{}:
	default: // the token of the last time has not been taken
	}
}

// collect takes the results that are there, if nobody waits for them, and
// says whether there will be no more.
func (d *door) collect() (all bool) {
	if !d.waiting.TryLock() {
		return false
	}
	defer d.waiting.Unlock()
	for {
		all := d.stream.Pending() == 0
		n, _ := d.stream.Wait(noWait, d.results) // it is no error that it did not wait
		d.replies = d.dialect.appendResults(d.replies, d.results[:n])
		if n < len(d.results) {
			return all
		}
	}
}

// noWait makes a Wait return at once: it has ended.
var noWait = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// answer writes replies until there will be no more.
func (d *door) answer(ctx context.Context) error {
	var buf []byte
	for {
		var n int
		var err error
		buf, n, err = d.await(ctx, buf[:0])
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if n == 0 {
			select {
			case _, more := <-d.submitted:
				if !more {
					return nil
				}
			case <-ctx.Done():
				return nil
			}
		}
		if err := d.write(buf); err != nil {
			return err
		}
	}
}

// await waits for results and appends the replies to them.
func (d *door) await(ctx context.Context, buf []byte) ([]byte, int, error) {
	d.waiting.Lock()
	defer d.waiting.Unlock()
	n, err := d.stream.Wait(ctx, d.results)
	return d.dialect.appendResults(buf, d.results[:n]), n, err
}

func (d *door) write(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	_, err := d.out.Write(b)
	return err
}
