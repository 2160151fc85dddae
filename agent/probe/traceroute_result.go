package probe

import (
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/natrix-os/natrix/agent/location"
	"github.com/natrix-os/natrix/agent/packet"
)

// TracerouteResult is the path that was found.
type TracerouteResult struct {
	Captured
	Destination string
	Addr        netip.Addr
	MaxHops     int
	Reached     bool // the destination answered
	Hops        []Hop
	Confidence  float64 // with which the branches of a hop are all that there are, 0 to 1; 0 if they were not looked for

	tos int // of the packets sent
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

	Annotation string          `json:"annotation,omitempty"`
	TTL        int             `json:"ttl,omitempty"`       // left in the answer
	Rewritten  []string        `json:"rewritten,omitempty"` // dscp, ecn, nat
	QuotedTOS  *int            `json:"quoted_tos,omitempty"`
	MPLS       []mpls          `json:"mpls,omitempty"`
	Interfaces []interfaceWire `json:"interfaces,omitempty"`

	// Of the hop.
	MTU        int          `json:"mtu,omitempty"`
	BlackHole  bool         `json:"mtu_black_hole,omitempty"`
	Branches   []branchWire `json:"branches,omitempty"` // on the first route
	Confidence float64      `json:"branches_confidence,omitempty"`
}

type mpls struct {
	Label uint32 `json:"label"`
	TC    uint8  `json:"tc"`
	TTL   uint8  `json:"ttl"`
}

type interfaceWire struct {
	Role  string `json:"role"`
	Index uint32 `json:"index,omitempty"`
	IP    string `json:"ip,omitempty"`
	Name  string `json:"name,omitempty"`
	MTU   int    `json:"mtu,omitempty"`
}

type branchWire struct {
	IP       netip.Addr   `json:"ip"`
	Hostname string       `json:"hostname"`
	Flows    int          `json:"flows"`
	Next     []netip.Addr `json:"next,omitempty"`
}

// MarshalJSON writes the data of the wire document.
func (r *TracerouteResult) MarshalJSON() ([]byte, error) {
	hops := make([]tracerouteHop, 0, len(r.Hops))
	for _, h := range r.Hops {
		hop := tracerouteHop{Seq: h.TTL}
		for _, k := range h.Probes {
			route := k.wire(r.Addr, r.tos)
			route.MTU, route.BlackHole = h.MTU, h.BlackHole
			hop.Routes = append(hop.Routes, route)
		}
		if r.Confidence > 0 && len(h.Branches) > 0 {
			hop.Routes[0].Branches = branchesWire(h.Branches)
			if h.Settled {
				hop.Routes[0].Confidence = r.Confidence
			}
		}
		hops = append(hops, hop)
	}
	return json.Marshal(hops)
}

func (k *HopProbe) wire(dst netip.Addr, tos int) tracerouteRoute {
	if k.Reply.Kind == packet.NoReply {
		return tracerouteRoute{IP: "*", Hostname: "*"}
	}
	t := tracerouteRoute{
		IP: k.Reply.From.WithZone("").String(), Hostname: k.Name, Location: &k.Location, Time: ms(k.Reply.RTT),
		Annotation: annotation(k.Reply.Kind), TTL: max(k.Reply.TTL, 0), Rewritten: rewritten(k.Reply, dst, tos),
	}
	if slices.Contains(t.Rewritten, rewroteDSCP) || slices.Contains(t.Rewritten, rewroteECN) {
		t.QuotedTOS = &k.Reply.QuotedTOS
	}
	for _, l := range k.Reply.MPLS {
		t.MPLS = append(t.MPLS, mpls{l.Label, l.TC, l.TTL})
	}
	for _, i := range k.Reply.Interfaces {
		w := interfaceWire{Role: roles[i.Role], Index: i.Index, Name: i.Name, MTU: i.MTU}
		if i.Addr.IsValid() {
			w.IP = i.Addr.String()
		}
		t.Interfaces = append(t.Interfaces, w)
	}
	return t
}

// roles are the names of what an interface was to the packet (RFC 5837 section 4.1).
var roles = map[packet.InterfaceRole]string{
	packet.Incoming: "incoming", packet.SubIncoming: "sub-incoming", packet.Outgoing: "outgoing", packet.NextHop: "next-hop",
}

func branchesWire(branches []Branch) []branchWire {
	var w []branchWire
	for _, b := range branches {
		w = append(w, branchWire{b.Addr, b.Name, b.Flows, b.Next})
	}
	return w
}

// WriteText prints the path in the form that traceroute's users know. What the
// network did to the packets is told where it first shows.
func (r *TracerouteResult) WriteText(w io.Writer) {
	defer r.Captured.writeText(w)
	fmt.Fprintf(w, "traceroute to %s (%v), %d hops max\n", r.Destination, r.Addr, r.MaxHops)
	mtu, changes := 0, ""
	for _, h := range r.Hops {
		fmt.Fprintf(w, "%2d ", h.TTL)
		h.writeProbes(w)
		if h.MTU != 0 && h.MTU != mtu {
			fmt.Fprintf(w, "  F=%d", h.MTU)
			mtu = h.MTU
		}
		if h.BlackHole {
			fmt.Fprint(w, " (larger packets vanish)")
		}
		if now, known := r.changes(h); known && now != changes {
			fmt.Fprintf(w, "  [%s]", orUnchanged(now))
			changes = now
		}
		fmt.Fprintln(w)
	}
	if !r.Reached {
		fmt.Fprintln(w, "the destination did not answer")
	}
	r.writeBranches(w)
}

// writeProbes prints what each packet met: an address once for all that follow.
func (h Hop) writeProbes(w io.Writer) {
	var from netip.Addr
	labels := ""
	for _, k := range h.Probes {
		if k.Reply.Kind == packet.NoReply {
			fmt.Fprint(w, " *")
			continue
		}
		if k.Reply.From != from {
			from, labels = k.Reply.From, ""
			fmt.Fprintf(w, " %s", both(k.Name, from))
		}
		if l := extensions(k.Reply); l != labels {
			labels = l
			fmt.Fprint(w, l)
		}
		fmt.Fprintf(w, "  %.3f ms", ms(k.Reply.RTT))
		if a := annotation(k.Reply.Kind); a != "" {
			fmt.Fprint(w, " ", a)
		}
	}
}

// both is a name and its address; an address without a name stands alone.
func both(name string, addr netip.Addr) string {
	if name == addr.String() {
		return name
	}
	return fmt.Sprintf("%s (%v)", name, addr)
}

// extensions is the MPLS labels and interfaces in the form of traceroute -e.
func extensions(r packet.Reply) string {
	var b strings.Builder
	for i, l := range r.MPLS {
		b.WriteString([]string{" <MPLS:", "/"}[min(i, 1)])
		fmt.Fprintf(&b, "L=%d,E=%d,S=%d,T=%d", l.Label, l.TC, bit(l.Bottom), l.TTL)
	}
	if len(r.MPLS) > 0 {
		b.WriteString(">")
	}
	for _, i := range r.Interfaces {
		fields := []string{roles[i.Role]}
		if i.Index != 0 {
			fields = append(fields, fmt.Sprintf("index=%d", i.Index))
		}
		if i.Addr.IsValid() {
			fields = append(fields, i.Addr.String())
		}
		if i.Name != "" {
			fields = append(fields, i.Name)
		}
		if i.MTU != 0 {
			fields = append(fields, fmt.Sprintf("mtu=%d", i.MTU))
		}
		fmt.Fprintf(&b, " <%s>", strings.Join(fields, ","))
	}
	return b.String()
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// changes is what the first answer of a hop tells of rewritten fields. It is
// not known if none of the answers quotes the packet.
func (r *TracerouteResult) changes(h Hop) (text string, known bool) {
	for _, k := range h.Probes {
		if k.Reply.Kind == packet.NoReply || k.Reply.Kind.FromDestination() {
			continue
		}
		var parts []string
		for _, field := range rewritten(k.Reply, r.Addr, r.tos) {
			switch field {
			case rewroteDSCP:
				parts = append(parts, fmt.Sprintf("DSCP %d>%d", r.tos>>2, k.Reply.QuotedTOS>>2))
			case rewroteECN:
				parts = append(parts, fmt.Sprintf("ECN %d>%d", r.tos&3, k.Reply.QuotedTOS&3))
			case rewroteNAT:
				parts = append(parts, "NAT")
			}
		}
		return strings.Join(parts, ", "), true
	}
	return "", false
}

func orUnchanged(changes string) string {
	if changes == "" {
		return "as sent"
	}
	return changes
}

// writeBranches prints the routers of every hop that has several, and how sure
// it is that there are no more.
func (r *TracerouteResult) writeBranches(w io.Writer) {
	if r.Confidence == 0 {
		return
	}
	fmt.Fprintf(w, "\nall paths, each hop with %.0f%% confidence if flows are shared evenly\n", 100*r.Confidence)
	for _, h := range r.Hops {
		doubt := ""
		if !h.Settled {
			doubt = "  (too few answers to be sure)"
		}
		if len(h.Branches) == 0 {
			fmt.Fprintf(w, "%2d  *%s\n", h.TTL, doubt)
		}
		for i, b := range h.Branches {
			head := fmt.Sprintf("%2d", h.TTL)
			if i > 0 {
				head = "  "
			}
			fmt.Fprintf(w, "%s  %s  %d flows", head, both(b.Name, b.Addr), b.Flows)
			if len(b.Next) > 0 {
				fmt.Fprintf(w, " -> %s", joined(b.Next))
			}
			fmt.Fprintln(w, doubt)
		}
	}
}

func joined(addrs []netip.Addr) string {
	var texts []string
	for _, a := range addrs {
		texts = append(texts, a.String())
	}
	return strings.Join(texts, ", ")
}
