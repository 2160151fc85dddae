package packet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/natrix-os/natrix/sysinfo/netif/nettest"
)

// open opens an engine on a host until the test ends.
func open(t testing.TB, h *nettest.Host, o Options) *Engine {
	t.Helper()
	var e *Engine
	var err error
	h.Do(func() { e, err = Open(o) })
	if err != nil {
		t.Fatalf("open engine: %v", err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("close engine: %v", err)
		}
	})
	return e
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// do sends a request that has to succeed.
func do(t *testing.T, e *Engine, r Request) Reply {
	t.Helper()
	if r.Timeout == 0 {
		r.Timeout = time.Second
	}
	got, err := e.Do(t.Context(), r)
	if err != nil {
		t.Fatalf("%s to %s: %v", r.Protocol, r.Dst, err)
	}
	return got
}

func TestNetnsLoopback(t *testing.T) {
	e := open(t, nettest.NewHost(t, "h"), Options{})
	v4, v6 := addr("127.0.0.1"), addr("::1")
	for _, c := range []struct {
		name string
		req  Request
		want Kind
	}{
		{"echo", Request{Dst: v4}, EchoReply},
		{"echo to another address", Request{Dst: addr("127.1.2.3")}, EchoReply},
		{"echo v6", Request{Dst: v6}, EchoReply},
		{"mapped address", Request{Dst: addr("::ffff:127.0.0.1")}, EchoReply},
		{"big echo", Request{Dst: v4, Size: MaxSize}, EchoReply},
		{"big echo v6", Request{Dst: v6, Size: MaxSize}, EchoReply},
		{"odd echo", Request{Dst: v4, Size: 77, Pattern: 0xa5}, EchoReply},
		{"odd echo v6", Request{Dst: v6, Size: 77, Pattern: 0xa5}, EchoReply},
		{"small echo", Request{Dst: v4, Size: 1}, EchoReply},
		{"small echo v6", Request{Dst: v6, Size: 1}, EchoReply},
		{"flow", Request{Dst: v4, Flow: 7}, EchoReply},
		{"flow v6", Request{Dst: v6, Flow: 7}, EchoReply},
		{"link", Request{Dst: v4, Link: "lo"}, EchoReply},
		{"link v6", Request{Dst: v6, Link: "lo"}, EchoReply},
		{"source", Request{Dst: v4, Src: addr("127.0.0.9")}, EchoReply},
		{"source v6", Request{Dst: v6, Src: v6}, EchoReply},
		{"mark", Request{Dst: v4, Mark: 5}, EchoReply},
		{"mark v6", Request{Dst: v6, Mark: 5}, EchoReply},
		{"udp", Request{Protocol: UDP, Dst: v4}, PortUnreachable},
		{"udp v6", Request{Protocol: UDP, Dst: v6}, PortUnreachable},
		{"small udp", Request{Protocol: UDP, Dst: v4, Size: 1}, PortUnreachable},
		{"odd udp v6", Request{Protocol: UDP, Dst: v6, Size: 77}, PortUnreachable},
		{"udp destination port", Request{Protocol: UDP, Dst: v4, DstPort: 53}, PortUnreachable},
		{"udp both ports", Request{Protocol: UDP, Dst: v6, SrcPort: 5353, DstPort: 5354}, PortUnreachable},
		{"udp flow", Request{Protocol: UDP, Dst: v4, Flow: 515}, PortUnreachable},
		{"tcp", Request{Protocol: TCP, Dst: v4}, TCPClosed},
		{"tcp v6", Request{Protocol: TCP, Dst: v6}, TCPClosed},
		{"tcp ports", Request{Protocol: TCP, Dst: v4, SrcPort: 99, DstPort: 98}, TCPClosed},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := do(t, e, c.req)
			if r.Kind != c.want || r.Clock != Kernel || r.RTT <= 0 || r.RTT > 100*time.Millisecond || r.TTL != 64 ||
				r.Late || r.Duplicate || r.OutOfOrder || r.Rewritten {
				t.Errorf("got %+v, want %s by the kernel's clock", r, c.want)
			}
			if want := c.req.Dst.Unmap(); r.From != want {
				t.Errorf("got answer from %s, want %s", r.From, want)
			}
			if size := max(c.req.Size, DefaultSize); r.Kind == EchoReply && r.Size != size && c.req.Size != 1 {
				t.Errorf("got %d bytes, want %d", r.Size, size)
			}
		})
	}
	if s := e.Stats(); s.Unmatched+s.Expired+s.Unstamped+s.Overflow != 0 || s.Sent != s.Received || s.InFlight != 0 {
		t.Errorf("got %+v, want everything received", s)
	}
}

func TestNetnsTTLExpired(t *testing.T) {
	h1, h2 := nettest.Line(t, nettest.Router{}, nettest.Router{TTL: 200}, nettest.Router{})
	e := open(t, h1, Options{})
	for _, dst := range []netip.Addr{h2.Addr4, h2.Addr6} {
		router := addr("10.0.1.102")
		if dst.Is6() {
			router = addr("fd00:0:0:1::102")
		}
		for p := ICMP; p <= SCTP; p++ {
			for _, flow := range []uint16{0, 9} {
				r := do(t, e, Request{Protocol: p, Dst: dst, TTL: 2, TOS: 0x2c, Flow: flow})
				if r.Kind != TTLExpired || r.From != router || r.QuotedTTL != 1 || r.QuotedTOS != 0x2c || r.TTL != 199 || r.Rewritten || r.Clock != Kernel {
					t.Errorf("%s flow %d to %s: got %+v, want ttl expired at %s", p, flow, dst, r, router)
				}
			}
		}
	}
}

func TestNetnsRefusals(t *testing.T) {
	for _, c := range []struct {
		refuse nettest.Refusal
		v4, v6 Kind
	}{
		{nettest.NetUnreachable, NetUnreachable, NetUnreachable},
		{nettest.HostUnreachable, HostUnreachable, HostUnreachable},
		{nettest.ProtocolUnreachable, ProtoUnreachable, ParameterProblem},
		{nettest.Prohibited, AdminProhibited, AdminProhibited},
		{nettest.PortUnreachable, PortUnreachable, PortUnreachable},
	} {
		h1, h2 := nettest.Line(t, nettest.Router{Refuse: c.refuse})
		e := open(t, h1, Options{})
		for p := ICMP; p <= SCTP; p++ {
			if r := do(t, e, Request{Protocol: p, Dst: h2.Addr4}); r.Kind != c.v4 || r.From != addr("10.0.1.101") {
				t.Errorf("%s %08x: got %+v, want %s", p, uint32(c.refuse), r, c.v4)
			}
			if r := do(t, e, Request{Protocol: p, Dst: h2.Addr6}); r.Kind != c.v6 || r.From != addr("fd00:0:0:1::101") {
				t.Errorf("%s %08x v6: got %+v, want %s", p, uint32(c.refuse), r, c.v6)
			}
		}
	}
}

// Routers that quote little, with options, with extensions, or what a NAT made of the packet.
func TestNetnsQuotes(t *testing.T) {
	nettest.Need(t)
	mpls := nettest.MPLS(nettest.Label{Label: 16001, TC: 3, TTL: 1}, nettest.Label{Label: 17, TTL: 254})
	other := nettest.Extension{Class: 200, CType: 9, Data: []byte{1, 2, 3, 4}}
	nat := nettest.Router{NAT4: addr("10.0.1.201"), NAT6: addr("fd00:0:0:1::201"), KeepQuote: true}
	for _, c := range []struct {
		name    string
		routers []nettest.Router
		mpls    int
		nat     bool
		only4   bool
	}{
		{"eight bytes", []nettest.Router{{}, {Quote: 28}}, 0, false, true},
		{"eight bytes v6", []nettest.Router{{}, {Quote: 48}}, 0, false, false},
		{"header only", []nettest.Router{{}, {Quote: 20}}, 0, false, true},
		{"four bytes", []nettest.Router{{}, {Quote: 24}}, 0, false, true},
		{"outer options", []nettest.Router{{}, {Options: []byte{1, 1, 1, 1}}}, 0, false, false},
		{"extensions", []nettest.Router{{}, {Extensions: []nettest.Extension{mpls, other}}}, 2, false, false},
		{"extensions without length", []nettest.Router{{}, {Extensions: []nettest.Extension{mpls, other}, Unsized: true, Quote: 128}}, 2, false, false},
		{"extensions after a long quote", []nettest.Router{{}, {Quote: 256, Extensions: []nettest.Extension{mpls, other}}}, 2, false, false},
		{"nat", []nettest.Router{nat, {}}, 0, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			h1, h2 := nettest.Line(t, c.routers...)
			e := open(t, h1, Options{})
			for _, dst := range []netip.Addr{h2.Addr4, h2.Addr6} {
				if dst.Is6() && c.only4 {
					continue
				}
				for p := ICMP; p <= SCTP; p++ {
					r := do(t, e, Request{Protocol: p, Dst: dst, TTL: 2, Size: 400})
					if r.Kind != TTLExpired || r.Rewritten != c.nat || len(r.MPLS) != c.mpls || r.Clock != Kernel {
						t.Errorf("%s to %s: got %+v, want %d labels, rewritten %t", p, dst, r, c.mpls, c.nat)
						continue
					}
					if c.mpls == 0 {
						continue
					}
					if want := (Label{Label: 16001, TC: 3, TTL: 1}); r.MPLS[0] != want {
						t.Errorf("got label %+v, want %+v", r.MPLS[0], want)
					}
					if x := r.Extensions; len(x) != 1 || x[0].Class != 200 || x[0].CType != 9 || string(x[0].Data) != "\x01\x02\x03\x04" {
						t.Errorf("got extensions %+v, want %+v", x, other)
					}
				}
			}
		})
	}
}

func TestNetnsTooBig(t *testing.T) {
	h1, h2 := nettest.Line(t, nettest.Router{}, nettest.Router{MTU: 1300})
	e := open(t, h1, Options{})
	if r := do(t, e, Request{Dst: h2.Addr4, Size: 1400, DontFragment: true}); r.Kind != TooBig || r.MTU != 1300 {
		t.Errorf("got %+v, want too big, mtu 1300", r)
	}
	if r := do(t, e, Request{Dst: h2.Addr6, Size: 1400}); r.Kind != TooBig || r.MTU != 1300 {
		t.Errorf("v6: got %+v, want too big, mtu 1300", r)
	}
	if r := do(t, e, Request{Dst: h2.Addr4, Size: 1400}); r.Kind != EchoReply {
		t.Errorf("in fragments: got %+v, want echo reply", r)
	}
	if _, err := e.Do(t.Context(), Request{Dst: h2.Addr4, Size: 60000, DontFragment: true}); !errors.Is(err, unix.EMSGSIZE) {
		t.Errorf("beyond the link: got %v, want EMSGSIZE", err)
	}
	if do(t, e, Request{Dst: h2.Addr6, Size: 1400}); do(t, e, Request{Dst: h2.Addr6, Size: 1400}).Kind != EchoReply { // h2 has to learn it too
		t.Error("v6 now in fragments: no echo reply")
	}
	for _, dst := range []netip.Addr{h2.Addr4, h2.Addr6} {
		if r := do(t, e, Request{Protocol: UDP, Dst: dst, Size: 5000}); r.Kind != PortUnreachable {
			t.Errorf("big udp: got %+v, want port unreachable", r)
		}
	}
}

// A narrow hop is seen again although the kernel has learned of it.
func TestNetnsTooBigAgain(t *testing.T) {
	h1, h2 := nettest.Line(t, nettest.Router{}, nettest.Router{MTU: 1300})
	e := open(t, h1, Options{})
	for range 3 { // after the first the kernel knows, and yet it is the router that says so
		for _, dst := range []netip.Addr{h2.Addr4, h2.Addr6} {
			if r := do(t, e, Request{Dst: dst, Size: 1400, DontFragment: true}); r.Kind != TooBig || r.MTU != 1300 {
				t.Errorf("got %+v, want too big, mtu 1300", r)
			}
			if r := do(t, e, Request{Dst: dst, Size: 1300, DontFragment: true}); r.Kind != EchoReply {
				t.Errorf("what fits: got %+v, want echo reply", r)
			}
		}
	}
}

// A TCP probe is never accepted by the target, and data of an open UDP port is a reply.
func TestNetnsOpenPorts(t *testing.T) {
	hosts := nettest.Chain(t, "h1", "r1", "h2")
	e := open(t, hosts[0], Options{})
	h2 := hosts[2]
	var tcp net.Listener
	var udp net.PacketConn
	h2.Do(func() {
		var err error
		if tcp, err = net.Listen("tcp", ":80"); err != nil {
			t.Fatal(err)
		}
		if udp, err = net.ListenPacket("udp", ":7"); err != nil {
			t.Fatal(err)
		}
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 100)
		for {
			_, from, err := udp.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = udp.WriteTo([]byte("hello"), from)
		}
	}()
	for _, dst := range []netip.Addr{h2.Addr4, h2.Addr6} {
		for range 300 { // more often than there are source ports
			if r := do(t, e, Request{Protocol: TCP, Dst: dst}); r.Kind != TCPOpen || r.From != dst || r.TTL != 63 || r.Clock != Kernel {
				t.Fatalf("tcp to %s: got %+v, want open", dst, r)
			}
		}
		for _, flow := range []uint16{0, 0, 3, 3} {
			if r := do(t, e, Request{Protocol: UDP, Dst: dst, DstPort: 7, Flow: flow}); r.Kind != UDPReply || r.From != dst || r.Clock != Kernel {
				t.Errorf("udp to %s: got %+v, want data", dst, r)
			}
		}
		if r := do(t, e, Request{Protocol: UDP, Dst: dst, SrcPort: 4000, DstPort: 7}); r.Kind != UDPReply {
			t.Errorf("udp from port 4000 to %s: got %+v, want data", dst, r)
		}
	}
	_ = tcp.(*net.TCPListener).SetDeadline(time.Now().Add(50 * time.Millisecond))
	if c, err := tcp.Accept(); err == nil {
		t.Errorf("the target accepted a connection from %s", c.RemoteAddr())
	}
	tcp.Close()
	udp.Close()
	<-done
}

func TestNetnsErrors(t *testing.T) {
	h := nettest.NewHost(t, "h")
	for prefix, kind := range map[string]int{"192.0.2.0/24": unix.RTN_UNREACHABLE, "198.51.100.0/24": unix.RTN_PROHIBIT,
		"2001:db8:1::/48": unix.RTN_UNREACHABLE, "2001:db8:2::/48": unix.RTN_PROHIBIT} {
		h.AddRoute(netip.MustParsePrefix(prefix), kind)
	}
	e := open(t, h, Options{InFlight: 4})
	for _, c := range []struct {
		name string
		req  Request
		want error
	}{
		{"no route", Request{Dst: addr("203.0.113.1")}, unix.ENETUNREACH},
		{"no route udp", Request{Protocol: UDP, Dst: addr("203.0.113.1")}, unix.ENETUNREACH},
		{"no route v6", Request{Dst: addr("2001:db8::1")}, unix.ENETUNREACH},
		{"unreachable", Request{Dst: addr("192.0.2.1")}, unix.EHOSTUNREACH},
		{"unreachable v6", Request{Dst: addr("2001:db8:1::1")}, unix.EHOSTUNREACH},
		{"prohibited", Request{Dst: addr("198.51.100.1")}, unix.EACCES},
		{"prohibited v6", Request{Dst: addr("2001:db8:2::1")}, unix.EACCES},
		{"foreign source", Request{Dst: addr("127.0.0.1"), Src: addr("192.0.2.9")}, unix.EADDRNOTAVAIL},
		{"foreign source v6", Request{Dst: addr("::1"), Src: addr("2001:db8::9")}, unix.EADDRNOTAVAIL},
		{"no link", Request{Dst: addr("127.0.0.1"), Link: "eth77"}, ErrNoLink},
		{"no link in zone", Request{Dst: addr("fe80::1%eth77")}, ErrNoLink},
		{"no destination", Request{}, ErrInvalid},
		{"families", Request{Dst: addr("::1"), Src: addr("127.0.0.1")}, ErrInvalid},
		{"ttl", Request{Dst: addr("::1"), TTL: 256}, ErrInvalid},
		{"tos", Request{Dst: addr("::1"), TOS: -1}, ErrInvalid},
		{"size", Request{Dst: addr("::1"), Size: 65536}, ErrInvalid},
		{"timeout", Request{Dst: addr("::1"), Timeout: -1}, ErrInvalid},
		{"protocol", Request{Dst: addr("::1"), Protocol: 9}, ErrInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			if r, err := e.Do(t.Context(), c.req); !errors.Is(err, c.want) {
				t.Errorf("got %+v, %v, want %v", r, err, c.want)
			}
		})
	}
	if n := e.Stats().InFlight; n != 0 {
		t.Errorf("got %d in flight after errors, want 0", n)
	}
}

// A source port belongs to one engine of a host at a time, and an engine does
// not keep more of them than it needs.
func TestNetnsNamedPorts(t *testing.T) {
	h1, h2 := nettest.Line(t, nettest.Router{}, nettest.Router{})
	e, other := open(t, h1, Options{}), open(t, h1, Options{})
	for port := range uint16(5 * maxNamed) {
		r := do(t, e, Request{Protocol: UDP, Dst: h2.Addr4, SrcPort: 1024 + port, DstPort: 33000, TTL: 2})
		if r.Kind != TTLExpired {
			t.Fatalf("port %d: got %+v, want ttl expired", 1024+port, r)
		}
	}
	if n := len(e.table.named); n > maxNamed {
		t.Errorf("got %d ports claimed, want at most %d", n, maxNamed)
	}
	last := uint16(1024 + 5*maxNamed - 1)
	if _, err := other.Do(t.Context(), Request{Protocol: TCP, Dst: h2.Addr4, SrcPort: last}); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("port of another engine: got %v, want EADDRINUSE", err)
	}
	if _, err := other.Do(t.Context(), Request{Protocol: TCP, Dst: h2.Addr4, SrcPort: e.table.lanes[0].blocks[0].base() + 3}); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("port of another engine's block: got %v, want EADDRINUSE", err)
	}
}

func TestNetnsContextEndsDo(t *testing.T) {
	h1, h2 := nettest.Line(t, nettest.Router{BlackHole: true})
	e := open(t, h1, Options{InFlight: 1})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := e.Do(ctx, Request{Dst: h2.Addr4}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want deadline exceeded", err)
	}
	if r := do(t, e, Request{Dst: h2.Addr4, Timeout: 30 * time.Millisecond}); r.Kind != NoReply {
		t.Errorf("got %+v, want no reply", r)
	}
}

func TestNetnsTooManyInFlight(t *testing.T) {
	h1, h2 := nettest.Line(t, nettest.Router{BlackHole: true})
	e := open(t, h1, Options{InFlight: 3})
	s := e.NewStream(10)
	s.Submit(make([]Request, 0))
	if n := s.Submit([]Request{{Dst: h2.Addr4, Timeout: time.Minute}, {Dst: h2.Addr4}, {Dst: h2.Addr4}, {Tag: 4, Dst: h2.Addr4}}); n != 4 {
		t.Errorf("got %d submitted, want 4", n)
	}
	var got [10]Result
	n, err := s.Wait(t.Context(), got[:])
	if n != 1 || err != nil || got[0].Tag != 4 || !errors.Is(got[0].Err, ErrTooMany) {
		t.Errorf("got %+v, %v, want the fourth refused", got[:n], err)
	}
}

func TestNetnsCloseEndsRequests(t *testing.T) {
	h1, h2 := nettest.Line(t, nettest.Router{BlackHole: true})
	var e *Engine
	h1.Do(func() { e, _ = Open(Options{}) })
	errs := make(chan error)
	go func() {
		_, err := e.Do(context.Background(), Request{Dst: h2.Addr4, Timeout: time.Hour})
		errs <- err
	}()
	for e.Stats().InFlight == 0 {
		time.Sleep(time.Millisecond)
	}
	if err := e.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if err := <-errs; !errors.Is(err, ErrClosed) {
		t.Errorf("in flight: got %v, want closed", err)
	}
	if _, err := e.Do(t.Context(), Request{Dst: h2.Addr4}); !errors.Is(err, ErrClosed) {
		t.Errorf("after close: got %v, want closed", err)
	}
}

// Two ways to h2, of which each request chooses one:
//
//	     1 ┌── a ──┐ 3
//	h1 ────┤       ├──── h2
//	     2 └── b ──┘ 4
func TestNetnsLink(t *testing.T) {
	n := nettest.New(t)
	h1, a, b, h2 := n.Host("h1"), n.Host("a"), n.Host("b"), n.Host("h2")
	n.Connect(h1, a)
	n.Connect(h1, b)
	n.Connect(a, h2)
	n.Connect(b, h2)
	n.Route()
	e := open(t, h1, Options{})
	target4, target6 := addr("198.51.100.1"), addr("2001:db8::1")
	routes := map[*nettest.Host][]netip.Addr{
		h1: {addr("10.0.1.2"), addr("10.0.2.2"), addr("fd00:0:0:1::2"), addr("fd00:0:0:2::2")},
		a:  {addr("10.0.3.2"), addr("fd00:0:0:3::2")},
		b:  {addr("10.0.4.2"), addr("fd00:0:0:4::2")},
	}
	for h, via := range routes {
		h.AddRoute(netip.MustParsePrefix("198.51.100.0/24"), unix.RTN_UNICAST, via[:len(via)/2]...)
		h.AddRoute(netip.MustParsePrefix("2001:db8::/48"), unix.RTN_UNICAST, via[len(via)/2:]...)
	}
	for link, hop := range map[string][2]string{"a": {"10.0.1.2", "fd00:0:0:1::2"}, "b": {"10.0.2.2", "fd00:0:0:2::2"}} {
		for p := ICMP; p <= SCTP; p++ {
			for i, dst := range []netip.Addr{target4, target6} {
				for flow := range uint16(4) {
					r := do(t, e, Request{Protocol: p, Dst: dst, Link: link, TTL: 1, Flow: flow})
					if r.Kind != TTLExpired || r.From != addr(hop[i]) {
						t.Errorf("%s to %s by %s: got %+v, want ttl expired at %s", p, dst, link, r, hop[i])
					}
				}
				if r := do(t, e, Request{Dst: dst, Link: link, TTL: 1, Size: 5000}); r.Kind != TTLExpired || r.From != addr(hop[i]) {
					t.Errorf("in fragments to %s by %s: got %+v, want ttl expired at %s", dst, link, r, hop[i])
				}
			}
		}
	}
}

func TestNetnsLinkLocal(t *testing.T) {
	hosts := nettest.Chain(t, "h1", "h2")
	e := open(t, hosts[0], Options{})
	link, err := hosts[1].Netlink.LinkByName("h1")
	if err != nil {
		t.Fatal(err)
	}
	addrs, err := hosts[1].Netlink.AddrList(link, unix.AF_INET6)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		local, _ := netip.AddrFromSlice(a.IP)
		if !local.IsLinkLocalUnicast() {
			continue
		}
		dst := local.WithZone("h2")
		for p, want := range map[Protocol]Kind{ICMP: EchoReply, UDP: PortUnreachable, TCP: TCPClosed} {
			if r := do(t, e, Request{Protocol: p, Dst: dst}); r.Kind != want || r.From != dst {
				t.Errorf("%s: got %+v, want %s from %s", p, r, want, dst)
			}
		}
		return
	}
	t.Errorf("got addresses %v, none of them link-local", addrs)
}

// The routes of a running host change, and the engine follows.
func TestNetnsRoutesChange(t *testing.T) {
	hosts := nettest.Chain(t, "h1", "r1", "h2")
	e := open(t, hosts[0], Options{})
	udp := Request{Protocol: UDP, Dst: hosts[2].Addr4}
	if r := do(t, e, udp); r.Kind != PortUnreachable {
		t.Fatalf("got %+v, want port unreachable", r)
	}
	hosts[0].Unplug("r1")
	if _, err := e.Do(t.Context(), udp); !errors.Is(err, unix.ENETUNREACH) {
		t.Errorf("unplugged: got %v, want ENETUNREACH", err)
	}
}

// A receive buffer that is too small shows as such, not only as loss.
func TestNetnsOverflow(t *testing.T) {
	e := open(t, nettest.NewHost(t, "h"), Options{Buffer: 1})
	s := e.NewStream(1000)
	requests, results := make([]Request, 1000), make([]Result, 1000)
	for i := range requests {
		requests[i] = Request{Dst: addr("127.0.0.1"), Size: 1000, Timeout: 100 * time.Millisecond}
	}
	s.Submit(requests)
	lost := 0
	for {
		n, err := s.Wait(t.Context(), results)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
		for _, r := range results[:n] {
			if r.Reply.Kind == NoReply {
				lost++
			}
		}
	}
	do(t, e, Request{Dst: addr("127.0.0.1")}) // brings the last count
	if n := e.Stats().Overflow; n == 0 || lost == 0 {
		t.Errorf("got %d packets lost, %d overflows, want both", lost, n)
	}
}

// A host whose engine is quiet does not pay for TCP that is not the engine's,
// and the engine hears again when it has to.
func TestNetnsRest(t *testing.T) {
	e := open(t, nettest.NewHost(t, "h"), Options{})
	tcp := Request{Protocol: TCP, Dst: addr("127.0.0.1")}
	for range 2 {
		if r := do(t, e, tcp); r.Kind != TCPClosed {
			t.Fatalf("got %+v, want closed", r)
		}
		e.mu.Lock()
		if at := e.linger(e.launched + 1); at != e.launched+int64(attention) || e.resting {
			t.Errorf("just after a packet: got rest %t, at %d", e.resting, at)
		}
		if at := e.linger(e.launched + int64(attention)); at != e.launched+int64(lingering) || e.resting || !e.poller.open.Load() {
			t.Errorf("with nothing in flight: got rest %t, at %d, listening %t", e.resting, at, e.poller.open.Load())
		}
		if at := e.linger(e.launched + int64(lingering)); at != never || !e.resting {
			t.Errorf("after a while: got rest %t, at %d", e.resting, at)
		}
		for _, r := range e.receivers {
			if (r.where == everywhere) != (r.protocol == ICMP) {
				t.Errorf("%s: got listening %t", r.protocol, r.where)
			}
		}
		e.mu.Unlock()
	}
}

// What one packet asks for does not stick to the socket that it shares.
func TestNetnsNothingSticks(t *testing.T) {
	h1, h2 := nettest.Line(t, nettest.Router{}, nettest.Router{})
	if out, err := h1.Run("ip", "rule", "add", "fwmark", "5", "unreachable"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := h1.Run("ip", "-6", "rule", "add", "fwmark", "5", "unreachable"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	e := open(t, h1, Options{})
	for _, dst := range []netip.Addr{h2.Addr4, h2.Addr6} {
		for p := ICMP; p <= UDP; p++ {
			for _, size := range []int{64, 3000} {
				if r, err := e.Do(t.Context(), Request{Protocol: p, Dst: dst, Size: size, Mark: 5}); !errors.Is(err, unix.ENETUNREACH) {
					t.Errorf("%s to %s with a mark: got %+v, %v, want ENETUNREACH", p, dst, r, err)
				}
				for ttl := 1; ttl <= 2; ttl++ {
					for _, tos := range []int{0x20, 0, 0xb8} {
						r := do(t, e, Request{Protocol: p, Dst: dst, Size: size, TTL: ttl, TOS: tos})
						router := addr("10.0.1.101")
						if dst.Is6() {
							router = addr("fd00:0:0:1::101")
						}
						if ttl == 2 {
							router = router.Next()
						}
						if r.Kind != TTLExpired || r.From != router || r.QuotedTOS != tos {
							t.Errorf("%s to %s, %d bytes, ttl %d, tos %#x: got %+v", p, dst, size, ttl, tos, r)
						}
					}
				}
			}
		}
	}
}

// The target sees the source that a request asks for, and no other afterwards.
func TestNetnsSource(t *testing.T) {
	hosts := nettest.Chain(t, "h1", "h2")
	h1, h2 := hosts[0], hosts[1]
	second4, second6 := netip.MustParsePrefix("10.0.1.77/24"), netip.MustParsePrefix("fd00:0:0:1::77/64")
	h1.AddAddr("h2", second4)
	h1.AddAddr("h2", second6)
	var server net.PacketConn
	h2.Do(func() {
		var err error
		if server, err = net.ListenPacket("udp", ":7"); err != nil {
			t.Fatal(err)
		}
	})
	defer server.Close()
	e := open(t, h1, Options{})
	for _, c := range []struct{ dst, src, first netip.Addr }{
		{h2.Addr4, second4.Addr(), h1.Addr4}, {h2.Addr6, second6.Addr(), h1.Addr6},
	} {
		for _, size := range []int{64, 3000} {
			for _, src := range []netip.Addr{c.src, c.first, c.src} {
				go e.Do(t.Context(), Request{Protocol: UDP, Dst: c.dst, Src: src, DstPort: 7, Size: size, Timeout: 20 * time.Millisecond})
				_ = server.SetReadDeadline(time.Now().Add(time.Second))
				b := make([]byte, 4000)
				n, from, err := server.ReadFrom(b)
				if err != nil {
					t.Fatalf("%d bytes from %s: %v", size, src, err)
				}
				if got := from.(*net.UDPAddr).AddrPort().Addr().Unmap(); got != src {
					t.Errorf("%d bytes: got source %s, want %s", n, got, src)
				}
			}
		}
	}
}

// Engines leave neither descriptors nor goroutines behind, and a host without
// IPv6 is no obstacle.
func TestNetnsCloseLeavesNothing(t *testing.T) {
	h := nettest.NewHost(t, "h")
	h.Sysctl("net.ipv6.conf.all.disable_ipv6", "1")
	files := func() int {
		all, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	cycle := func() {
		var e *Engine
		h.Do(func() {
			var err error
			if e, err = Open(Options{}); err != nil {
				t.Fatal(err)
			}
		})
		if r := do(t, e, Request{Protocol: TCP, Dst: addr("127.0.0.1"), SrcPort: 999}); r.Kind != TCPClosed {
			t.Errorf("got %+v, want closed", r)
		}
		if r, err := e.Do(t.Context(), Request{Dst: addr("::1")}); err == nil {
			t.Errorf("v6: got %+v, want an error", r)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		if err := e.Close(); err != nil {
			t.Errorf("second close: %v", err)
		}
	}
	cycle()
	before, running := files(), runtime.NumGoroutine()
	for range 20 {
		cycle()
	}
	if n := files(); n > before {
		t.Errorf("got %d descriptors, %d before", n, before)
	}
	if n := runtime.NumGoroutine(); n > running {
		t.Errorf("got %d goroutines, %d before", n, running)
	}
}

// Many goroutines share an engine, and some of them lose patience.
func TestNetnsConcurrentDo(t *testing.T) {
	nettest.Need(t)
	for _, o := range []Options{{}, {Unprivileged: true}} {
		t.Run(fmt.Sprintf("unprivileged=%t", o.Unprivileged), func(t *testing.T) { concurrentDo(t, o) })
	}
}

func concurrentDo(t *testing.T, o Options) {
	h1, h2 := nettest.Line(t, nettest.Router{Delay: time.Millisecond})
	h1.Sysctl("net.ipv4.ping_group_range", "0 0")
	e := open(t, h1, o)
	var wg sync.WaitGroup
	for g := range 40 {
		wg.Go(func() {
			for i := range 50 {
				dst := []netip.Addr{h2.Addr4, h2.Addr6, addr("127.0.0.1")}[(g+i)%3]
				req := Request{Protocol: Protocol(i % 3), Dst: dst, Timeout: 5 * time.Second, TTL: 1 + (g+i)%2}
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+g%2*5000)*time.Millisecond)
				r, err := e.Do(ctx, req)
				cancel()
				if err != nil && (g%2 == 1 || !errors.Is(err, context.DeadlineExceeded)) {
					t.Errorf("%+v: %v", req, err)
				}
				if want := req.TTL == 1 && !dst.IsLoopback(); err == nil && (r.Kind == TTLExpired) != want {
					t.Errorf("%+v: got %+v, want ttl expired %t", req, r, want)
				}
			}
		})
	}
	wg.Wait()
	if n := e.Stats().InFlight; n != 0 {
		t.Errorf("got %d in flight after all, want 0", n)
	}
}

func TestNetnsTimeout(t *testing.T) {
	h1, h2 := nettest.Line(t, nettest.Router{BlackHole: true})
	e := open(t, h1, Options{})
	for _, timeout := range []time.Duration{1, time.Millisecond, 30 * time.Millisecond, 300 * time.Millisecond} {
		start := time.Now()
		r := do(t, e, Request{Dst: h2.Addr4, Timeout: timeout})
		if took := time.Since(start); r.Kind != NoReply || took < timeout || took > timeout+200*time.Millisecond {
			t.Errorf("got %s after %s, want no reply after %s", r.Kind, took, timeout)
		}
	}
}

// A wall clock that is set while a packet is in flight does not change its RTT.
// The clock of this machine is not for tests to set, so what the engine noted of
// it at departure is, which is all that it compares later readings with.
func TestNetnsClockStep(t *testing.T) {
	const delay = 50 * time.Millisecond
	h1, h2 := nettest.Line(t, nettest.Router{Delay: delay})
	e := open(t, h1, Options{})
	for _, step := range []time.Duration{0, time.Hour, -time.Hour, 10 * time.Millisecond, -10 * time.Millisecond} {
		s := e.NewStream(1)
		s.Submit([]Request{{Dst: h2.Addr4}})
		e.mu.Lock()
		s.newest.offset.ns -= int64(step)
		e.mu.Unlock()
		var got [1]Result
		if n, err := s.Wait(t.Context(), got[:]); n != 1 || err != nil {
			t.Fatalf("step of %s: got %d results, %v", step, n, err)
		}
		want := Monotonic
		if step == 0 {
			want = Kernel
		}
		if r := got[0].Reply; r.Kind != EchoReply || r.Clock != want || r.RTT < 2*delay || r.RTT > time.Minute {
			t.Errorf("step of %s: got %+v, want by the %s clock, at least %s", step, r, want, 2*delay)
		}
	}
}
