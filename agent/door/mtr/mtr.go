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
// alone does better to leave signals their default action, as mtr-packet does,
// and its input blocking, which wakes one thread for a command and not two.
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
