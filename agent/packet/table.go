package packet

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
)

// state is where a flight is in its life.
type state uint8

const (
	idle state = iota // free, nothing to remember
	staged
	flying
	answered // and remembered, to tell duplicates
	expired  // and remembered, to tell late answers
)

// flight is one packet: in flight, or the memory of one until its ident is
// needed again.
type flight struct {
	sink *Stream // who wants to know; nil: nobody any more
	tag  uint64

	dst, src     netip.Addr // without zone; src is the zero Addr if the kernel chose
	ttl          uint8
	sport, dport uint16 // ICMP: sport is the identifier, dport 0
	seq          uint32 // TCP sequence number, SCTP initiate tag
	ident        uint16
	protocol     Protocol
	state        state

	order   uint64 // of departure, through the whole engine
	sent    int64  // engine clock
	offset  offset // of the wall clock, at departure
	stamps  stamps // the kernel's, of departure
	timeout int64  // nanoseconds

	deadline   int64 // engine clock
	prev, next *flight
	slot       int32 // in the wheel, -1 outside

	lane  *lane  // whose ident it is
	named *named // its source port, if the request named one
	fd    int    // its own socket, without privilege only
}

// A lane tells packets apart by 16-bit idents, which are ICMP sequence number,
// UDP checksum, IPv4 id and half of a TCP sequence number. What tells it from
// other lanes and other engines are its blocks of numbers.
type lane struct {
	blocks []block                               // more than one if TCP needs the source ports
	pages  [1 << 16 / pageSize]*[pageSize]flight // allocated when first used
	last   uint16                                // ident given out last
	round  uint16                                // how often last has wrapped around
	aloft  int                                   // idents in use
	syns   int                                   // of these for TCP
	next   int                                   // source port for TCP, counted through the blocks
}

const (
	pageSize = 1024
	laneSize = 1<<16 - 1 // ident 0 is never used: UDP cannot send checksum 0
	laneFull = laneSize * 15 / 16
)

// flight returns the flight of an ident, nil if the ident was never used.
func (l *lane) flight(ident uint16) *flight {
	p := l.pages[ident/pageSize]
	if p == nil {
		return nil
	}
	return &p[ident%pageSize]
}

// take returns the flight whose ident has been out of use for longest.
func (l *lane) take() *flight {
	for {
		l.last++
		if l.last == 0 {
			l.round++
			continue
		}
		p := &l.pages[l.last/pageSize]
		if *p == nil {
			*p = new([pageSize]flight)
		}
		f := &(*p)[l.last%pageSize]
		if f.state == staged || f.state == flying {
			continue
		}
		*f = flight{ident: l.last, slot: -1, state: staged, lane: l}
		l.aloft++
		return f
	}
}

// number returns the identifier that ICMP packets carry. It changes when the
// idents have wrapped around, so that answers from an earlier round are not
// taken for those of this one.
func (l *lane) number() uint16 { return l.blocks[0].number(l.round) }

// port returns a source port for TCP. Two SYNs with the same ports at a time
// would get one answer between them (RFC 5961 section 4), so it is the port
// that has been out of use for longest.
func (l *lane) port() uint16 {
	i := l.next % (len(l.blocks) * blockSize)
	l.next = i + 1
	return l.blocks[i/blockSize].number(uint16(i))
}

// maxBlocks of a lane bound the SYNs to one port that are told apart: 4096.
const maxBlocks = 16

// table is every flight of an engine.
type table struct {
	home   home
	lanes  []*lane
	owners [1 << 16 / blockSize]*lane // by upper half of a number
	named  map[uint16]*named
	aloft  int // flights staged or flying
}

// named is a source port outside of the engine's blocks that requests have
// named. It stays claimed after use, for late answers, until maxNamed need its place.
type named struct {
	claim claim
	aloft int
}

const maxNamed = 64

// take returns a flight for a request, and whether that made new numbers ours.
func (t *table) take(r *Request) (f *flight, fresh bool, err error) {
	l := t.lanes[len(t.lanes)-1]
	var n *named
	switch {
	case r.SrcPort != 0:
		n, l, fresh, err = t.name(r.SrcPort)
	case l.aloft >= laneFull:
		l, fresh, err = t.roomy()
	case r.Protocol == TCP && l.syns >= len(l.blocks)*blockSize && len(l.blocks) < maxBlocks:
		fresh = t.widen(l) == nil // or do with what there is
	}
	if err != nil {
		return nil, false, err
	}
	if l.aloft >= laneFull {
		return nil, false, ErrTooMany
	}
	f = l.take()
	t.aloft++
	if f.protocol = r.Protocol; f.protocol == TCP {
		l.syns++
	}
	if f.named = n; n != nil {
		n.aloft++
	}
	return f, fresh, nil
}

// roomy returns a lane with room, a new one if need be.
func (t *table) roomy() (l *lane, fresh bool, err error) {
	for _, l := range t.lanes {
		if l.aloft < laneFull {
			return l, false, nil
		}
	}
	if err := t.grow(); err != nil {
		return nil, false, err
	}
	return t.lanes[len(t.lanes)-1], true, nil
}

// land gives back the ident of a flight that is over.
func (t *table) land(f *flight, s state) {
	if f.state == staged || f.state == flying {
		t.aloft--
		f.lane.aloft--
		if f.protocol == TCP {
			f.lane.syns--
		}
		if f.named != nil {
			f.named.aloft--
		}
	}
	f.state = s
}

// numbers are all that belong to the table.
func (t *table) numbers() (n numbers) {
	for _, l := range t.lanes {
		for _, b := range l.blocks {
			n.blocks = append(n.blocks, b.index)
		}
	}
	for p := range t.named {
		n.ports = append(n.ports, p)
	}
	return n
}

// grow adds a lane. It starts anywhere, because some routers quote so little
// that the ident alone tells the packets of two engines apart.
func (t *table) grow() error {
	l := &lane{last: uint16(rand.Uint32())}
	if err := t.widen(l); err != nil {
		return err
	}
	t.lanes = append(t.lanes, l)
	return nil
}

// widen gives a lane one more block.
func (t *table) widen(l *lane) error {
	return t.home.do(func() error {
		b, err := claimBlock()
		if err != nil {
			return err
		}
		l.next = len(l.blocks) * blockSize
		l.blocks = append(l.blocks, b)
		t.owners[b.index] = l
		return nil
	})
}

// lane returns the lane to which a number belongs, nil if it is not ours.
func (t *table) lane(number uint16) *lane {
	if l := t.owners[number/blockSize]; l != nil {
		return l
	}
	if _, ok := t.named[number]; ok {
		return t.lanes[0]
	}
	return nil
}

// name makes a source port that a request names ours.
func (t *table) name(port uint16) (n *named, l *lane, fresh bool, err error) {
	if l := t.lane(port); l != nil {
		return t.named[port], l, false, nil
	}
	if len(t.named) >= maxNamed && !t.unname() {
		return nil, nil, false, fmt.Errorf("source port %d: %w", port, ErrTooMany)
	}
	n = new(named)
	err = t.home.do(func() (err error) {
		n.claim, err = claimPort(port)
		return err
	})
	if err != nil {
		return nil, nil, false, fmt.Errorf("source port %d: %w", port, err)
	}
	if t.named == nil {
		t.named = make(map[uint16]*named)
	}
	t.named[port] = n
	return n, t.lanes[0], true, nil
}

// unname gives up the named ports that are not in use, and says whether there were any.
func (t *table) unname() (some bool) {
	for port, n := range t.named {
		if n.aloft == 0 {
			n.claim.release()
			delete(t.named, port)
			some = true
		}
	}
	return some
}

func (t *table) each(do func(*flight)) {
	for _, l := range t.lanes {
		for _, p := range l.pages {
			if p == nil {
				continue
			}
			for i := range p {
				do(&p[i])
			}
		}
	}
}

func (t *table) release() {
	for _, l := range t.lanes {
		for _, b := range l.blocks {
			b.claim.release()
		}
	}
	for _, n := range t.named {
		n.claim.release()
	}
	t.lanes, t.named = nil, nil
	t.home.close()
}
