package nettest

import (
	"net/netip"
	"testing"
	"time"
)

// Whatever a host sends, a router that has all the troubles at once passes on
// or answers with packets that are as long as they say.
func FuzzRouter(f *testing.F) {
	h4, h6 := netip.MustParseAddr("10.0.1.1"), netip.MustParseAddr("fd00:0:0:1::1")
	for _, p := range []ip{
		icmp(h4, natV4, append([]byte{8, 0, 0, 0, 0, 1, 0, 1}, make([]byte, 100)...), Router{}),
		icmp(h6, natV6, append([]byte{128, 0, 0, 0, 0, 1, 0, 1}, make([]byte, 100)...), Router{}),
	} {
		f.Add([]byte(p), false)
		unreachable := refusal(p, HostUnreachable, 0, Router{Addr4: h4, Addr6: h6, Extensions: []Extension{MPLS(Label{Label: 1})}})
		unreachable.setDst(p.dst())
		f.Add([]byte(unreachable), true)
		p.setTTL(1)
		f.Add([]byte(p), false)
	}
	f.Fuzz(func(t *testing.T, b []byte, towardsFirst bool) {
		if !ip(b).valid() {
			return
		}
		r := &router{
			Router: Router{
				Addr4: netip.MustParseAddr("10.0.1.101"), Addr6: netip.MustParseAddr("fd00:0:0:1::101"),
				MTU: 68, NAT4: natV4, NAT6: natV6, Remark: func(tos byte) byte { return tos ^ 0xff },
				Extensions: []Extension{MPLS(Label{Label: 1})}, Options: []byte{1, 1, 1, 1},
			},
			inner4: h4, inner6: h6,
		}
		d := forth
		if towardsFirst {
			d = back
		}
		r.receive(b, d, time.Now(), func(p ip, _ direction) {
			if !p.valid() {
				t.Errorf("%x became %x", b, p)
			}
		})
	})
}
