package probe

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/natrix-os/natrix/agent/command"
	"github.com/natrix-os/natrix/agent/location"
	"github.com/natrix-os/natrix/agent/packet"
)

var tracerouteInfo = command.Info{
	Name:    "traceroute",
	Summary: "The routers on the way to a host",
	Example: "natrix traceroute www.example.com\nnatrix traceroute -T -p 443 www.example.com",
}

const (
	probesPerHop  = 3
	hopPace       = 15 * time.Millisecond // between the first packets of two hops: a path is walked in about one timeout, without a burst at the destination
	reverseLimit  = 3 * time.Second       // for all names together
	reverseAtOnce = 16
)

// TracerouteParams are the parameters of a traceroute.
type TracerouteParams struct {
	Interface string        // link to send from, by name or by one of its addresses; "" is by route
	Protocol  string        // icmp, udp or tcp
	Port      int           // destination port of udp and tcp; 0 is 53 and 80
	MaxHops   int           // how far to look
	Timeout   time.Duration // wait for the answer to each packet
	DNS       string        // name servers for the destination and the hops; "" is the system's
	Numeric   bool          // leave the names of the hops alone
}

// DefaultTraceroute looks as far as the original, with ICMP.
func DefaultTraceroute() TracerouteParams {
	return TracerouteParams{Protocol: "icmp", MaxHops: 60, Timeout: 3 * time.Second}
}

// Flags declares the parameters for all doors.
func (p *TracerouteParams) Flags(f *command.Flags) {
	f.Text(&p.Interface, "interface", "i", "link to send from: its name, or one of its addresses", "traceroute_interface")
	f.Custom((*protocolValue)(&p.Protocol), "protocol", "", "icmp, udp or tcp")
	f.Choice(&p.Protocol, "icmp", "I", "send ICMP echo (default)", "traceroute_icmp")
	f.Choice(&p.Protocol, "tcp", "T", "send TCP SYN", "traceroute_tcp")
	f.Choice(&p.Protocol, "udp", "U", "send UDP to one port", "traceroute_udp")
	f.Int(&p.Port, "port", "p", "destination port for TCP (80) and UDP (53)", 1, 65535)
	f.Int(&p.MaxHops, "max-hops", "m", "how far to look", 1, 255, "traceroute_max_hops")
	f.Seconds(&p.Timeout, "timeout", "t", "wait for each answer, in seconds")
	f.Text(&p.DNS, "dns", "d", "name server to resolve with", "dns_server")
	f.Switch(&p.Numeric, "numeric", "n", "do not look up the names of the hops")
	f.Hide("protocol")
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

// TracerouteResult is the path that was found.
type TracerouteResult struct {
	Destination string
	Addr        netip.Addr
	Reached     bool // the destination answered
	Hops        []Hop
}

// Hop is what was met at one distance.
type Hop struct {
	TTL    int
	Probes []HopProbe
}

// HopProbe is the outcome of one packet.
type HopProbe struct {
	Reply    packet.Reply
	Name     string // of Reply.From; its address if it has none
	Location location.Location
}

// Traceroute sends three packets to each distance, all of one flow, so that
// load balancers keep them on one path. That nothing answers is a result.
func (p *Prober) Traceroute(ctx context.Context, destination string, params TracerouteParams) (*TracerouteResult, error) {
	engine, target, err := p.aim(ctx, destination, params.Interface, params.DNS)
	if err != nil {
		return nil, err
	}
	protocol := protocols[params.Protocol]
	target.Protocol, target.DstPort, target.Flow, target.Timeout = protocol.Protocol, protocol.port, 1, params.Timeout
	if params.Port != 0 && protocol.port != 0 {
		target.DstPort = uint16(params.Port)
	}
	r := &TracerouteResult{Destination: destination, Addr: target.Dst}
	if r.Hops, err = walk(ctx, engine, target, params.MaxHops); err != nil {
		return nil, fmt.Errorf("traceroute %s: %w", target.Dst, unreachable(err))
	}
	r.Hops, r.Reached = cut(r.Hops, target.Dst)
	p.describe(ctx, r.Hops, params)
	return r, nil
}

// walk sends to each distance in turn without waiting for answers, until one
// of them shows that the path ends there. The error is the first of a packet
// that could not be sent.
func walk(ctx context.Context, engine sender, target packet.Request, maxHops int) ([]Hop, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	hops := make([]Hop, 0, maxHops)
	var last atomic.Int32 // no need to look further than this
	last.Store(int32(maxHops))
	var answers sync.WaitGroup
	tick := time.NewTicker(hopPace)
	defer tick.Stop()

	for ttl := 1; ttl <= int(last.Load()) && ctx.Err() == nil; ttl++ {
		hops = append(hops, Hop{TTL: ttl, Probes: make([]HopProbe, probesPerHop)})
		probes := hops[ttl-1].Probes
		for i := range probes {
			answers.Go(func() {
				one := target
				one.TTL = ttl
				reply, err := engine.Do(ctx, one)
				if err != nil {
					cancel(err)
					return
				}
				probes[i].Reply = reply
				if final(reply, target.Dst) {
					lower(&last, int32(ttl))
				}
			})
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	answers.Wait()
	return hops, context.Cause(ctx)
}

// lower sets a to v if that is less.
func lower(a *atomic.Int32, v int32) {
	for now := a.Load(); v < now && !a.CompareAndSwap(now, v); now = a.Load() {
	}
}

// final reports whether the path ends with this reply: the destination
// answered, or a router will not let packets pass.
func final(r packet.Reply, dst netip.Addr) bool {
	return r.Kind.FromDestination() || r.Kind.Unreachable() || r.Kind != packet.NoReply && r.From == dst
}

// cut drops what was sent beyond the end of the path, and says whether that is
// the destination.
func cut(hops []Hop, dst netip.Addr) ([]Hop, bool) {
	for i, h := range hops {
		for _, k := range h.Probes {
			if final(k.Reply, dst) {
				return hops[:i+1], k.Reply.Kind.FromDestination() || k.Reply.From == dst
			}
		}
	}
	return hops, false
}

// describe adds names and places. A name that cannot be had in time is the address.
func (p *Prober) describe(ctx context.Context, hops []Hop, params TracerouteParams) {
	names := make(map[netip.Addr]string)
	for _, h := range hops {
		for _, k := range h.Probes {
			if k.Reply.Kind != packet.NoReply {
				names[k.Reply.From] = k.Reply.From.String()
			}
		}
	}
	if !params.Numeric {
		via, _ := pathOf(ctx, params.Interface) // was good for the destination
		servers, _ := serverList(params.DNS)    // likewise
		reverse(ctx, via.resolver(servers), names)
	}
	for _, h := range hops {
		for i := range h.Probes {
			k := &h.Probes[i]
			if k.Reply.Kind != packet.NoReply {
				k.Name, k.Location = names[k.Reply.From], p.Locations.Of(k.Reply.From)
			}
		}
	}
}

// reverse replaces the addresses in names by the names they have.
func reverse(ctx context.Context, resolver *net.Resolver, names map[netip.Addr]string) {
	ctx, cancel := context.WithTimeout(ctx, reverseLimit)
	defer cancel()
	var mu sync.Mutex
	var lookups sync.WaitGroup
	slots := make(chan struct{}, reverseAtOnce)
	addrs := make([]netip.Addr, 0, len(names))
	for addr := range names {
		addrs = append(addrs, addr)
	}
	for _, addr := range addrs {
		slots <- struct{}{}
		lookups.Go(func() {
			defer func() { <-slots }()
			found, err := resolver.LookupAddr(ctx, addr.WithZone("").String())
			if err != nil || len(found) == 0 {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			names[addr] = strings.TrimSuffix(found[0], ".")
		})
	}
	lookups.Wait()
}

// tracerouteHop and tracerouteRoute are the wire document: a bare array of
// hops, each with one route per packet; a packet that got lost is "*".
type tracerouteHop struct {
	Seq    int               `json:"seq"`
	Routes []tracerouteRoute `json:"routes"`
}

type tracerouteRoute struct {
	IP       string             `json:"ip"`
	Hostname string             `json:"hostname"`
	Location *location.Location `json:"location"`
	Time     float64            `json:"response_times"` // milliseconds

	Annotation string `json:"annotation,omitempty"`
	TTL        int    `json:"ttl,omitempty"` // left in the answer
	MPLS       []mpls `json:"mpls,omitempty"`
}

type mpls struct {
	Label uint32 `json:"label"`
	TC    uint8  `json:"tc"`
	TTL   uint8  `json:"ttl"`
}

// MarshalJSON writes the data of the wire document.
func (r *TracerouteResult) MarshalJSON() ([]byte, error) {
	hops := make([]tracerouteHop, 0, len(r.Hops))
	for _, h := range r.Hops {
		hop := tracerouteHop{Seq: h.TTL}
		for _, k := range h.Probes {
			hop.Routes = append(hop.Routes, k.wire())
		}
		hops = append(hops, hop)
	}
	return json.Marshal(hops)
}

func (k *HopProbe) wire() tracerouteRoute {
	if k.Reply.Kind == packet.NoReply {
		return tracerouteRoute{IP: "*", Hostname: "*"}
	}
	t := tracerouteRoute{
		IP: k.Reply.From.WithZone("").String(), Hostname: k.Name, Location: &k.Location, Time: ms(k.Reply.RTT),
		Annotation: annotation(k.Reply.Kind), TTL: max(k.Reply.TTL, 0),
	}
	for _, l := range k.Reply.MPLS {
		t.MPLS = append(t.MPLS, mpls{l.Label, l.TC, l.TTL})
	}
	return t
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

// WriteText prints the path in the form that traceroute's users know.
func (r *TracerouteResult) WriteText(w io.Writer) {
	fmt.Fprintf(w, "traceroute to %s (%v)\n", r.Destination, r.Addr)
	for _, h := range r.Hops {
		fmt.Fprintf(w, "%2d ", h.TTL)
		var from netip.Addr
		for _, k := range h.Probes {
			if k.Reply.Kind == packet.NoReply {
				fmt.Fprint(w, " *")
				continue
			}
			if k.Reply.From != from {
				from = k.Reply.From
				fmt.Fprintf(w, " %s (%v)", k.Name, from)
			}
			fmt.Fprintf(w, "  %.3f ms", ms(k.Reply.RTT))
			if a := annotation(k.Reply.Kind); a != "" {
				fmt.Fprint(w, " ", a)
			}
		}
		fmt.Fprintln(w)
	}
	if !r.Reached {
		fmt.Fprintln(w, "the destination did not answer")
	}
}
