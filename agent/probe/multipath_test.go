package probe

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/natrix-os/natrix/agent/packet"
)

// The table that Paris traceroute's MDA uses for 95 % (Veitch, Augustin,
// Friedman, Teixeira: Failure control in multipath route tracing, 2009).
func TestStoppingPoint(t *testing.T) {
	for k, want := range []int{6, 11, 16, 21, 27, 33, 38, 44, 51, 57} {
		if got := stoppingPoint(k+1, 0.05); got != want {
			t.Errorf("%d routers: got %d, want %d", k+1, got, want)
		}
	}
}

// mesh is a network in which each router hands flows on by a hash of their own.
//
//	mesh{{"a"}, {"b", "c"}, {"d"}}   a diamond
//
// A router is given the routers of the next hop that it may use by ways.
type mesh struct {
	hops [][]string
	ways map[string][]string // where it is not all of the next hop
	seed uint64
}

// at is the router that a flow meets at a distance.
func (m mesh) at(ttl int, flow uint16) string {
	now := m.hops[0][0]
	for i := 1; i < ttl; i++ {
		next := m.hops[i]
		if only := m.ways[now]; only != nil {
			next = only
		}
		chance := rand.New(rand.NewPCG(m.seed+uint64(i)<<8+uint64(now[0]), uint64(flow)))
		now = next[chance.IntN(len(next))]
	}
	return now
}

func (m mesh) network() *network {
	return &network{meet: func(_ int, r packet.Request) (packet.Reply, error) {
		if r.TTL > len(m.hops) {
			return echo(time.Millisecond), nil
		}
		return packet.Reply{Kind: packet.TTLExpired, From: named(m.at(r.TTL, r.Flow)), RTT: time.Millisecond, QuotedTOS: -1}, nil
	}}
}

// named is an address for a name of one letter.
func named(s string) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, s[0]}) }

// drawing is the branches of a result: a>bc b>d c>d.
func drawing(r *TracerouteResult) string {
	var routers []string
	letter := func(a netip.Addr) string { return string(rune(a.As4()[3])) }
	for _, h := range r.Hops {
		for _, b := range h.Branches {
			if b.Addr == local {
				continue
			}
			s := letter(b.Addr) + ">"
			for _, n := range b.Next {
				if n == local {
					s += "!"
				} else {
					s += letter(n)
				}
			}
			if !h.Settled {
				s += "?"
			}
			routers = append(routers, s)
		}
	}
	return strings.Join(routers, " ")
}

func TestMultipath(t *testing.T) {
	for _, test := range []struct {
		name string
		mesh mesh
		want string
		most int // packets
	}{
		{"one path", mesh{hops: [][]string{{"a"}, {"b"}}}, "a>b b>!", 3*9 + 3*9},
		{"diamond", mesh{hops: [][]string{{"a"}, {"b", "c"}, {"d"}}}, "a>bc b>d c>d d>!", 150},
		{"wide", mesh{hops: [][]string{{"a"}, {"b", "c", "d", "e"}, {"f"}}}, "a>bcde b>f c>f d>f e>f f>!", 250},
		{"two in a row that do not cross", mesh{
			hops: [][]string{{"a"}, {"b", "c"}, {"d", "e"}, {"f"}},
			ways: map[string][]string{"b": {"d"}, "c": {"e"}},
		}, "a>bc b>d c>e d>f e>f f>!", 200},
		{"meshed", mesh{hops: [][]string{{"a"}, {"b", "c"}, {"d", "e"}, {"f"}}}, "a>bc b>de c>de d>f e>f f>!", 400},
		{"uneven", mesh{
			hops: [][]string{{"a"}, {"b", "c"}, {"d", "e", "g", "h"}, {"f"}},
			ways: map[string][]string{"b": {"d"}, "c": {"e", "g", "h"}},
		}, "a>bc b>d c>egh d>f e>f g>f h>f f>!", 500},
	} {
		t.Run(test.name, func(t *testing.T) {
			right, runs := 0, 40
			for seed := range runs {
				synctest.Test(t, func(t *testing.T) {
					test.mesh.seed = uint64(seed) << 32
					n := test.mesh.network()
					params := quick("udp")
					params.Multipath, params.Confidence = true, 95
					r, err := n.prober().Traceroute(t.Context(), "127.0.0.1", params)
					if err != nil {
						t.Fatal(err)
					}
					if drawing(r) == test.want {
						right++
					} else if seed < 3 {
						t.Logf("seed %d: got %s", seed, drawing(r))
					}
					if len(n.sent) > test.most {
						t.Errorf("%d packets, want at most %d", len(n.sent), test.most)
					}
				})
			}
			if right < runs*9/10 { // each hop is right with 95 %, as is each router with uneven shares
				t.Errorf("%d of %d runs found %s", right, runs, test.want)
			}
		})
	}
}

// A hop that answers one packet in three is enumerated as far as it can be.
func TestMultipathOfHopThatRarelyAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := mesh{hops: [][]string{{"a"}, {"b", "c"}, {"d"}}}.network()
		rare := &network{}
		rare.meet = func(n int, r packet.Request) (packet.Reply, error) {
			if r.TTL == 2 && n%3 != 0 {
				return packet.Reply{Kind: packet.NoReply}, nil
			}
			return all.meet(n, r)
		}
		params := quick("udp")
		params.Multipath = true
		r, err := rare.prober().Traceroute(t.Context(), "127.0.0.1", params)
		if err != nil {
			t.Fatal(err)
		}
		if len(rare.sent) > 300 || !slices.ContainsFunc(r.Hops, func(h Hop) bool { return len(h.Branches) > 0 && !h.Settled }) {
			t.Errorf("after %d packets:\n%s", len(rare.sent), textOf(r))
		}
		if !strings.Contains(textOf(r), fmt.Sprint("too few answers to be sure")) {
			t.Errorf("the doubt is not told:\n%s", textOf(r))
		}
	})
}

// Flows whose ways differ in length are followed to the end of the longest.
func TestMultipathOfUnequalLength(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{meet: func(_ int, r packet.Request) (packet.Reply, error) {
			way := [][]string{{"a", "c", "d", "e"}, {"a", "b"}}[r.Flow%2]
			if r.TTL > len(way) {
				return echo(time.Millisecond), nil
			}
			return packet.Reply{Kind: packet.TTLExpired, From: named(way[r.TTL-1]), RTT: time.Millisecond, QuotedTOS: -1}, nil
		}}
		params := quick("udp")
		params.Multipath = true
		r, err := n.prober().Traceroute(t.Context(), "127.0.0.1", params)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := drawing(r), "a>bc b>! c>d d>e e>!"; got != want {
			t.Errorf("got %s, want %s\n%s", got, want, textOf(r))
		}
		judge(t, "traceroute", r)
	})
}
