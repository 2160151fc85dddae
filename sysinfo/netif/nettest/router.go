package nettest

import (
	"math/rand/v2"
	"net/netip"
	"time"
)

// Router is a router in user space, and the piece of cable between it and its
// neighbour towards the first host. The zero value forwards as a good router does.
//
// In each direction chance decides by the order of the packets alone, so the
// same packets meet the same fate in every run; see [Net.Seed].
type Router struct {
	Addr4, Addr6 netip.Addr // what it answers from, and to; set by Net.Connect if zero

	// The piece of cable, in both directions.
	Delay     time.Duration // for every packet
	Jitter    time.Duration // at most so much more, evenly spread; packets may overtake each other
	Loss      float64       // share of packets lost, 0 to 1
	Duplicate float64       // share of packets that arrive twice
	Reorder   float64       // share of packets that arrive after the next one, or 50 ms late if there is none

	// What becomes of packets that pass.
	MTU       int                 // bytes; larger ones are refused (or fragmented, where IPv4 allows); 0 means any
	BlackHole bool                // nothing passes
	Refuse    Refusal             // nothing passes, and this is the answer
	Remark    func(tos byte) byte // rewrites TOS or traffic class (DSCP and ECN)
	NAT4      netip.Addr          // source of IPv4 packets towards the second host, and back
	NAT6      netip.Addr          // the same for IPv6
	KeepQuote bool                // NAT forgets the packets that ICMP errors quote

	// How it answers. Silent with MTU makes a path MTU black hole.
	Silent     bool        // never
	Rate       float64     // at most so many answers per second, after a first Burst
	Burst      int         // at least 1 if Rate is set
	TTL        byte        // TTL or hop limit of answers; default 64
	Options    []byte      // IPv4 options of answers; a multiple of 4 bytes
	Quote      int         // bytes quoted of the packet in question; default what fits (RFC 1812, RFC 4443)
	Extensions []Extension // after the quote, with the length field of RFC 4884
	Unsized    bool        // leaves the length field 0, as routers did before RFC 4884
}

// Refusal is an ICMP and an ICMPv6 error: the types and codes 0xTTCC for IPv4,
// then 0xTTCC for IPv6.
type Refusal uint32

// What traceroute prints as !N, !H, !P, !X, and a port unreachable from a router.
const (
	NetUnreachable      Refusal = 0x03_00_01_00
	HostUnreachable     Refusal = 0x03_01_01_03
	ProtocolUnreachable Refusal = 0x03_02_04_01
	Prohibited          Refusal = 0x03_0d_01_01
	PortUnreachable     Refusal = 0x03_03_01_04

	timeExceeded Refusal = 0x0b_00_03_00
	tooBig       Refusal = 0x03_04_02_00
)

// direction is where a packet is going: towards the second host, or back.
type direction int

const (
	forth direction = 0
	back  direction = 1
)

// router is a Router at work. It belongs to the goroutine of its path.
type router struct {
	Router
	inner4, inner6 netip.Addr // whom NAT last saw

	tokens float64   // answers it may give now
	filled time.Time // when tokens was right
}

// send passes a packet on in a direction.
type send func(ip, direction)

// receive deals with a packet that has arrived from the direction opposite to d.
func (r *router) receive(p ip, d direction, now time.Time, send send) {
	if d == back {
		r.restore(p)
	}
	switch dst := p.dst(); {
	case dst == r.addr(p):
		r.host(p, d, now, send)
	case p.ttl() <= 1:
		r.refuse(p, d, timeExceeded, 0, now, send)
	default:
		p.setTTL(p.ttl() - 1)
		r.forward(p, d, now, send)
	}
}

func (r *router) forward(p ip, d direction, now time.Time, send send) {
	switch {
	case r.Refuse != 0 && d == forth:
		r.refuse(p, d, r.Refuse, 0, now, send)
		return
	case r.BlackHole:
		return
	case r.MTU != 0 && len(p) > r.MTU:
		if p.mayFragment() {
			for _, f := range p.fragment(r.MTU) {
				send(f, d)
			}
			return
		}
		r.refuse(p, d, tooBig, r.MTU, now, send)
		return
	}
	if r.Remark != nil {
		p.setTOS(r.Remark(p.tos()))
	}
	if d == forth {
		r.translate(p)
	}
	send(p, d)
}

// host answers packets for the router itself.
func (r *router) host(p ip, d direction, now time.Time, send send) {
	switch {
	case p.isEcho():
		if r.mayAnswer(now) {
			send(echoReply(p, r.Router), 1-d)
		}
	case p.protocol() == protoUDP:
		r.refuse(p, d, PortUnreachable, 0, now, send)
	default:
		r.refuse(p, d, ProtocolUnreachable, 0, now, send)
	}
}

// refuse answers p with an ICMP error, unless p is one or a later fragment
// (RFC 1122 section 3.2.2, RFC 4443 section 2.4).
func (r *router) refuse(p ip, d direction, why Refusal, mtu int, now time.Time, send send) {
	if p.isError() || p.laterFragment() || !r.mayAnswer(now) {
		return
	}
	send(refusal(p, why, mtu, r.Router), 1-d)
}

// mayAnswer takes an answer out of the rate limit.
func (r *router) mayAnswer(now time.Time) bool {
	if r.Silent {
		return false
	}
	if r.Rate == 0 {
		return true
	}
	burst := float64(max(r.Burst, 1))
	if r.filled.IsZero() {
		r.tokens = burst
	} else {
		r.tokens = min(burst, r.tokens+r.Rate*now.Sub(r.filled).Seconds())
	}
	r.filled = now
	if r.tokens < 1 {
		return false
	}
	r.tokens--
	return true
}

func (r *router) addr(p ip) netip.Addr {
	if p.v4() {
		return r.Addr4
	}
	return r.Addr6
}

// translate hides the source of p behind the router's NAT address.
func (r *router) translate(p ip) {
	nat, inner := r.nat(p)
	if nat.IsValid() {
		*inner = p.src()
		p.setSrc(nat)
	}
}

// restore gives packets for the NAT address back to whom it hides.
func (r *router) restore(p ip) {
	nat, inner := r.nat(p)
	if !nat.IsValid() || p.dst() != nat || !inner.IsValid() {
		return
	}
	p.setDst(*inner)
	if q := p.quoted(); q != nil && !r.KeepQuote {
		q.setSrc(*inner)
		p.sealICMP()
	}
}

func (r *router) nat(p ip) (nat netip.Addr, inner *netip.Addr) {
	if p.v4() {
		return r.NAT4, &r.inner4
	}
	return r.NAT6, &r.inner6
}

// cable is the piece of cable of a Router in one direction.
type cable struct {
	*Router
	chance *rand.Rand
	held   ip     // to be overtaken by the next packet
	holds  uint64 // how many packets have been held so far
}

// delay returns how long the packet takes to the other end.
func (c *cable) delay() time.Duration {
	if c.Jitter == 0 {
		return c.Delay
	}
	return c.Delay + time.Duration(c.chance.Int64N(int64(c.Jitter)))
}

// happens draws a lot if the outcome is open.
func (c *cable) happens(share float64) bool {
	return share > 0 && c.chance.Float64() < share
}
