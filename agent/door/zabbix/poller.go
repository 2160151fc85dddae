package zabbix

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

const (
	pingsMost = 4096 // at the same time: each waits for seconds, and costs little
	pollsMost = 512
)

// poller has every item polled at its times.
type poller struct {
	proxy *proxy
	news  chan struct{} // the line has a new head
	pings chan struct{} // a place in it for each that runs
	polls chan struct{}

	mu   sync.Mutex
	line line
	due  map[uint64]*appointment // by item
}

// appointment is the next poll of an item.
type appointment struct {
	at      time.Time
	item    *item
	running bool
	index   int // in the line; -1 if it is not there
}

func newPoller(p *proxy) *poller {
	return &poller{
		proxy: p, news: make(chan struct{}, 1), due: make(map[uint64]*appointment),
		pings: make(chan struct{}, pingsMost), polls: make(chan struct{}, pollsMost),
	}
}

// set has the items of a configuration polled from now on. One that has not
// changed keeps its appointment.
func (p *poller) set(s *snapshot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for id := range p.due {
		if it := s.items[id]; it == nil || !it.polled() {
			delete(p.due, id)
		}
	}
	p.line = p.line[:0]
	for id, it := range s.items {
		if !it.polled() {
			continue
		}
		a := p.due[id]
		if a == nil {
			a = &appointment{item: it}
			p.due[id] = a
		}
		if a.at.IsZero() || a.item.digest != it.digest {
			a.at = it.next(now)
		}
		a.item = it
		if !a.at.IsZero() {
			a.index = len(p.line)
			p.line = append(p.line, a)
		}
	}
	heap.Init(&p.line)
	p.wake()
}

// next is when an item is due after a time. One that cannot be polled says so
// once a minute.
func (i *item) next(now time.Time) time.Time {
	if i.invalid != "" {
		return spread(now.Unix()+1, time.Minute, i.seed())
	}
	return i.delay.next(now, i.seed())
}

func (p *poller) wake() {
	select {
	case p.news <- struct{}{}:
	default: // it has been told
	}
}

// now has an item polled at once.
func (p *poller) now(id uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.due[id]
	if a == nil {
		return
	}
	a.at = time.Now()
	if a.index >= 0 && a.index < len(p.line) && p.line[a.index] == a {
		heap.Fix(&p.line, a.index)
	} else {
		heap.Push(&p.line, a)
	}
	p.wake()
}

// run polls until ctx ends, and returns when all polls have ended.
func (p *poller) run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	for {
		wait := time.Minute // then the wall clock is looked at again: it may have been set
		p.mu.Lock()
		if len(p.line) > 0 {
			wait = min(wait, time.Until(p.line[0].at.Round(0)))
		}
		p.mu.Unlock()
		select {
		case <-time.After(wait):
		case <-p.news:
		case <-ctx.Done():
			return
		}
		p.start(ctx, &running, p.ready(time.Now()))
	}
}

// ready takes the appointments whose time has come, and makes the next ones.
// An item that is still being polled misses its turn.
func (p *poller) ready(now time.Time) (all []*item) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.line) > 0 && !p.line[0].at.After(now) {
		a := p.line[0]
		if !a.running {
			a.running = true
			all = append(all, a.item)
		}
		if a.at = a.item.next(now); a.at.IsZero() {
			heap.Pop(&p.line)
		} else {
			heap.Fix(&p.line, 0)
		}
	}
	return all
}

// start polls items. Those that ask for the same ping share one.
func (p *poller) start(ctx context.Context, running *sync.WaitGroup, all []*item) {
	pings := make(map[ping][]*item)
	for _, it := range all {
		if it.invalid == "" && it.kind == typeSimple && isPing(it.key.name) {
			if asked, err := parsePing(it); err == nil {
				pings[asked] = append(pings[asked], it)
				continue
			}
		}
		p.go1(ctx, running, p.polls, []*item{it}, func() { p.proxy.poll(ctx, it) })
	}
	for asked, items := range pings {
		p.go1(ctx, running, p.pings, items, func() { p.proxy.ping(ctx, asked, items) })
	}
}

// go1 runs a poll when there is a place for it.
func (p *poller) go1(ctx context.Context, running *sync.WaitGroup, places chan struct{}, items []*item, poll func()) {
	select {
	case places <- struct{}{}:
	case <-ctx.Done():
		return
	}
	running.Go(func() {
		defer func() { <-places }()
		poll()
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, it := range items {
			if a := p.due[it.id]; a != nil {
				a.running = false
			}
		}
	})
}

// line is a heap of appointments, the soonest first.
type line []*appointment

func (l line) Len() int           { return len(l) }
func (l line) Less(i, j int) bool { return l[i].at.Before(l[j].at) }
func (l line) Swap(i, j int) {
	l[i], l[j] = l[j], l[i]
	l[i].index, l[j].index = i, j
}
func (l *line) Push(x any) {
	a := x.(*appointment)
	a.index = len(*l)
	*l = append(*l, a)
}
func (l *line) Pop() any {
	old := *l
	a := old[len(old)-1]
	a.index = -1
	*l = old[:len(old)-1]
	return a
}
