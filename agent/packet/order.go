package packet

import "net/netip"

// overtaken reports whether a packet sent later the same way has been
// answered before, and remembers f's answer for the next.
func (e *Engine) overtaken(f *flight) bool {
	way := orderKey{f.dst, f.protocol, f.ttl}
	o := &e.orders[(hash(f.dst)+uint32(f.ttl))%uint32(len(e.orders))]
	if o.way != way {
		*o = order{way, f.order}
		return false
	}
	if f.order < o.last {
		return true
	}
	o.last = f.order
	return false
}

// order is the last packet of its way that was answered. The table of these
// has a fixed size: an entry that two ways fight for misses reordering, it never invents it.
type order struct {
	way  orderKey
	last uint64
}

type orderKey struct {
	dst      netip.Addr
	protocol Protocol
	ttl      uint8 // with another TTL another router answers
}

const orders = 1024

func hash(a netip.Addr) uint32 {
	b := a.As16()
	h := be.Uint32(b[12:]) ^ be.Uint32(b[8:])*31 ^ be.Uint32(b[4:])*37 ^ be.Uint32(b[:])*41
	return h * 0x9e3779b1 >> 16
}
