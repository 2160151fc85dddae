package nettest

import (
	"container/heap"
	"errors"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// holdLimit is how long a packet waits to be overtaken.
const holdLimit = 50 * time.Millisecond

// path moves packets between two TUN links through routers. Position 0 is the
// first host, k the k-th router, len(routers)+1 the second host; cables[k] ends
// at position k. A single goroutine owns all of it but the reading of the links.
type path struct {
	t       testing.TB
	ends    [2]*os.File // of the first host, of the second
	routers []*router
	cables  [][2]cable
	queue   queue
	order   uint64
	arrived chan arrival
}

// arrival is a packet that a host has sent.
type arrival struct {
	packet ip
	at     time.Time
	d      direction
}

// event is a packet that arrives at a position, or the end of its being held.
type event struct {
	at     time.Time
	order  uint64 // of two at the same time, the first comes first
	packet ip
	pos    int
	d      direction
	hold   uint64 // the number of the holding that ends, or 0
}

// run starts a path, and stops it when the test ends.
func run(t testing.TB, ends [2]*os.File, routers []Router, seed uint64) {
	p := newPath(t, ends, routers, seed)
	var readers, mover sync.WaitGroup
	for d := range ends {
		readers.Go(func() { p.read(direction(d)) })
	}
	mover.Go(p.move)
	t.Cleanup(func() { // closed files end the readers; their channel, closed, ends the mover
		ends[0].Close()
		ends[1].Close()
		readers.Wait()
		close(p.arrived)
		mover.Wait()
	})
}

func newPath(t testing.TB, ends [2]*os.File, routers []Router, seed uint64) *path {
	p := &path{t: t, ends: ends, arrived: make(chan arrival, 1024)}
	p.cables = append(p.cables, [2]cable{})
	for i := range routers {
		r := &router{Router: routers[i]}
		p.routers = append(p.routers, r)
		p.cables = append(p.cables, newCable(&r.Router, seed+uint64(i)))
	}
	p.cables = append(p.cables, newCable(new(Router), 0))
	return p
}

func newCable(r *Router, seed uint64) [2]cable {
	return [2]cable{
		{Router: r, chance: rand.New(rand.NewPCG(seed, uint64(forth)))},
		{Router: r, chance: rand.New(rand.NewPCG(seed, uint64(back)))},
	}
}

// read takes packets from the host that sends them in direction d. A host's
// talk to its neighbours, such as MLD reports at random times, ends here: no
// router passes it on, and it must not draw lots.
func (p *path) read(d direction) {
	buf := make([]byte, 1<<16)
	for {
		n, err := p.ends[d].Read(buf)
		if err != nil {
			return
		}
		if packet := ip(append([]byte(nil), buf[:n]...)); packet.valid() && !packet.toNeighbours() {
			p.arrived <- arrival{packet, time.Now(), d}
		}
	}
}

// move takes every packet from position to position at its time.
func (p *path) move() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		for len(p.queue) > 0 && !p.queue[0].at.After(time.Now()) {
			p.handle(heap.Pop(&p.queue).(event))
		}
		if len(p.queue) > 0 {
			timer.Reset(time.Until(p.queue[0].at))
		} else {
			timer.Reset(time.Hour)
		}
		select {
		case <-timer.C:
		case a, ok := <-p.arrived:
			if !ok {
				return
			}
			p.send(a.packet, p.start(a.d), a.d, a.at)
		}
	}
}

// start is the position from which packets go in direction d.
func (p *path) start(d direction) int {
	if d == forth {
		return 0
	}
	return len(p.routers) + 1
}

func (p *path) handle(e event) {
	switch {
	case e.hold != 0:
		if c := &p.cables[e.pos][e.d]; c.holds == e.hold {
			p.release(c, e.pos, e.d, e.at)
		}
	case e.pos == 0 || e.pos == len(p.routers)+1:
		p.deliver(e)
	default:
		p.routers[e.pos-1].receive(e.packet, e.d, e.at, func(packet ip, d direction) {
			p.send(packet, e.pos, d, e.at)
		})
	}
}

// deliver hands a packet to a host, or to nobody while the host is unplugged (EIO).
func (p *path) deliver(e event) {
	_, err := p.ends[1-e.d].Write(e.packet)
	if err != nil && !errors.Is(err, os.ErrClosed) && !errors.Is(err, unix.EIO) {
		p.t.Errorf("deliver %x: %v", e.packet, err)
	}
}

// send puts a packet on the cable that leaves pos in direction d.
func (p *path) send(packet ip, pos int, d direction, now time.Time) {
	k := pos // the cable to the left
	if d == forth {
		k = pos + 1
	}
	c := &p.cables[k][d]
	if c.happens(c.Loss) {
		return
	}
	if c.happens(c.Duplicate) {
		p.schedule(event{at: now.Add(c.delay()), packet: packet.clone(), pos: exit(k, d), d: d})
	}
	if late := c.happens(c.Reorder); late && c.held == nil {
		c.held = packet
		c.holds++
		p.schedule(event{at: now.Add(holdLimit), pos: k, d: d, hold: c.holds})
		return
	}
	p.schedule(event{at: now.Add(c.delay()), packet: packet, pos: exit(k, d), d: d})
	p.release(c, k, d, now)
}

// release lets a held packet go.
func (p *path) release(c *cable, k int, d direction, now time.Time) {
	if c.held == nil {
		return
	}
	packet := c.held
	c.held = nil
	p.schedule(event{at: now.Add(c.delay()), packet: packet, pos: exit(k, d), d: d})
}

// exit is the position at which packets in direction d leave cable k.
func exit(k int, d direction) int {
	if d == forth {
		return k
	}
	return k - 1
}

func (p *path) schedule(e event) {
	p.order++
	e.order = p.order
	heap.Push(&p.queue, e)
}

// queue is a heap of events, the next one first.
type queue []event

func (q queue) Len() int      { return len(q) }
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q queue) Less(i, j int) bool {
	if q[i].at.Equal(q[j].at) {
		return q[i].order < q[j].order
	}
	return q[i].at.Before(q[j].at)
}
func (q *queue) Push(e any) { *q = append(*q, e.(event)) }
func (q *queue) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	*q = (*q)[:last]
	return e
}
