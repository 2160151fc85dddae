package packet

import (
	"bytes"
	"testing"
)

// A NAT has rewritten the number that tells engines apart, and the checksum
// with it, and does not restore them in the quote.
func TestTranslatedNumber(t *testing.T) {
	for _, c := range []struct {
		r    Request
		at   int // of the number, in the packet
		want bool
	}{
		{Request{Protocol: ICMP, Dst: addr("192.0.2.1")}, ip4Len + 4, true},
		{Request{Protocol: UDP, Dst: addr("192.0.2.1")}, ip4Len, true},
		{Request{Protocol: TCP, Dst: addr("192.0.2.1")}, ip4Len, true},
		{Request{Protocol: TCP, Dst: addr("2001:db8::1")}, ip6Len, true},
		{Request{Protocol: SCTP, Dst: addr("192.0.2.1")}, ip4Len, true},
		{Request{Protocol: UDP, Dst: addr("2001:db8::1")}, ip6Len, false}, // nothing in it is left of ours
	} {
		b, f := packed(c.r, 4711)
		var e Engine
		e.table.lanes = []*lane{f.lane}
		e.table.owners[40] = f.lane
		f.lane.last = f.ident - 1
		stored := f.lane.take()
		*stored = *f
		quote := bytes.Clone(b)
		be.PutUint16(quote[c.at:], 60001)
		if c.r.Protocol == UDP {
			quote[c.at+6] ^= 0x55
		}
		var s sighting
		var ok bool
		if c.r.Dst.Is4() {
			s, ok = parse4(refused(quote, false))
		} else {
			s, ok = parse6(ICMP, refused(quote, true), addr("fd00::9"), addr("fd00::1"), 60, 100)
		}
		if got := e.match(&s) == stored; !ok || got != c.want {
			t.Errorf("%s to %s: got matched %t, want %t: %+v", c.r.Protocol, c.r.Dst, got, c.want, s)
		}
		if c.want && !stored.differs(&s) {
			t.Errorf("%s to %s: not taken for rewritten: %+v", c.r.Protocol, c.r.Dst, s)
		}
		stored.state = idle
		if e.match(&s) != nil {
			t.Errorf("%s to %s: matched although nothing is in flight", c.r.Protocol, c.r.Dst)
		}
	}
}
