package packet

import (
	"net/netip"
	"testing"
	"time"
)

func TestNetnsLoopback(t *testing.T) {
	namespace(t)
	e := open(t, Options{})
	for _, c := range []struct {
		name string
		req  Request
		want Kind
	}{
		{"echo", Request{Dst: netip.MustParseAddr("127.0.0.1")}, EchoReply},
		{"echo to another address", Request{Dst: netip.MustParseAddr("127.1.2.3")}, EchoReply},
		{"echo v6", Request{Dst: netip.MustParseAddr("::1")}, EchoReply},
		{"big echo", Request{Dst: netip.MustParseAddr("127.0.0.1"), Size: 65000}, EchoReply},
		{"big echo v6", Request{Dst: netip.MustParseAddr("::1"), Size: 65000}, EchoReply},
		{"small echo", Request{Dst: netip.MustParseAddr("127.0.0.1"), Size: 28}, EchoReply},
		{"flow", Request{Dst: netip.MustParseAddr("127.0.0.1"), Flow: 7}, EchoReply},
		{"flow v6", Request{Dst: netip.MustParseAddr("::1"), Flow: 7}, EchoReply},
		{"link", Request{Dst: netip.MustParseAddr("127.0.0.1"), Link: "lo"}, EchoReply},
		{"link v6", Request{Dst: netip.MustParseAddr("::1"), Link: "lo"}, EchoReply},
		{"source", Request{Dst: netip.MustParseAddr("127.0.0.1"), Src: netip.MustParseAddr("127.0.0.9")}, EchoReply},
		{"udp", Request{Protocol: UDP, Dst: netip.MustParseAddr("127.0.0.1")}, PortUnreachable},
		{"udp v6", Request{Protocol: UDP, Dst: netip.MustParseAddr("::1")}, PortUnreachable},
		{"udp both ports", Request{Protocol: UDP, Dst: netip.MustParseAddr("::1"), SrcPort: 5353, DstPort: 5354}, PortUnreachable},
		{"tcp", Request{Protocol: TCP, Dst: netip.MustParseAddr("127.0.0.1")}, TCPClosed},
		{"tcp v6", Request{Protocol: TCP, Dst: netip.MustParseAddr("::1")}, TCPClosed},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.req.Timeout = time.Second
			r, err := e.Do(t.Context(), c.req)
			if err != nil {
				t.Fatal(err)
			}
			if r.Kind != c.want || r.Clock != Kernel || r.RTT <= 0 || r.RTT > 100*time.Millisecond || r.Late || r.Duplicate || r.OutOfOrder || r.Rewritten {
				t.Errorf("got %+v, want %s by the kernel clock", r, c.want)
			}
			if r.From != c.req.Dst {
				t.Errorf("from %s, want %s", r.From, c.req.Dst)
			}
		})
	}
	t.Logf("%+v", e.Stats())
}
