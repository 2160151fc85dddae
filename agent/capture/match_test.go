package capture

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

var (
	here4, there4, else4 = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("203.0.113.9")
	here6, there6        = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8:ffff::7")
)

// ip is a packet of either family. extensions go between the IPv6 header and the payload.
func ip(src, dst netip.Addr, protocol int, payload ...byte) []byte {
	if src.Is4() {
		b := make([]byte, 20)
		b[0], b[8], b[9] = 0x45, 64, byte(protocol)
		copy(b[12:], src.AsSlice())
		copy(b[16:], dst.AsSlice())
		return append(b, payload...)
	}
	b := make([]byte, 40)
	b[0], b[6], b[7] = 0x60, byte(protocol), 64
	copy(b[8:], src.AsSlice())
	copy(b[24:], dst.AsSlice())
	return append(b, payload...)
}

// fragment marks a packet as part of a larger one: offset in units of 8 bytes.
func fragment(b []byte, id uint16, offset uint16, more bool) []byte {
	if more {
		offset |= 0x2000
	}
	binary.BigEndian.PutUint16(b[4:], id)
	binary.BigEndian.PutUint16(b[6:], offset)
	return b
}

func udp(src, dst uint16) []byte {
	b := binary.BigEndian.AppendUint16(nil, src)
	return append(binary.BigEndian.AppendUint16(b, dst), 0, 8, 0, 0)
}

func icmp(kind byte, id uint16) []byte {
	return binary.BigEndian.AppendUint16(append([]byte{kind, 0, 0, 0}, byte(id>>8), byte(id)), 1)
}

func icmpError(kind byte, quoted []byte) []byte {
	return append([]byte{kind, 0, 0, 0, 0, 0, 0, 0}, quoted...)
}

func TestOurs(t *testing.T) {
	const port = 40000
	c := &Capture{flows: []Flow{
		{Peer: there4, Protocol: unix.IPPROTO_UDP, Owns: func(n uint16) bool { return n == port }},
		{Peer: there6, Owns: func(n uint16) bool { return n>>8 == 77 }},
	}}
	const echo = 77<<8 + 5
	options := []byte{unix.IPPROTO_UDP, 0, 0, 0, 0, 0, 0, 0}
	for _, tt := range []struct {
		name          string
		packet        []byte
		out, in, want bool
	}{
		{"query", ip(here4, there4, 17, udp(port, 53)...), true, false, true},
		{"answer", ip(there4, here4, 17, udp(53, port)...), false, true, true},
		{"another port", ip(here4, there4, 17, udp(port+1, 53)...), true, false, false},
		{"the peer has our port", ip(there4, here4, 17, udp(port, 53)...), false, true, false},
		{"another protocol", ip(here4, there4, 6, udp(port, 53)...), true, false, false},
		{"another peer", ip(here4, else4, 17, udp(port, 53)...), true, false, false},
		{"on the loopback", ip(here4, there4, 17, udp(port, 53)...), true, true, true},
		{"error from a router", ip(else4, here4, 1, icmpError(11, ip(here4, there4, 17, udp(port, 53)...))...), false, true, true},
		{"error about another's", ip(else4, here4, 1, icmpError(11, ip(here4, there4, 17, udp(port+1, 53)...))...), false, true, false},
		{"error of ours", ip(here4, there4, 1, icmpError(3, ip(there4, here4, 17, udp(53, port)...))...), true, false, true},
		{"error about an error", ip(else4, here4, 1, icmpError(11, ip(here4, there4, 1, icmpError(3, nil)...))...), false, true, false},
		{"echo", ip(here6, there6, 58, icmp(128, echo)...), true, false, true},
		{"echo reply of another address", ip(here6, here6, 58, icmp(129, echo)...), false, true, true},
		{"another's echo", ip(here6, there6, 58, icmp(128, echo+256)...), true, false, false},
		{"too big", ip(here6, here6, 58, icmpError(2, ip(here6, there6, 58, icmp(128, echo)...))...), false, true, true},
		{"neighbour solicitation", ip(here6, there6, 58, icmp(135, echo)...), true, false, false},
		{"extension header", ip(here6, there6, unix.IPPROTO_DSTOPTS, append(options, udp(echo, 53)...)...), true, false, true},
		{"first fragment", fragment(ip(here4, there4, 17, udp(port, 53)...), 4711, 0, true), true, false, true},
		{"its other fragment", fragment(ip(here4, there4, 17, 1, 2, 3, 4, 5, 6, 7, 8), 4711, 1, false), true, false, true},
		{"another's fragment", fragment(ip(here4, there4, 17, 1, 2, 3, 4, 5, 6, 7, 8), 4712, 1, false), true, false, false},
		{"no more than a header", ip(here4, there4, 17), true, false, false},
		{"not IP", []byte{0x80, 1, 2}, true, true, false},
		{"", nil, true, true, false},
	} {
		if got := c.ours(tt.packet, tt.out, tt.in); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestFilter(t *testing.T) {
	for _, tt := range []struct {
		name   string
		packet []byte
		want   bool
	}{
		{"to a peer", ip(here4, there4, 17, udp(1, 2)...), true},
		{"from a peer", ip(there4, here4, 6, udp(1, 2)...), true},
		{"of others", ip(here4, else4, 17, udp(1, 2)...), false},
		{"ICMP", ip(here4, else4, 1, icmp(8, 1)...), true},
		{"to a peer, IPv6", ip(here6, there6, 17, udp(1, 2)...), true},
		{"from a peer, IPv6", ip(there6, here6, 17, udp(1, 2)...), true},
		{"of others, IPv6", ip(here6, here6, 17, udp(1, 2)...), false},
		{"ICMPv6", ip(here6, here6, 58, icmp(135, 1)...), true},
		{"ARP", append([]byte{0, 1, 8, 0}, make([]byte, 40)...), false},
	} {
		for _, peers := range [][]netip.Addr{{there4, there6}, {there6, else4.Next(), there4}} {
			if got := pass(t, filter(peers), tt.packet); got != tt.want {
				t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
			}
		}
		if pass(t, nothing(), tt.packet) {
			t.Errorf("%s: passes where nothing may", tt.name)
		}
	}
	if !pass(t, filter(slices.Repeat([]netip.Addr{there4}, maxPeers+1)), ip(here4, else4, 17)) {
		t.Error("with too many peers for a program not everything passes")
	}
	if _, err := bpf.Assemble(filter(slices.Repeat([]netip.Addr{there6}, maxPeers))); err != nil {
		t.Errorf("as many peers as there may be: %v", err)
	}
}

func pass(t *testing.T, p program, packet []byte) bool {
	t.Helper()
	vm, err := bpf.NewVM(p)
	if err != nil {
		t.Fatal(err)
	}
	n, err := vm.Run(packet)
	if err != nil {
		t.Fatal(err)
	}
	return n > 0
}

func FuzzOurs(f *testing.F) {
	f.Add(ip(here4, there4, 17, udp(1, 2)...))
	f.Add(ip(here6, there6, unix.IPPROTO_FRAGMENT, append([]byte{17, 0, 0, 1, 0, 0, 0, 9}, udp(1, 2)...)...))
	f.Add(ip(else4, here4, 1, icmpError(11, ip(here4, there4, 17, udp(1, 2)...))...))
	c := &Capture{flows: []Flow{{Peer: there4, Owns: func(n uint16) bool { return n == 1 }}}}
	f.Fuzz(func(t *testing.T, b []byte) {
		c.ours(b, true, false)
		c.ours(b, false, true)
	})
}
