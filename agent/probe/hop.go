package probe

import (
	"net/netip"
	"slices"
	"time"

	"github.com/natrix-os/natrix/agent/location"
	"github.com/natrix-os/natrix/agent/packet"
)

// behindNAT is how many routers further the destination may be than a router
// that answers with the destination's address.
const behindNAT = 3

// Hop is what was met at one distance.
type Hop struct {
	TTL       int
	Probes    []HopProbe
	MTU       int      // bytes of the largest packet that gets there; 0 is unknown
	BlackHole bool     // larger packets vanish before this hop, without a word of it
	Branches  []Branch // routers at this distance on all paths; nil unless looked for
	Settled   bool     // Branches are all of them, with the confidence asked for

	pending int // probes without an outcome yet
}

// HopProbe is the outcome of one packet.
type HopProbe struct {
	Reply    packet.Reply
	Name     string // of Reply.From; its address if it has none
	Location location.Location
}

// RTTs are the round-trip times of the packets that were answered.
func (h Hop) RTTs() []time.Duration {
	var rtts []time.Duration
	for _, k := range h.Probes {
		if k.Reply.Kind != packet.NoReply {
			rtts = append(rtts, k.Reply.RTT)
		}
	}
	return rtts
}

// Loss is the share of packets that were not answered, 0 to 1.
func (h Hop) Loss() float64 { return 1 - float64(len(h.RTTs()))/float64(len(h.Probes)) }

// final reports whether the path ends with this reply: the destination
// answered, or a router will not let packets pass.
func final(r packet.Reply, dst netip.Addr) bool {
	return r.Kind.FromDestination() || r.Kind.Unreachable() || r.Kind != packet.NoReply && r.Kind != packet.TTLExpired && r.From == dst
}

// masked reports whether a router answered as if it were the destination: it
// translates addresses, or stands behind one that does.
func masked(r packet.Reply, dst netip.Addr) bool {
	return r.Kind == packet.TTLExpired && r.From == dst
}

// cut drops what was sent beyond the end of the path, and says whether that is
// the destination. A destination that only ever answers as a router does is
// taken for one.
func cut(hops []Hop, dst netip.Addr) ([]Hop, bool) {
	for i, h := range hops {
		for _, k := range h.Probes {
			if final(k.Reply, dst) {
				return hops[:i+1], k.Reply.Kind.FromDestination() || k.Reply.From == dst
			}
		}
	}
	for i, h := range hops {
		if slices.ContainsFunc(h.Probes, func(k HopProbe) bool { return masked(k.Reply, dst) }) {
			return hops[:i+1], true
		}
	}
	return hops, false
}

// annotation is how traceroute(8) marks an answer that is neither an expired
// TTL nor the destination's own.
func annotation(kind packet.Kind) string {
	switch kind {
	case packet.HostUnreachable, packet.HostUnknown:
		return "!H"
	case packet.NetUnreachable, packet.NetUnknown:
		return "!N"
	case packet.ProtoUnreachable:
		return "!P"
	case packet.TooBig:
		return "!F"
	case packet.SourceRouteFailed:
		return "!S"
	case packet.AdminProhibited, packet.NetProhibited, packet.HostProhibited:
		return "!X"
	case packet.HostPrecedence:
		return "!V"
	case packet.PrecedenceCutoff:
		return "!C"
	}
	return ""
}

// The fields of a packet that the network may have changed on the way.
const (
	rewroteDSCP = "dscp"
	rewroteECN  = "ecn"
	rewroteNAT  = "nat"
)

// rewritten is the fields that were no longer as sent when the packet got to
// the router that answered, by the header that it quotes.
func rewritten(r packet.Reply, dst netip.Addr, tos int) []string {
	var fields []string
	if r.Kind == packet.NoReply || r.Kind.FromDestination() {
		return nil
	}
	if q := r.QuotedTOS; q >= 0 {
		if q>>2 != tos>>2 {
			fields = append(fields, rewroteDSCP)
		}
		if q&3 != tos&3 {
			fields = append(fields, rewroteECN)
		}
	}
	if r.Rewritten || masked(r, dst) {
		fields = append(fields, rewroteNAT)
	}
	return fields
}
