package probe

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/natrix-os/natrix/agent/packet"
)

// sized is a path of four hops on which large packets meet what refuse says;
// the router that answers then is the one before the hop that the packet was for.
func sized(refuse func(ttl, size int) (kind packet.Kind, mtu int)) *network {
	n := route(4, nil, packet.NoReply)
	good := n.meet
	n.meet = func(i int, r packet.Request) (packet.Reply, error) {
		if kind, mtu := refuse(r.TTL, r.Size); r.DontFragment && kind != packet.EchoReply {
			return packet.Reply{Kind: kind, From: router(1), RTT: time.Millisecond, MTU: mtu}, nil
		}
		return good(i, r)
	}
	return n
}

func TestMTU(t *testing.T) {
	passes := func() (packet.Kind, int) { return packet.EchoReply, 0 }
	for _, test := range []struct {
		name   string
		refuse func(ttl, size int) (packet.Kind, int)
		want   string
	}{
		{"nothing is too big", func(int, int) (packet.Kind, int) { return passes() }, "65535 65535 65535 65535"},
		{"a router says what fits", func(ttl, size int) (packet.Kind, int) {
			if ttl > 2 && size > 1400 {
				return packet.TooBig, 1400
			}
			return passes()
		}, "65535 65535 1400 1400"},
		{"two routers do", func(ttl, size int) (packet.Kind, int) {
			if limit := []int{9999, 9000, 9000, 1500, 1500}[min(ttl, 4)]; size > limit {
				return packet.TooBig, limit
			}
			return passes()
		}, "9000 9000 1500 1500"},
		{"a router of before RFC 1191", func(ttl, size int) (packet.Kind, int) {
			if ttl > 1 && size > 1400 {
				return packet.TooBig, 0
			}
			return passes()
		}, "65535 1280 1280 1280"},
		{"a router that lies", func(ttl, size int) (packet.Kind, int) { return packet.TooBig, 70000 }, "0 0 0 0"},
		{"black hole", func(ttl, size int) (packet.Kind, int) {
			if ttl > 2 && size > 1357 {
				return packet.NoReply, 0
			}
			return passes()
		}, "65535 65535 1357hole 1357"},
		{"black hole after a router that tells", func(ttl, size int) (packet.Kind, int) {
			switch {
			case ttl > 1 && size > 1500:
				return packet.TooBig, 1500
			case ttl > 3 && size > 1420:
				return packet.NoReply, 0
			}
			return passes()
		}, "65535 1500 1500 1420hole"},
		{"one that passes large packets and does not answer to them", func(ttl, size int) (packet.Kind, int) {
			if ttl == 2 && size > 1000 {
				return packet.NoReply, 0
			}
			return passes()
		}, "65535 0 65535 65535"},
		{"silence to everything", func(ttl, size int) (packet.Kind, int) { return packet.NoReply, 0 }, "0 0 0 0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				r, err := sized(test.refuse).prober().Traceroute(t.Context(), "127.0.0.1", func() TracerouteParams { p := quick("icmp"); p.MTU = true; return p }())
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, h := range r.Hops {
					got = append(got, fmt.Sprint(h.MTU)+map[bool]string{true: "hole"}[h.BlackHole])
				}
				if s := strings.Join(got, " "); s != test.want {
					t.Errorf("got %s, want %s", s, test.want)
				}
				if took := time.Since(begin); took > 10*time.Second {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}

// A NAT before the destination answers in its name: the path goes on behind it.
func TestTracerouteBehindNAT(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := route(5, nil, packet.NoReply)
		good := n.meet
		n.meet = func(i int, r packet.Request) (packet.Reply, error) {
			reply, err := good(i, r)
			if r.TTL == 3 || r.TTL == 4 {
				reply.From = local
			}
			return reply, err
		}
		r, err := n.prober().Traceroute(t.Context(), "127.0.0.1", quick("icmp"))
		if err != nil || len(r.Hops) != 5 || !r.Reached || !strings.Contains(textOf(r), "[NAT]") {
			t.Errorf("got %v\n%s", err, textOf(r))
		}
	})
}

// A destination that answers only as a router does is where the path ends.
func TestTracerouteToMaskedDestination(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{meet: func(_ int, r packet.Request) (packet.Reply, error) {
			from := router(r.TTL)
			if r.TTL == 3 {
				from = local
			}
			if r.TTL > 3 {
				return packet.Reply{Kind: packet.NoReply}, nil
			}
			return packet.Reply{Kind: packet.TTLExpired, From: from, RTT: time.Millisecond}, nil
		}}
		r, err := n.prober().Traceroute(t.Context(), "127.0.0.1", quick("icmp"))
		if err != nil || len(r.Hops) != 3 || !r.Reached {
			t.Errorf("got %v\n%s", err, textOf(r))
		}
	})
}

func TestTracerouteText(t *testing.T) {
	hop := func(ttl int, name string, mtu int, hole bool, replies ...packet.Reply) Hop {
		h := Hop{TTL: ttl, MTU: mtu, BlackHole: hole}
		for i, r := range replies {
			r.RTT = time.Duration(ttl*1000+i) * time.Microsecond
			h.Probes = append(h.Probes, HopProbe{Reply: r, Name: name})
		}
		return h
	}
	expired := func(from string, tos int) packet.Reply {
		return packet.Reply{Kind: packet.TTLExpired, From: netip.MustParseAddr(from), QuotedTOS: tos}
	}
	lost := packet.Reply{Kind: packet.NoReply}
	labelled := expired("192.0.2.3", 2)
	labelled.MPLS = []packet.Label{{Label: 16001, TC: 5, TTL: 1}, {Label: 3, Bottom: true, TTL: 254}}
	labelled.Interfaces = []packet.Interface{{Role: packet.Incoming, Index: 7, Addr: netip.MustParseAddr("10.0.0.1"), Name: "eth0", MTU: 1500}}
	prohibited := packet.Reply{Kind: packet.AdminProhibited, From: netip.MustParseAddr("192.0.2.4"), QuotedTOS: 2, Rewritten: true}
	r := &TracerouteResult{Destination: "www.example.com", Addr: netip.MustParseAddr("192.0.2.9"), MaxHops: 60, tos: 46<<2 | 2, Hops: []Hop{
		hop(1, "gateway", 1500, false, expired("192.0.2.1", 46<<2|2), lost, expired("192.0.2.1", 46<<2|2)),
		hop(2, "", 0, false, lost, lost, lost),
		hop(3, "core", 1400, true, labelled, labelled, expired("192.0.2.8", 2)),
		hop(4, "firewall", 1400, false, prohibited, lost, lost),
	}}
	want := `traceroute to www.example.com (192.0.2.9), 60 hops max
 1  gateway (192.0.2.1)  1.000 ms *  1.002 ms  F=1500
 2  * * *
 3  core (192.0.2.3) <MPLS:L=16001,E=5,S=0,T=1/L=3,E=0,S=1,T=254> <incoming,index=7,10.0.0.1,eth0,mtu=1500>  3.000 ms  3.001 ms core (192.0.2.8)  3.002 ms  F=1400 (larger packets vanish)  [DSCP 46>0]
 4  firewall (192.0.2.4)  4.000 ms !X * *  [DSCP 46>0, NAT]
the destination did not answer
`
	if got := textOf(r); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
