package packet

import (
	"net"
	"net/netip"
	"testing"

	"golang.org/x/net/icmp"
)

func netInterface(index int, name string, mtu int) *net.Interface {
	return &net.Interface{Index: index, Name: name, MTU: mtu}
}

func ipAddr(s string) *net.IPAddr { return &net.IPAddr{IP: net.ParseIP(s)} }

// received feeds bytes to everything that takes them from the network.
func received(b []byte) (all []sighting) {
	if s, ok := parse4(b); ok {
		all = append(all, s)
	}
	for p := ICMP; p <= SCTP; p++ {
		if s, ok := parse6(p, b, addr("fd00::9"), addr("fd00::1"), 60, len(b)); ok {
			all = append(all, s)
		}
	}
	return all
}

// FuzzReceived wants no panic and no nonsense from any bytes, and that they
// are taken for an answer to a packet only if they name what that packet has.
func FuzzReceived(f *testing.F) {
	labels := &icmp.MPLSLabelStack{Class: 1, Type: 1, Labels: []icmp.MPLSLabel{{Label: 1, TTL: 2}}}
	link := &icmp.InterfaceInfo{Class: 2, Type: 0x0f, Interface: netInterface(15, "en101", 8192), Addr: ipAddr("2001:db8::1")}
	var flights []*flight
	for _, r := range requests() {
		b, fl := packed(r, 7)
		flights = append(flights, fl)
		f.Add(b)
		f.Add(refused(b, r.Dst.Is6()))
		f.Add(refused(b, r.Dst.Is6(), labels, link))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, s := range received(b) {
			if s.kind == NoReply || !s.from.IsValid() || s.quoted != s.dst.IsValid() {
				t.Fatalf("got %+v", s)
			}
			for _, fl := range flights {
				if !fl.is(&s) {
					continue
				}
				if s.protocol != fl.protocol || s.number != fl.sport || s.quoted && s.dst != fl.dst {
					t.Fatalf("got %+v taken for an answer to %+v", s, fl)
				}
				(&arrival{sighting: s}).reply(fl)
			}
		}
	})
}

// FuzzExtensions wants no panic, and no more objects than fit.
func FuzzExtensions(f *testing.F) {
	f.Add([]byte{0x20, 0, 0, 0, 0, 8, 1, 1, 0, 1, 2, 3})
	f.Add([]byte{0x20, 0, 0, 0, 0, 28, 2, 0x0f, 0, 0, 0, 15, 0, 1, 0, 0, 192, 0, 2, 1, 4, 'e', 'n', '1', 0, 0, 32, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		quote, x := splitExtensions(append(make([]byte, quoteMin), b...), quoteMin)
		if x == nil {
			return
		}
		if len(quote) != quoteMin {
			t.Fatalf("got a quote of %d bytes, want %d", len(quote), quoteMin)
		}
		var r Reply
		r.readExtensions(x)
		if n := len(r.Interfaces) + len(r.Extensions); n*objectHeader > len(b) || len(r.MPLS)*4 > len(b) {
			t.Fatalf("got %+v from %d bytes", r, len(b))
		}
	})
}

// FuzzStamped feeds the error queue's packets and control messages.
func FuzzStamped(f *testing.F) {
	b, fl := packed(Request{Dst: addr("192.0.2.1")}, 7)
	f.Add(append(make([]byte, 14), b...), make([]byte, 64))
	f.Fuzz(func(t *testing.T, packet, control []byte) {
		s := &sender{in: newInbox(false)}
		s.in.messages[0].Len = uint32(len(packet))
		copy(s.in.heads[0][:], packet)
		n := copy(s.in.controls[0][:], control)
		s.in.messages[0].Hdr.SetControllen(n)
		for _, s.six = range []bool{false, true} {
			if d, ok := s.stamped(0); ok && !s.six && fl.is(&d.sighting) && d.dst != netip.MustParseAddr("192.0.2.1") {
				t.Fatalf("got %+v", d)
			}
		}
		eachControl(control, func(_, _ int32, data []byte) {
			parseStamps(data)
			parseExtendedError(data)
		})
	})
}
