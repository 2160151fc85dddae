package packet

import (
	"bytes"
	"net/netip"
	"reflect"
	"testing"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// packed returns the packet of a request and the flight that it belongs to.
func packed(r Request, ident uint16) ([]byte, *flight) {
	if err := r.complete(); err != nil {
		panic(err)
	}
	src := addr("10.0.0.1")
	if r.Dst.Is6() {
		src = addr("fd00::1")
	}
	l := &lane{blocks: []block{{index: 40}}}
	f := &flight{protocol: r.Protocol, dst: r.Dst, src: src, ident: ident, state: flying, lane: l, seq: 0xabcd<<16 | uint32(ident)}
	f.sport, f.dport = l.ports(&r, ident)
	b := make([]byte, r.length())
	encode(b, &r, f)
	return b, f
}

// refused wraps a quote into a time exceeded message to the packet's source,
// built by the library.
func refused(quote []byte, v6 bool, extensions ...icmp.Extension) []byte {
	if v6 {
		m := icmp.Message{Type: ipv6.ICMPTypeTimeExceeded, Body: &icmp.TimeExceeded{Data: quote, Extensions: extensions}}
		b, err := m.Marshal(icmp.IPv6PseudoHeader(addr("fd00::9").AsSlice(), addr("fd00::1").AsSlice()))
		if err != nil {
			panic(err)
		}
		return b
	}
	m := icmp.Message{Type: ipv4.ICMPTypeTimeExceeded, Body: &icmp.TimeExceeded{Data: quote, Extensions: extensions}}
	b, err := m.Marshal(nil)
	if err != nil {
		panic(err)
	}
	header := ipv4.Header{Version: 4, Len: ip4Len, TotalLen: ip4Len + len(b), TTL: 60, Protocol: 1,
		Src: addr("10.0.0.9").AsSlice(), Dst: addr("10.0.0.1").AsSlice()}
	h, err := header.Marshal()
	if err != nil {
		panic(err)
	}
	return append(h, b...)
}

func requests() (all []Request) {
	for p := ICMP; p <= SCTP; p++ {
		for _, dst := range []netip.Addr{addr("192.0.2.1"), addr("2001:db8::1")} {
			for _, flow := range []uint16{0, 1, 700} {
				for _, size := range []int{0, 1, 61, 200} {
					all = append(all, Request{Protocol: p, Dst: dst, Flow: flow, Size: size, Pattern: 0x5a, TOS: 0xb8, TTL: 7})
				}
			}
		}
	}
	return all
}

func TestQuoteIsRecognized(t *testing.T) {
	for _, r := range requests() {
		for _, ident := range []uint16{1, 2, 0x8000, 0xfffe, 0xffff} {
			b, f := packed(r, ident)
			var s sighting
			var ok bool
			if r.Dst.Is4() {
				s, ok = parse4(refused(b, false))
			} else {
				s, ok = parse6(ICMP, refused(b, true), addr("fd00::9"), addr("fd00::1"), 60, 100)
			}
			if !ok || !f.is(&s) || s.kind != TTLExpired || s.idents[0] != ident || s.quotedTTL != 7 || s.quotedTOS != 0xb8 || f.differs(&s) {
				t.Errorf("%+v ident %d: got %t %+v", r, ident, ok, s)
			}
		}
	}
}

// verify checks the packet's transport checksum with the library's or the
// protocol's own rule.
func TestChecksums(t *testing.T) {
	for _, r := range requests() {
		if r.Protocol == SCTP {
			continue
		}
		for _, ident := range []uint16{1, 77, 0xffff} {
			b, f := packed(r, ident)
			header := ip4Len
			if r.Dst.Is6() {
				header = ip6Len
			}
			var s uint64
			if r.Protocol != ICMP || r.Dst.Is6() {
				s = pseudo(f, r.Protocol.number(r.Dst.Is6()), len(b)-header)
			}
			if got := fold(sum(b[header:], s)); got != 0xffff {
				t.Errorf("%+v ident %d: sum %04x, want ffff", r, ident, got)
			}
		}
	}
}

// Two packets of one flow agree in the first bytes of what a router may hash; of two flows they do not.
func TestFlowIsConstant(t *testing.T) {
	hashed := func(r Request, ident uint16) []byte {
		b, _ := packed(r, ident)
		if r.Dst.Is6() {
			return append(bytes.Clone(b[:4]), b[ip6Len:ip6Len+4]...)
		}
		return b[ip4Len : ip4Len+4]
	}
	for _, r := range requests() {
		if r.Flow == 0 {
			continue
		}
		one, other := hashed(r, 5), hashed(r, 60000)
		if !bytes.Equal(one, other) {
			t.Errorf("%+v: got %x and %x, want them equal", r, one, other)
		}
		r.Flow++
		if other := hashed(r, 5); bytes.Equal(one, other) {
			t.Errorf("%+v: got %x for another flow too", r, one)
		}
	}
}

// The library parses what we send and we parse what it builds.
func TestExtensionsOfTheLibrary(t *testing.T) {
	labels := &icmp.MPLSLabelStack{Class: 1, Type: 1, Labels: []icmp.MPLSLabel{{Label: 16014, TC: 4, TTL: 255}, {Label: 9, S: true, TTL: 1}}}
	for _, v6 := range []bool{false, true} {
		r, ours := Request{Protocol: UDP, Dst: addr("192.0.2.1"), Size: 300}, "192.168.0.1"
		if v6 {
			r.Dst, ours = addr("2001:db8::1"), "2001:db8::9"
		}
		link := &icmp.InterfaceInfo{Class: 2, Type: 0x0f, Interface: netInterface(15, "en101", 8192), Addr: ipAddr(ours)}
		b, f := packed(r, 99)
		var s sighting
		var ok bool
		if v6 {
			s, ok = parse6(ICMP, refused(b, true, labels, link), addr("fd00::9"), addr("fd00::1"), 60, 0)
		} else {
			s, ok = parse4(refused(b, false, labels, link))
		}
		if !ok || !f.is(&s) {
			t.Fatalf("v6 %t: got %t %+v", v6, ok, s)
		}
		got := (&arrival{sighting: s}).reply(f)
		if want := []Label{{Label: 16014, TC: 4, TTL: 255}, {Label: 9, Bottom: true, TTL: 1}}; !reflect.DeepEqual(got.MPLS, want) {
			t.Errorf("got labels %+v, want %+v", got.MPLS, want)
		}
		if want := []Interface{{Role: Incoming, Index: 15, Addr: addr(ours), Name: "en101", MTU: 8192}}; !reflect.DeepEqual(got.Interfaces, want) {
			t.Errorf("got interfaces %+v, want %+v", got.Interfaces, want)
		}
	}
}

func TestKinds(t *testing.T) {
	seen := make(map[string]Kind)
	for k := NoReply; k <= OtherError; k++ {
		name := k.String()
		if old, ok := seen[name]; name == "" || ok && !(k == SCTPOpen || k == SCTPClosed) {
			t.Errorf("kind %d: got %q, as kind %d", k, name, old)
		}
		seen[name] = k
	}
	for code, want := range unreachable4 {
		if got := kind4(3, uint8(code)); got != want || !got.Unreachable() || got.FromDestination() {
			t.Errorf("code %d: got %s, want %s, unreachable", code, got, want)
		}
	}
	if got := kind6(2, 0); got != TooBig {
		t.Errorf("packet too big: got %s", got)
	}
	if got := kind4(5, 0); got != NoReply {
		t.Errorf("redirect: got %s, want nothing", got)
	}
}

// Raw IPv4 sockets see ICMP before the kernel has looked at its checksum.
func TestCorruptedAnswer(t *testing.T) {
	b, _ := packed(Request{Dst: addr("192.0.2.1")}, 9)
	answer := refused(b, false)
	for i := ip4Len; i < len(answer); i++ {
		corrupted := bytes.Clone(answer)
		corrupted[i] ^= 0x10
		if s, ok := parse4(corrupted); ok {
			t.Fatalf("byte %d corrupted: got %+v", i, s)
		}
	}
	padded := append(answer, 0xde, 0xad)
	if _, ok := parse4(padded); !ok {
		t.Error("an answer with padding behind it is not accepted")
	}
}

// IPv4 options may be in the outer and in the quoted header.
func TestOptions(t *testing.T) {
	options := []byte{1, 1, 1, 0}
	insert := func(b []byte) []byte {
		b = append(append(bytes.Clone(b[:ip4Len]), options...), b[ip4Len:]...)
		b[0] = 0x46
		be.PutUint16(b[2:], uint16(len(b)))
		return b
	}
	for _, r := range requests() {
		if r.Dst.Is6() {
			continue
		}
		b, f := packed(r, 9)
		s, ok := parse4(insert(refused(insert(b), false)))
		if !ok || !f.is(&s) {
			t.Errorf("%+v: got %t %+v", r, ok, s)
		}
		if ours := (numbers{blocks: []uint8{40}}); !passes(t, ours.filter(ICMP, false), insert(refused(insert(b), false))) {
			t.Errorf("%+v does not pass the filter", r)
		}
	}
}

// IPv6 extension headers may be in the quote.
func TestExtensionHeaders(t *testing.T) {
	b, f := packed(Request{Protocol: UDP, Dst: addr("2001:db8::1")}, 9)
	quote := append(bytes.Clone(b[:ip6Len]), 60, 0, 1, 4, 0, 0, 0, 0) // hop-by-hop, then destination options
	quote = append(quote, 17, 0, 1, 4, 0, 0, 0, 0)
	quote = append(quote, b[ip6Len:]...)
	quote[6] = 0
	s, ok := parse6(ICMP, refused(quote, true), addr("fd00::9"), addr("fd00::1"), 60, 100)
	if !ok || !f.is(&s) {
		t.Errorf("got %t %+v", ok, s)
	}
}
