package probe

import (
	"context"
	"time"

	"github.com/natrix-os/natrix/agent/packet"
)

// stream is what a volley needs of a packet.Stream.
type stream interface {
	Submit([]packet.Request) int
	Wait(context.Context, []packet.Result) (int, error)
}

// volley is packets under way, which one goroutine sends and reads by turns:
// what it books needs no lock.
type volley struct {
	stream  stream
	take    func(packet.Result)
	results [32]packet.Result
}

// newVolley has room for size packets and their answers; take is called with
// every result, in the order in which they come.
func newVolley(s sender, size int, take func(packet.Result)) *volley {
	return &volley{stream: s.NewStream(size), take: take}
}

// send sends a packet, and reports whether there was room for it.
func (v *volley) send(r packet.Request) bool { return v.stream.Submit([]packet.Request{r}) == 1 }

// until reads results until a time. The error is that of ctx.
func (v *volley) until(ctx context.Context, at time.Time) error {
	waiting, cancel := context.WithDeadline(ctx, at)
	defer cancel()
	for waiting.Err() == nil {
		if idle, _ := v.read(waiting); idle {
			<-waiting.Done()
		}
	}
	return ctx.Err()
}

// rest reads results until nothing is under way any more, or enough says that
// it need not be waited for. The error is that of ctx.
func (v *volley) rest(ctx context.Context, enough func() bool) error {
	for !enough() {
		if idle, err := v.read(ctx); idle || err != nil {
			return err
		}
	}
	return nil
}

// never is the enough of those who wait for everything.
func never() bool { return false }

// read takes the next results. It is idle if there are none to come.
func (v *volley) read(ctx context.Context) (idle bool, err error) {
	n, err := v.stream.Wait(ctx, v.results[:])
	for _, r := range v.results[:n] {
		v.take(r)
	}
	return n == 0 && err == nil, err
}
