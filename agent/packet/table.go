package packet

import (
	"fmt"
	"math/rand/v2"
)

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
