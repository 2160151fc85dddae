package probe

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/natrix-os/natrix/agent/command"
	"github.com/natrix-os/natrix/agent/packet"
)

// network is a sender whose packets meet what its function says. A reply
// arrives after its RTT, NoReply after the timeout.
type network struct {
	meet  func(n int, r packet.Request) (packet.Reply, error)
	extra func(n int, r packet.Request) []packet.Reply // answers besides that of meet

	mu   sync.Mutex
	sent []packet.Request
	at   []time.Time
}

func (n *network) depart(r packet.Request) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sent = append(n.sent, r)
	n.at = append(n.at, time.Now())
	return len(n.sent)
}

func (n *network) Do(ctx context.Context, r packet.Request) (packet.Reply, error) {
	reply, err := n.meet(n.depart(r), r)
	select {
	case <-time.After(delay(reply, r)):
		return reply, err
	case <-ctx.Done():
		return packet.Reply{}, ctx.Err()
	}
}

func delay(reply packet.Reply, r packet.Request) time.Duration {
	if reply.Kind == packet.NoReply {
		return r.Timeout
	}
	return reply.RTT
}

func (n *network) Close() error { return nil }

func (n *network) NewStream(int) stream {
	return &fakeStream{network: n, ready: make(chan struct{}, 1)}
}

func (n *network) prober() *Prober {
	return &Prober{open: func() (sender, error) { return n, nil }}
}

// fakeStream does what a packet.Stream says that it does.
type fakeStream struct {
	network *network
	ready   chan struct{}

	mu      sync.Mutex
	aloft   int
	results []packet.Result
}

func (s *fakeStream) Submit(requests []packet.Request) int {
	for _, r := range requests {
		number := s.network.depart(r)
		reply, err := s.network.meet(number, r)
		s.mu.Lock()
		s.aloft++
		s.mu.Unlock()
		wait := delay(reply, r)
		if err != nil {
			wait = 0
		}
		time.AfterFunc(wait, func() { s.deliver(packet.Result{Tag: r.Tag, Reply: reply, Err: err}, 1) })
		if s.network.extra == nil {
			continue
		}
		for _, x := range s.network.extra(number, r) {
			time.AfterFunc(x.RTT, func() { s.deliver(packet.Result{Tag: r.Tag, Reply: x}, 0) })
		}
	}
	return len(requests)
}

func (s *fakeStream) deliver(r packet.Result, landed int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.results = append(s.results, r)
	s.aloft -= landed
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

func (s *fakeStream) Wait(ctx context.Context, into []packet.Result) (int, error) {
	for {
		s.mu.Lock()
		n := copy(into, s.results)
		s.results = s.results[n:]
		idle := s.aloft == 0
		s.mu.Unlock()
		if n > 0 || idle {
			return n, nil
		}
		select {
		case <-s.ready:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// textOf is a result as people read it.
func textOf(d command.Data) string {
	var b strings.Builder
	d.WriteText(&b)
	return b.String()
}
