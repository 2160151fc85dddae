package packet

import (
	"testing"

	"golang.org/x/net/bpf"
)

// The filters are run by the library's virtual machine, except for ICMPv6,
// whose loads relative to the network header it does not have.
func TestFilter(t *testing.T) {
	ours := numbers{blocks: []uint8{40, 41}, ports: []uint16{5353}}
	foreign := numbers{blocks: []uint8{42}}
	for _, r := range requests() {
		if r.Dst.Is6() {
			continue
		}
		b, f := packed(r, 9)
		direct := make([]byte, ip4Len+sctpLen)
		direct[0] = 0x45
		be.PutUint16(direct[ip4Len+2:], f.sport)
		direct[ip4Len+13] = tcpSYN | tcpACK
		request := append([]byte(nil), direct...)
		request[ip4Len+13] = tcpSYN
		for _, c := range []struct {
			name   string
			n      numbers
			p      Protocol
			packet []byte
			want   bool
		}{
			{"our error", ours, ICMP, refused(b, false), true},
			{"somebody's error", foreign, ICMP, refused(b, false), false},
			{"short quote", foreign, ICMP, refused(b, false)[:ip4Len+icmpLen+ip4Len+7], true},
			{"our answer", ours, max(r.Protocol, UDP), direct, true},
			{"somebody's answer", foreign, max(r.Protocol, UDP), direct, r.Protocol == ICMP && false},
			{"somebody's connection to our port", ours, TCP, request, false},
		} {
			if r.Protocol == ICMP && c.packet[9] != 1 {
				continue
			}
			if got := passes(t, c.n.filter(c.p, false), c.packet); got != c.want {
				t.Errorf("%s %s: got %t, want %t", r.Protocol, c.name, got, c.want)
			}
		}
	}
	rewritten, _ := packed(Request{Protocol: UDP, Dst: addr("192.0.2.1")}, 9)
	copy(rewritten[12:], []byte{192, 0, 2, 77})
	if !passes(t, foreign.filter(ICMP, false), refused(rewritten, false)) {
		t.Error("a quote with a translated source does not pass")
	}
	reply := make([]byte, ip4Len+icmpLen)
	reply[0] = 0x45
	for id, want := range map[uint16]bool{40 << 8: true, 41<<8 + 255: true, 42 << 8: false, 5353: true} {
		be.PutUint16(reply[ip4Len+4:], id)
		if got := passes(t, ours.filter(ICMP, false), reply); got != want {
			t.Errorf("echo reply %d: got %t, want %t", id, got, want)
		}
	}
}

func TestFilterWithManyPorts(t *testing.T) {
	var n numbers
	for i := range 1000 {
		n.ports = append(n.ports, uint16(i))
	}
	for p := ICMP; p <= SCTP; p++ {
		for _, six := range []bool{false, true} {
			if _, err := bpf.Assemble(n.filter(p, six)); err != nil {
				t.Errorf("%s, v6 %t: %v", p, six, err)
			}
		}
	}
}

func passes(t *testing.T, program []bpf.Instruction, b []byte) bool {
	t.Helper()
	vm, err := bpf.NewVM(program)
	if err != nil {
		t.Fatal(err)
	}
	n, err := vm.Run(b)
	if err != nil {
		t.Fatal(err)
	}
	return n > 0
}
