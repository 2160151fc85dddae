package probe

import (
	"context"
	"errors"
	"time"

	"github.com/natrix-os/natrix/agent/packet"
	"github.com/natrix-os/natrix/sysinfo/netif"
	"golang.org/x/sys/unix"
)

const (
	mtuTries      = 3                      // packets of each size, of which one has to be answered
	leastPatience = 300 * time.Millisecond // wait for a router that answers at once
)

// plateaus are likely MTUs, for routers that refuse a packet without saying
// what would fit (RFC 1191 section 7).
var plateaus = []int{32000, 17914, 9000, 8166, 4352, 2002, 1492, 1280, 1006, 576, 508, 296, 68}

// measureMTU finds the largest packet that gets to each hop that answers. It
// believes routers that refuse a packet; where packets vanish while smaller
// ones pass, it finds the size by bisection. TCP has no packets of a size to
// choose: ICMP stands in for it.
func measureMTU(ctx context.Context, engine sender, target packet.Request, hops []Hop) error {
	if target.Protocol == packet.TCP {
		target.Protocol, target.DstPort = packet.ICMP, 0
	}
	target.DontFragment = true
	m := sizer{target: target, hops: hops, most: target.Timeout}
	m.volley = newVolley(engine, 64*mtuTries, m.book)
	size := linkMTU(target)
	for i := range hops {
		h := &hops[i]
		if len(h.RTTs()) == 0 {
			continue
		}
		var known bool
		if known, h.BlackHole = m.reach(ctx, i, &size); known {
			h.MTU = size
		}
		if err := errors.Join(m.err, ctx.Err()); err != nil {
			return err
		}
	}
	return nil
}

// linkMTU is that of the link by which packets to the target leave.
func linkMTU(target packet.Request) int {
	route, err := netif.Select(target.Link, target.Dst)
	if err != nil {
		return packet.MaxSize
	}
	link, err := netif.ByName(route.Link)
	if err != nil || link.MTU == 0 {
		return packet.MaxSize
	}
	return min(link.MTU, packet.MaxSize)
}

// sizer tries packets of different sizes along a path.
type sizer struct {
	volley  *volley
	target  packet.Request
	hops    []Hop
	most    time.Duration // to wait for one answer
	reply   packet.Reply  // to the size that is being tried; NoReply until one comes
	refused int           // packets of it that this machine did not send, being too big
	err     error
}

// reach lowers size to what gets to hop i. It is not known if the hop does not
// answer to large packets, though they pass it.
func (m *sizer) reach(ctx context.Context, i int, size *int) (known, hole bool) {
	for m.err == nil && ctx.Err() == nil {
		switch r := m.try(ctx, i, *size); {
		case r.Kind == packet.TooBig && *size <= packet.DefaultSize:
			return false, false // that cannot be true
		case r.Kind == packet.TooBig:
			*size = smaller(*size, r.MTU)
		case m.refused == mtuTries:
			*size = m.sendable(ctx, i, *size)
		case r.Kind != packet.NoReply:
			return true, false
		case m.passes(ctx, i, *size):
			return false, false
		default:
			return m.bisect(ctx, i, size)
		}
	}
	return false, false
}

// sendable is the largest size below one that this machine refuses to send.
// Its refusals cost no time.
func (m *sizer) sendable(ctx context.Context, i, high int) int {
	low := packet.DefaultSize
	for high-low > 1 && m.err == nil && ctx.Err() == nil {
		middle := (low + high) / 2
		if m.try(ctx, i, middle); m.refused == mtuTries {
			high = middle
		} else {
			low = middle
		}
	}
	return low
}

// passes reports whether packets of a size get to the last hop beyond hop i
// that answers.
func (m *sizer) passes(ctx context.Context, i, size int) bool {
	for j := len(m.hops) - 1; j > i; j-- {
		if len(m.hops[j].RTTs()) > 0 {
			return m.try(ctx, j, size).Kind != packet.NoReply
		}
	}
	return false
}

// bisect lowers size, at which packets to hop i vanish, to the largest at which
// they do not. Nothing is known of a hop that does not answer steadily.
func (m *sizer) bisect(ctx context.Context, i int, size *int) (known, hole bool) {
	low, high := packet.DefaultSize, *size
	if !m.steady(ctx, i, low) {
		return false, false
	}
	for high-low > 1 {
		middle := (low + high) / 2
		switch r := m.try(ctx, i, middle); {
		case r.Kind == packet.TooBig:
			high = middle
			if r.MTU > low && r.MTU < middle {
				high = r.MTU + 1
			}
		case r.Kind == packet.NoReply:
			high = middle
		default:
			low = middle
		}
	}
	if !m.steady(ctx, i, low) {
		return false, false
	}
	*size = low
	return true, true
}

// steady reports whether hop i answers to packets of a size again and again:
// the silence of one that limits its answers means nothing.
func (m *sizer) steady(ctx context.Context, i, size int) bool {
	for range 3 {
		if m.try(ctx, i, size).Kind == packet.NoReply {
			return false
		}
	}
	return true
}

// try sends a few packets of a size to hop i and returns the first answer.
func (m *sizer) try(ctx context.Context, i, size int) packet.Reply {
	m.reply, m.refused = packet.Reply{}, 0
	m.target.Tag++ // answers to what was tried before do not count
	m.target.TTL, m.target.Size = m.hops[i].TTL, size
	m.target.Timeout = patience(SpreadOf(m.hops[i].RTTs()).Max, m.most)
	for range mtuTries {
		m.volley.send(m.target)
	}
	m.volley.rest(ctx, func() bool { return m.reply.Kind != packet.NoReply || m.refused == mtuTries || m.err != nil })
	return m.reply
}

func (m *sizer) book(x packet.Result) {
	switch {
	case x.Tag != m.target.Tag || m.reply.Kind != packet.NoReply:
	case errors.Is(x.Err, unix.EMSGSIZE):
		m.refused++
	case x.Err != nil:
		m.err = x.Err
	default:
		m.reply = x.Reply
	}
}

// patience is how long to wait for a router that has answered in rtt before.
func patience(rtt, most time.Duration) time.Duration {
	return min(max(3*rtt, leastPatience), most)
}

// smaller is the size to try after one was refused, by a router that says what
// fits, or 0.
func smaller(size, fits int) int {
	if fits > 0 && fits < size {
		return fits
	}
	for _, p := range plateaus {
		if p < size {
			return p
		}
	}
	return size - 1
}
