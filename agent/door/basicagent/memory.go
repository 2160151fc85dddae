package basicagent

import (
	"container/list"
	"sync"
	"time"

	"github.com/natrix-os/natrix/agent/door/basicagent/wire"
)

// What is remembered of requests, so that one that comes again is not run again.
const (
	rememberedFor   = time.Hour
	rememberedMost  = 1000
	rememberedBytes = 4 << 20 // of answers; beyond it an id is known and its answer is gone
)

// memory holds the ids of requests with their answers. The zero value is ready.
type memory struct {
	mu    sync.Mutex
	ids   map[string]*list.Element
	order list.List // of *remembered, oldest first
	bytes int
}

type remembered struct {
	id     string
	at     time.Time
	done   bool
	answer *wire.Answer // nil if it is gone
	size   int
}

// begin says that a request is about to run: nil and nil, once for an id. After
// that it returns the answer, or InProgress while there is none.
func (m *memory) begin(id string, now time.Time) (*wire.Answer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire(now)
	if e, known := m.ids[id]; known {
		switch r := e.Value.(*remembered); {
		case !r.done:
			return nil, wire.Fail(wire.InProgress, "")
		case r.answer == nil:
			return nil, wire.Fail(wire.ResultExpired, "it was run, and its answer is gone")
		default:
			a := *r.answer
			return &a, nil
		}
	}
	if m.ids == nil {
		m.ids = make(map[string]*list.Element)
	}
	m.ids[id] = m.order.PushBack(&remembered{id: id, at: now})
	return nil, nil
}

// expire forgets what is too old or too much, but nothing that still runs.
func (m *memory) expire(now time.Time) {
	for e := m.order.Front(); e != nil; {
		r, next := e.Value.(*remembered), e.Next()
		old := now.Sub(r.at) > rememberedFor || m.order.Len() >= rememberedMost
		if !old {
			return
		}
		if r.done {
			m.remove(e)
		}
		e = next
	}
}

// end stores the answer of a request that begin announced.
func (m *memory) end(id string, a wire.Answer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, known := m.ids[id]
	if !known {
		return
	}
	r := e.Value.(*remembered)
	r.done, r.answer, r.size = true, &a, len(a.Encode(wire.FromAgent))
	m.bytes += r.size
	for e := m.order.Front(); e != nil && m.bytes > rememberedBytes; e = e.Next() {
		old := e.Value.(*remembered)
		m.bytes -= old.size
		if old.done {
			old.answer, old.size = nil, 0
		}
	}
}

func (m *memory) forget(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e, known := m.ids[id]; known {
		m.remove(e)
	}
}

func (m *memory) remove(e *list.Element) {
	r := e.Value.(*remembered)
	m.order.Remove(e)
	delete(m.ids, r.id)
	m.bytes -= r.size
}

// bucket allows so many commands a minute. The zero value is full.
type bucket struct {
	mu    sync.Mutex
	used  float64
	since time.Time
}

const commandsAMinute = 60

func (b *bucket) take(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used = max(0, b.used-now.Sub(b.since).Minutes()*commandsAMinute)
	b.since = now
	if b.used+1 > commandsAMinute {
		return false
	}
	b.used++
	return true
}
