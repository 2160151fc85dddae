package probe

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/natrix-os/natrix/agent/command"
	"github.com/natrix-os/natrix/agent/packet"
	"golang.org/x/sys/unix"
)

func router(ttl int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(ttl)}) }

// route is a network with a router at each distance before the destination.
// Silent ones do not answer; the last may refuse.
func route(length int, silent map[int]bool, refuse packet.Kind) *network {
	return &network{meet: func(_ int, r packet.Request) (packet.Reply, error) {
		rtt := time.Duration(min(r.TTL, length)) * 10 * time.Millisecond
		switch {
		case silent[r.TTL]:
			return packet.Reply{Kind: packet.NoReply}, nil
		case r.TTL < length:
			return packet.Reply{Kind: packet.TTLExpired, From: router(r.TTL), RTT: rtt, TTL: 64 - r.TTL}, nil
		case refuse != packet.NoReply:
			return packet.Reply{Kind: refuse, From: router(length), RTT: rtt}, nil
		}
		return echo(rtt), nil
	}}
}

func TestTraceroute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := route(5, map[int]bool{2: true}, packet.NoReply)
		begin := time.Now()
		r, body := run(t, n.prober(), "traceroute", "127.0.0.1", map[string]string{"numeric": "true"})
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		hops := r.Data.(*TracerouteResult).Hops
		if len(hops) != 5 || len(hops[0].Probes) != 3 || !r.Data.(*TracerouteResult).Reached {
			t.Errorf("got %+v", hops)
		}
		if near, silent := hops[0].Loss(), hops[1].Loss(); near != 0 || silent != 1 {
			t.Errorf("loss of hop 1 is %v, of hop 2 %v", near, silent)
		}
		for _, want := range []string{
			`"data":[{"seq":1,"routes":[{"ip":"192.0.2.1","hostname":"192.0.2.1","location":{"country":"0"`, `"response_times":10,`,
			`{"seq":2,"routes":[{"ip":"*","hostname":"*","location":null,"response_times":0},`, `{"seq":5,"routes":[{"ip":"127.0.0.1"`,
		} {
			if !strings.Contains(body, want) {
				t.Errorf("missing %s in %s", want, body)
			}
		}
		if took := time.Since(begin); took > 4*time.Second {
			t.Errorf("took %v, want about one timeout", took)
		}
		furthest := 0
		for _, s := range n.sent {
			furthest = max(furthest, s.TTL)
			if s.Flow != 1 {
				t.Errorf("flow %d: the path may change", s.Flow)
			}
		}
		if furthest > 12 {
			t.Errorf("looked %d hops far for a destination at 5", furthest)
		}
	})
}

func TestTracerouteEnds(t *testing.T) {
	for _, test := range []struct {
		name    string
		network *network
		params  map[string]string
		hops    int
		want    string
	}{
		{"refused", route(3, nil, packet.HostUnreachable), nil, 3, `"annotation":"!H"`},
		{"prohibited", route(3, nil, packet.AdminProhibited), nil, 3, `"annotation":"!X"`},
		{"nobody answers", route(1, map[int]bool{1: true, 2: true, 3: true, 4: true}, packet.NoReply), map[string]string{"max_hops": "4"}, 4, `"ip":"*"`},
		{"udp to a closed port", route(3, nil, packet.PortUnreachable), map[string]string{"protocol": "udp"}, 3, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				params := map[string]string{"numeric": "1"}
				for k, v := range test.params {
					params[k] = v
				}
				r, body := run(t, test.network.prober(), "traceroute", "127.0.0.1", params)
				if r.Err != nil || !strings.Contains(body, test.want) {
					t.Fatalf("got %v, %s", r.Err, body)
				}
				if got := len(r.Data.(*TracerouteResult).Hops); got != test.hops {
					t.Errorf("got %d hops, want %d", got, test.hops)
				}
			})
		})
	}
}

func TestTracerouteParameters(t *testing.T) {
	for _, test := range []struct {
		params   map[string]string
		protocol packet.Protocol
		port     uint16
	}{
		{nil, packet.ICMP, 0},
		{map[string]string{"protocol": "UDP"}, packet.UDP, 53},
		{map[string]string{"traceroute_tcp": "true"}, packet.TCP, 80},
		{map[string]string{"protocol": "tcp", "port": "443"}, packet.TCP, 443},
	} {
		synctest.Test(t, func(t *testing.T) {
			n := route(1, nil, packet.NoReply)
			params := map[string]string{"numeric": "1"}
			for k, v := range test.params {
				params[k] = v
			}
			if r, _ := run(t, n.prober(), "traceroute", "127.0.0.1", params); r.Err != nil {
				t.Fatal(r.Err)
			}
			if got := n.sent[0]; got.Protocol != test.protocol || got.DstPort != test.port {
				t.Errorf("%v: sent %v to port %d", test.params, got.Protocol, got.DstPort)
			}
		})
	}
	if r, _ := run(t, (&network{}).prober(), "traceroute", "127.0.0.1", map[string]string{"protocol": "carrier pigeon"}); !errors.Is(r.Err, command.ErrParameter) {
		t.Errorf("got %v", r.Err)
	}
}

func TestTracerouteThatCannotBeSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{meet: func(int, packet.Request) (packet.Reply, error) {
			return packet.Reply{}, fmt.Errorf("send: %w", unix.EHOSTUNREACH)
		}}
		r, body := run(t, n.prober(), "traceroute", "127.0.0.1", nil)
		if !errors.Is(r.Err, command.ErrUnreachable) || !strings.Contains(body, `"errorcode":102`) {
			t.Errorf("got %v, %s", r.Err, body)
		}
	})
}
