package probe

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/natrix-os/natrix/agent/command"
	"github.com/natrix-os/natrix/agent/packet"
)

var tracerouteInfo = command.Info{
	Wire:    []tracerouteHop{},
	Name:    "traceroute",
	Summary: "The routers on the way to a host",
	Example: "natrix traceroute www.example.com\nnatrix traceroute -T -p 443 www.example.com\nnatrix traceroute -U --mtu --multipath -o text www.example.com",
}

// hopPace is the time between the first packets to two hops: a path is walked
// in about one timeout, without a burst at the destination.
const hopPace = 15 * time.Millisecond

// pathFlow is the flow of all packets of one path.
const pathFlow = 1

// TracerouteParams are the parameters of a traceroute.
type TracerouteParams struct {
	Way
	Protocol   string        // icmp, udp or tcp
	Port       int           // destination port of udp and tcp; 0 is 53 and 80
	MaxHops    int           // how far to look
	Queries    int           // packets to each hop
	Timeout    time.Duration // wait for the answer to each packet
	Numeric    bool          // leave the names of the hops alone
	MTU        bool          // look for the largest packet that gets to each hop
	Multipath  bool          // look for the other ways that load balancers have; many of them look at ports only, which ICMP lacks
	Confidence int           // percent certainty that Multipath finds all routers of a hop
}

// DefaultTraceroute looks as far as the original, with ICMP.
func DefaultTraceroute() TracerouteParams {
	return TracerouteParams{Protocol: "icmp", MaxHops: 60, Queries: 3, Timeout: 3 * time.Second, Confidence: 95}
}

// Flags declares the parameters for all doors.
func (p *TracerouteParams) Flags(f *command.Flags) {
	p.Way.flags(f, "i", "traceroute_interface")
	protocolFlags(f, &p.Protocol, "traceroute_")
	f.Int(&p.Port, "port", "p", "destination port for TCP (80) and UDP (53)", 1, 65535)
	f.Int(&p.MaxHops, "max-hops", "m", "how far to look", 1, 255, "traceroute_max_hops")
	f.Int(&p.Queries, "queries", "q", "packets to each hop", 1, 10)
	f.Seconds(&p.Timeout, "timeout", "t", "wait for each answer, in seconds")
	f.Switch(&p.Numeric, "numeric", "n", "do not look up the names of the hops")
	f.Switch(&p.MTU, "mtu", "", "find the largest packet that gets to each hop, and where larger ones vanish")
	f.Switch(&p.Multipath, "multipath", "", "find the other ways that load balancers have, best with --udp or --tcp")
	f.Int(&p.Confidence, "confidence", "", "of --multipath to find every router of a hop, in percent", 50, 99)
}

// protocolFlags declares a choice of protocol: as one parameter, as the wire
// has it, and as a switch for each.
func protocolFlags(f *command.Flags, p *string, prefix string) {
	f.Custom((*protocolValue)(p), "protocol", "", "icmp, udp or tcp")
	f.Choice(p, "icmp", "I", "send ICMP echo (default)", prefix+"icmp")
	f.Choice(p, "tcp", "T", "send TCP SYN", prefix+"tcp")
	f.Choice(p, "udp", "U", "send UDP to one port", prefix+"udp")
	f.Hide("protocol")
	f.Lookup("icmp").DefValue = "" // its usage says so already
}

// protocolValue is the protocol as the wire names it.
type protocolValue string

func (v *protocolValue) String() string { return string(*v) }
func (v *protocolValue) Type() string   { return "protocol" }

func (v *protocolValue) Set(s string) error {
	s = strings.ToLower(s)
	if _, known := protocols[s]; !known {
		return fmt.Errorf("%q is not icmp, udp or tcp", s)
	}
	*v = protocolValue(s)
	return nil
}

// protocols are those of traceroute, with their default ports.
var protocols = map[string]struct {
	packet.Protocol
	port uint16
}{
	"icmp": {packet.ICMP, 0},
	"udp":  {packet.UDP, 53},
	"tcp":  {packet.TCP, 80},
}

// along makes target a packet of a path: of one flow, so that load balancers
// keep it where the others went (Paris traceroute).
func along(target packet.Request, name string, port int) packet.Request {
	protocol := protocols[name]
	target.Protocol, target.DstPort, target.Flow = protocol.Protocol, protocol.port, pathFlow
	if port != 0 && protocol.port != 0 {
		target.DstPort = uint16(port)
	}
	return target
}

// Traceroute sends a few packets to each distance, all of one flow. That
// nothing answers is a result.
func (p *Prober) Traceroute(ctx context.Context, destination string, params TracerouteParams) (*TracerouteResult, error) {
	if params.Capture != "" {
		return captured(ctx, p, params.Capture, func(ctx context.Context, p *Prober) (*TracerouteResult, error) {
			params.Capture = ""
			return p.Traceroute(ctx, destination, params)
		})
	}
	engine, target, err := p.aim(ctx, destination, params.Way)
	if err != nil {
		return nil, err
	}
	target = along(target, params.Protocol, params.Port)
	target.Timeout = params.Timeout
	r := &TracerouteResult{Destination: destination, Addr: target.Dst, MaxHops: params.MaxHops, tos: params.TOS}
	if r.Hops, err = walk(ctx, engine, target, params.MaxHops, params.Queries); err != nil {
		return nil, unreachable(err)
	}
	r.Hops, r.Reached = cut(r.Hops, target.Dst)
	if params.MTU {
		err = measureMTU(ctx, engine, target, r.Hops)
	}
	if params.Multipath && err == nil {
		r.Confidence = float64(params.Confidence) / 100
		r.Hops, err = branchOut(ctx, engine, target, r.Hops, 1-r.Confidence, params.MaxHops)
	}
	if err != nil {
		return nil, unreachable(err)
	}
	p.describe(ctx, r.Hops, params)
	return r, nil
}

// walk sends to each distance in turn without waiting for answers, until one
// of them shows that the path ends there. The error is the first of a packet
// that could not be sent.
func walk(ctx context.Context, engine sender, target packet.Request, maxHops, queries int) ([]Hop, error) {
	w := walker{dst: target.Dst, last: maxHops}
	v := newVolley(engine, maxHops*queries, w.book)
	for ttl := 1; ttl <= w.last && w.err == nil; ttl++ {
		w.hops = append(w.hops, Hop{TTL: ttl, Probes: make([]HopProbe, queries), pending: queries})
		target.TTL = ttl
		for i := range queries {
			target.Tag = uint64((ttl-1)*queries + i)
			v.send(target)
		}
		if err := v.until(ctx, time.Now().Add(hopPace)); err != nil {
			return nil, err
		}
	}
	if err := v.rest(ctx, w.done); err != nil {
		return nil, err
	}
	return w.hops, w.err
}

// walker books the answers along a path.
type walker struct {
	dst  netip.Addr
	hops []Hop
	last int // no need to look further than this
	err  error
}

func (w *walker) book(x packet.Result) {
	if x.Reply.Duplicate || x.Reply.Late {
		return
	}
	if x.Err != nil {
		w.err = x.Err
		return
	}
	hop := &w.hops[int(x.Tag)/len(w.hops[0].Probes)]
	hop.Probes[int(x.Tag)%len(hop.Probes)].Reply = x.Reply
	hop.pending--
	switch {
	case final(x.Reply, w.dst):
		w.last = min(w.last, hop.TTL)
	case masked(x.Reply, w.dst):
		w.last = min(w.last, hop.TTL+behindNAT)
	}
}

// done reports whether every answer that is part of the path is there.
func (w *walker) done() bool {
	for _, h := range w.hops[:min(w.last, len(w.hops))] {
		if h.pending > 0 && w.err == nil {
			return false
		}
	}
	return true
}
