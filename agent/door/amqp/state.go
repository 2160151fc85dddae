package amqp

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/natrix-os/natrix/agent/config"
	"github.com/natrix-os/natrix/agent/status"
	"github.com/natrix-os/natrix/sysinfo/netif"
	"github.com/rabbitmq/amqp091-go"
)

// state is what a worker tells about its connection.
type state struct {
	mu     sync.Mutex
	broker status.Broker
}

// Broker is how the connection stands now.
func (w *Worker) Broker() status.Broker {
	w.state.mu.Lock()
	defer w.state.mu.Unlock()
	b := w.state.broker
	b.Queues = slices.Clone(b.Queues)
	b.Stuck = w.Stuck()
	return b
}

func (s *state) change(do func(*status.Broker)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do(&s.broker)
}

func (s *state) connected(broker string) {
	s.change(func(b *status.Broker) {
		b.URL, b.Connected, b.Since, b.Sessions = config.Redact(broker), true, time.Now(), b.Sessions+1
	})
}

// lost notes the end of a session, or that there was none to be had.
func (s *state) lost(broker string, err error) {
	s.change(func(b *status.Broker) {
		if b.Connected || b.Since.IsZero() {
			b.Since = time.Now()
		}
		b.URL, b.Connected, b.Blocked, b.Queues, b.Err = config.Redact(broker), false, "", nil, ""
		if err != nil {
			b.Err = err.Error()
		}
	})
}

func (s *state) consuming(links map[string]netif.Link) {
	var queues []status.Queue
	for id, link := range links {
		queues = append(queues, status.Queue{Link: link.Name, Name: RequestQueue(id)})
	}
	slices.SortFunc(queues, func(a, b status.Queue) int { return strings.Compare(a.Name, b.Name) })
	s.change(func(b *status.Broker) { b.Queues = queues })
}

// gate is shut while the broker takes no messages, because it is short of
// memory or disk (https://www.rabbitmq.com/docs/connection-blocked).
type gate struct {
	mu   sync.Mutex
	open chan struct{} // closed when it is open; nil has been open all the time
}

func (g *gate) set(open bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	shut := g.open != nil && !isClosed(g.open)
	switch {
	case open && shut:
		close(g.open)
	case !open && !shut:
		g.open = make(chan struct{})
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// shut is a channel that is closed once the gate is open, or nil if it is.
func (g *gate) shut() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open == nil || isClosed(g.open) {
		return nil
	}
	return g.open
}

// heed notes when the broker takes messages and when not, until the connection ends.
func (s *session) heed(_ context.Context) error {
	for b := range s.blocks {
		s.publisher.gate.set(!b.Active)
		reason := ""
		if b.Active {
			reason = b.Reason
			s.worker.Log.Warn("the broker takes nothing, results wait", "reason", b.Reason)
		} else {
			s.worker.Log.Info("the broker takes messages again")
		}
		s.worker.state.change(func(b *status.Broker) { b.Blocked = reason })
	}
	return nil
}

// noteBlocks listens before anything is published.
func (s *session) noteBlocks() {
	s.blocks = s.conn.NotifyBlocked(make(chan amqp091.Blocking, 4))
}
