package probe

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/natrix-os/natrix/agent/packet"
	"github.com/natrix-os/natrix/sysinfo/netif/nettest"
	"golang.org/x/sys/unix"
)

// inside runs f with a prober whose sockets are in a host.
func inside(t *testing.T, h *nettest.Host, f func(*Prober)) {
	t.Helper()
	p := New()
	defer p.Close()
	h.Do(func() { f(p) })
}

// addrs are the two addresses of a host.
func addrs(h *nettest.Host) []netip.Addr { return []netip.Addr{h.Addr4, h.Addr6} }

// h1 ── 1 ── h2, where packets arrive twice, late, or in another order.
func TestNetnsPing(t *testing.T) {
	for _, test := range []struct {
		name   string
		router nettest.Router
		udp    bool
		want   func(sent, received, duplicates, reordered, late int) bool
		text   string
	}{
		{"clean", nettest.Router{Delay: time.Millisecond}, false,
			func(s, r, d, o, l int) bool { return s == 20 && r == 20 && d == 0 && o == 0 && l == 0 }, "20 packets transmitted, 20 received, 0% packet loss"},
		{"udp", nettest.Router{}, true,
			func(s, r, d, o, l int) bool { return r == 20 && d == 0 && o == 0 }, "20 received, 0% packet loss"},
		{"duplicates", nettest.Router{Duplicate: 0.5}, false,
			func(s, r, d, o, l int) bool { return r == 20 && d > 5 && o == 0 }, " duplicates, 0% packet loss"},
		{"reordering", nettest.Router{Reorder: 0.3}, false,
			func(s, r, d, o, l int) bool { return r == 20 && d == 0 && o > 0 }, " out of order, 0% packet loss"},
		{"loss", nettest.Router{Loss: 0.3}, false,
			func(s, r, d, o, l int) bool { return s == 20 && r < 20 && r > 0 && d == 0 }, "% packet loss"},
		{"late", nettest.Router{Delay: 260 * time.Millisecond}, false,
			func(s, r, d, o, l int) bool { return r == 0 && l > 0 }, " late, 100% packet loss"},
		{"black hole", nettest.Router{BlackHole: true}, false,
			func(s, r, d, o, l int) bool { return s == 20 && r == 0 }, "20 packets transmitted, 0 received, 100% packet loss"},
		{"refused", nettest.Router{Refuse: nettest.HostUnreachable}, false,
			func(s, r, d, o, l int) bool { return r == 0 }, "host unreachable from"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h1, h2 := nettest.Line(t, test.router)
			for _, dst := range addrs(h2) {
				params := DefaultPing()
				params.Count, params.Interval, params.Timeout, params.UDP = 20, 10*time.Millisecond, 500*time.Millisecond, test.udp
				inside(t, h1, func(p *Prober) {
					r, err := p.Ping(t.Context(), dst.String(), params)
					if err != nil {
						t.Fatal(err)
					}
					duplicates, reordered, late := r.Oddities()
					if !test.want(len(r.Packets), len(r.RTTs()), duplicates, reordered, late) || !strings.Contains(textOf(r), test.text) {
						t.Errorf("%v: %d duplicates, %d out of order, %d late, want %q in\n%s", dst, duplicates, reordered, late, test.text, textOf(r))
					}
					judge(t, "ping", r)
				})
			}
		})
	}
}

// h1 ── r1 ── r2 ── h2 of kernel routers, by every protocol.
func TestNetnsTraceroute(t *testing.T) {
	t.Parallel()
	hosts := nettest.Chain(t, "h1", "r1", "r2", "h2")
	for family := range 2 {
		dst := addrs(hosts[3])[family]
		for _, protocol := range []string{"icmp", "udp", "tcp"} {
			params := quick(protocol)
			params.MTU = true
			inside(t, hosts[0], func(p *Prober) {
				r, err := p.Traceroute(t.Context(), dst.String(), params)
				if err != nil {
					t.Fatal(err)
				}
				got, want := pathOfResult(r), fmt.Sprintf("%v 1500, %v 1500, %v 1500, reached", addrs(hosts[1])[family], addrs(hosts[2])[family], dst)
				if got != want {
					t.Errorf("%s to %v:\n got %s\nwant %s", protocol, dst, got, want)
				}
				judge(t, "traceroute", r)
			})
		}
	}
}

func quick(protocol string) TracerouteParams {
	params := DefaultTraceroute()
	params.Protocol, params.Numeric, params.Timeout, params.MaxHops = protocol, true, time.Second, 10
	return params
}

// pathOfResult is a path in a line: for each hop who answered first, its MTU,
// its annotation and what was rewritten on the way to it.
func pathOfResult(r *TracerouteResult) string {
	var hops []string
	changes := ""
	for _, h := range r.Hops {
		hop := "*"
		for _, k := range h.Probes {
			if k.Reply.Kind == packet.NoReply {
				continue
			}
			hop = k.Reply.From.String()
			if a := annotation(k.Reply.Kind); a != "" {
				hop += " " + a
			}
			if x := extensions(k.Reply); x != "" {
				hop += x
			}
			break
		}
		if h.MTU != 0 {
			hop += fmt.Sprint(" ", h.MTU)
		}
		if h.BlackHole {
			hop += " hole"
		}
		if c, known := r.changes(h); known && c != changes {
			hop += " [" + c + "]"
			changes = c
		}
		hops = append(hops, hop)
	}
	if r.Reached {
		hops = append(hops, "reached")
	}
	return strings.Join(hops, ", ")
}

// Seven paths of one kind:
//
//	h1 ── 1 ── 2 ── 3 ── h2
//	.1   .101 .102 .103  .2
func TestNetnsTracerouteMisbehaviour(t *testing.T) {
	label := nettest.MPLS(nettest.Label{Label: 16001, TC: 5, TTL: 1}, nettest.Label{Label: 3, TTL: 254})
	nat4, nat6 := netip.MustParseAddr("10.0.1.200"), netip.MustParseAddr("fd00:0:0:1::200")
	bleach := func(tos byte) byte { return tos & 3 }
	for _, test := range []struct {
		name   string
		router nettest.Router
		change func(*TracerouteParams)
		want   string // with .1 standing for the address that ends so
	}{
		{"silent", nettest.Router{Silent: true}, nil, ".101, *, .103, .2, reached"},
		{"unreachable", nettest.Router{Refuse: nettest.HostUnreachable}, nil, ".101, .102, .102 !H"},
		{"no network", nettest.Router{Refuse: nettest.NetUnreachable}, nil, ".101, .102, .102 !N"},
		{"prohibited", nettest.Router{Refuse: nettest.Prohibited}, nil, ".101, .102, .102 !X"},
		{"labels", nettest.Router{Extensions: []nettest.Extension{label}}, nil,
			".101, .102 <MPLS:L=16001,E=5,S=0,T=1/L=3,E=0,S=1,T=254>, .103, .2, reached"},
		{"bleached DSCP", nettest.Router{Remark: bleach}, func(p *TracerouteParams) { p.TOS = 46<<2 | 2 },
			".101, .102, .103 [DSCP 46>0], .2, reached"},
		{"bleached ECN", nettest.Router{Remark: func(tos byte) byte { return tos &^ 3 }}, func(p *TracerouteParams) { p.TOS = 2 },
			".101, .102, .103 [ECN 2>0], .2, reached"},
		{"NAT", nettest.Router{NAT4: nat4, NAT6: nat6, KeepQuote: true}, nil,
			".101, .102, .103 [NAT], .2, reached"},
		{"small MTU", nettest.Router{MTU: 1400}, func(p *TracerouteParams) { p.MTU = true },
			".101 1500, .102 1500, .103 1400, .2 1400, reached"},
		{"small MTU that nobody tells of", nettest.Router{MTU: 1357, Silent: true}, func(p *TracerouteParams) { p.MTU = true },
			".101 1500, *, .103 1357 hole, .2 1357, reached"},
		{"router that limits its answers", nettest.Router{Rate: 1, Burst: 4}, func(p *TracerouteParams) { p.MTU = true },
			".101 1500, .102 1500, .103 1500, .2 1500, reached"},
		{"router that hardly answers", nettest.Router{Rate: 0.01, Burst: 3}, func(p *TracerouteParams) { p.MTU = true },
			".101 1500, .102, .103 1500, .2 1500, reached"},
		{"black hole", nettest.Router{BlackHole: true}, func(p *TracerouteParams) { p.MaxHops = 4 }, ".101, .102, *, *"},
	} {
		for family := range 2 {
			t.Run(fmt.Sprintf("%s v%d", test.name, 4+2*family), func(t *testing.T) {
				t.Parallel()
				h1, h2 := nettest.Line(t, nettest.Router{}, test.router, nettest.Router{})
				params := quick("udp")
				if test.change != nil {
					test.change(&params)
				}
				inside(t, h1, func(p *Prober) {
					r, err := p.Traceroute(t.Context(), addrs(h2)[family].String(), params)
					if err != nil {
						t.Fatal(err)
					}
					got := strings.NewReplacer("10.0.1.", ".", "fd00:0:0:1::", ".").Replace(pathOfResult(r))
					if got != test.want {
						t.Errorf("\n got %s\nwant %s", got, test.want)
					}
					judge(t, "traceroute", r)
				})
			})
		}
	}
}

// A path of 30 routers, two of them silent, takes about one timeout.
func TestNetnsTracerouteTakesOneTimeout(t *testing.T) {
	t.Parallel()
	routers := make([]nettest.Router, 29)
	routers[7].Silent, routers[20].Silent = true, true
	h1, h2 := nettest.Line(t, routers...)
	inside(t, h1, func(p *Prober) {
		begin := time.Now()
		params := quick("icmp")
		params.MaxHops, params.Timeout = 60, 2*time.Second
		r, err := p.Traceroute(t.Context(), h2.Addr4.String(), params)
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); len(r.Hops) != 30 || !r.Reached || took > 2*params.Timeout {
			t.Errorf("%d hops after %v, want 30 after about %v", len(r.Hops), took, params.Timeout)
		}
	})
}

// A route that the kernel of a router refuses.
func TestNetnsTracerouteRefusedByKernel(t *testing.T) {
	t.Parallel()
	hosts := nettest.Chain(t, "h1", "r1", "h2")
	nowhere := netip.MustParsePrefix("10.9.0.0/16")
	hosts[0].AddRoute(nowhere, unix.RTN_UNICAST, hosts[1].Addr4)
	hosts[1].AddRoute(nowhere, unix.RTN_UNREACHABLE)
	inside(t, hosts[0], func(p *Prober) {
		r, err := p.Traceroute(t.Context(), "10.9.0.1", quick("icmp"))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := pathOfResult(r), hosts[1].Addr4.String()+" !H"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

//	  a
//	/   \
//
// h1 ── s ─ b ─ r ── h2     three equal ways
//
//	\   /
//	  c
func TestNetnsMultipath(t *testing.T) {
	t.Parallel()
	n := nettest.New(t)
	h1, s, a, b, c, r, h2 := n.Host("h1"), n.Host("s"), n.Host("a"), n.Host("b"), n.Host("c"), n.Host("r"), n.Host("h2")
	n.Connect(h1, s)
	n.Connect(s, a)
	n.Connect(s, b)
	n.Connect(s, c)
	n.Connect(a, r)
	n.Connect(b, r)
	n.Connect(c, r)
	n.Connect(r, h2)
	n.Route()
	for family := range 2 {
		for _, protocol := range []string{"udp", "tcp"} {
			params := quick(protocol)
			params.Multipath, params.Confidence = true, 99
			dst := addrs(h2)[family]
			inside(t, h1, func(p *Prober) {
				result, err := p.Traceroute(t.Context(), dst.String(), params)
				if err != nil {
					t.Fatal(err)
				}
				if len(result.Hops) != 4 {
					t.Fatalf("%s to %v: %d hops, want 4\n%s", protocol, dst, len(result.Hops), textOf(result))
				}
				ways := addrsOf(family, a, b, c)
				for i, want := range [][]netip.Addr{addrsOf(family, s), ways, nil, {dst}} {
					h := result.Hops[i]
					if got := routersOf(h); want != nil && !slices.Equal(got, want) || !h.Settled { // r answers from any of its links
						t.Errorf("%s to %v: hop %d has %v, want %v\n%s", protocol, dst, h.TTL, got, want, textOf(result))
					}
				}
				if got := result.Hops[0].Branches[0].Next; !slices.Equal(got, ways) {
					t.Errorf("%s to %v: s leads to %v, want %v", protocol, dst, got, ways)
				}
				judge(t, "traceroute", result)
			})
		}
	}
}

func addrsOf(family int, hosts ...*nettest.Host) []netip.Addr {
	var all []netip.Addr
	for _, h := range hosts {
		all = append(all, addrs(h)[family])
	}
	return all
}

func routersOf(h Hop) []netip.Addr {
	var all []netip.Addr
	for _, b := range h.Branches {
		all = append(all, b.Addr)
	}
	return all
}

// The kernel of h1 remembers what a router said of the first run and may refuse
// to send what is larger: the path's MTU must be found again all the same.
func TestNetnsTracerouteMTUTwice(t *testing.T) {
	t.Parallel()
	h1, h2 := nettest.Line(t, nettest.Router{}, nettest.Router{MTU: 1400}, nettest.Router{})
	params := quick("icmp")
	params.MTU = true
	for _, dst := range addrs(h2) {
		for range 3 {
			inside(t, h1, func(p *Prober) {
				r, err := p.Traceroute(t.Context(), dst.String(), params)
				if err != nil {
					t.Fatal(err)
				}
				for i, h := range r.Hops {
					if h.MTU != 1400 && (i > 1 || h.MTU != 1500) {
						t.Errorf("to %v: hop %d has MTU %d\n%s", dst, h.TTL, h.MTU, textOf(r))
					}
				}
			})
		}
	}
}
