package packet

import (
	"errors"
	"net"
	"net/netip"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/natrix-os/natrix/sysinfo/netif/nettest"
)

// without runs f on a thread that lacks a capability meanwhile.
func without(t *testing.T, capability uint, f func()) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var had, has [2]unix.CapUserData
	if err := unix.Capget(&header, &had[0]); err != nil {
		t.Fatal(err)
	}
	has = had
	has[capability/32].Effective &^= 1 << (capability % 32)
	if err := unix.Capset(&header, &has[0]); err != nil {
		t.Fatal(err)
	}
	f()
	if err := unix.Capset(&header, &had[0]); err != nil {
		t.Fatal(err)
	}
}

func TestNetnsUnprivileged(t *testing.T) {
	stack := []nettest.Extension{nettest.MPLS(nettest.Label{Label: 16001, TC: 3, TTL: 1})}
	h1, h2 := nettest.Line(t, nettest.Router{}, nettest.Router{Extensions: stack}, nettest.Router{})
	h1.Sysctl("net.ipv4.ping_group_range", "0 0")
	var e *Engine
	without(t, unix.CAP_NET_RAW, func() { e = open(t, h1, Options{}) })
	if e.Privileged() {
		t.Fatal("got raw sockets without CAP_NET_RAW")
	}
	var listener net.Listener
	h2.Do(func() {
		var err error
		if listener, err = net.Listen("tcp", ":80"); err != nil {
			t.Fatal(err)
		}
	})
	defer listener.Close()
	for _, dst := range []netip.Addr{h2.Addr4, h2.Addr6} {
		router := addr("10.0.1.102")
		if dst.Is6() {
			router = addr("fd00:0:0:1::102")
		}
		for _, c := range []struct {
			req   Request
			want  Kind
			from  netip.Addr
			clock Clock
		}{
			{Request{}, EchoReply, dst, Kernel},
			{Request{Size: 1200, TTL: 9, TOS: 8}, EchoReply, dst, Kernel},
			{Request{TTL: 2}, TTLExpired, router, Kernel},
			{Request{Protocol: UDP}, PortUnreachable, dst, Kernel},
			{Request{Protocol: UDP, TTL: 2}, TTLExpired, router, Kernel},
			{Request{Protocol: TCP}, TCPOpen, dst, Monotonic},
			{Request{Protocol: TCP, DstPort: 81}, TCPClosed, dst, Monotonic},
			{Request{Protocol: TCP, TTL: 2}, TTLExpired, router, Monotonic},
			{Request{Protocol: UDP, SrcPort: 4000, DstPort: 4001}, PortUnreachable, dst, Kernel},
		} {
			c.req.Dst = dst
			if r := do(t, e, c.req); r.Kind != c.want || r.From != c.from || r.Clock != c.clock || r.RTT <= 0 {
				t.Errorf("%+v: got %+v, want %s from %s by the %s clock", c.req, r, c.want, c.from, c.clock)
			} else if r.Kind == TTLExpired && (len(r.MPLS) != 1 || r.MPLS[0].Label != 16001) {
				t.Errorf("%+v: got labels %+v, want 16001", c.req, r.MPLS)
			}
		}
	}
	if _, err := e.Do(t.Context(), Request{Protocol: SCTP, Dst: h2.Addr4}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("sctp: got %v, want unsupported", err)
	}
	if n := len(e.plain.flights); n != 0 {
		t.Errorf("got %d sockets left, want 0", n)
	}
}
