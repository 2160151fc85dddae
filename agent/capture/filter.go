package capture

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// program is a filter of the kernel's (Documentation/networking/filter.rst).
type program []bpf.Instruction

const all = 0x40000 // bytes: more than any packet

// nothing lets no packet through.
func nothing() program { return program{bpf.RetConstant{Val: 0}} }

// maxPeers are as many as a program has room for beside the rest. A capture
// with more hears all packets, and picks its own from them.
const maxPeers = 100

// filter lets through what the peers send and get, and ICMP, since anybody can
// send errors about our packets. A packet begins with its IP header.
func filter(peers []netip.Addr) program {
	if len(peers) > maxPeers {
		return program{bpf.RetConstant{Val: all}}
	}
	four, six := program{}, program{}
	for _, p := range peers {
		if p.Is4() {
			four = append(four, peer4(p)...)
		} else {
			six = append(six, peer6(p)...)
		}
	}
	four = append(append(program{
		bpf.LoadAbsolute{Off: 9, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_ICMP, SkipTrue: 1},
		bpf.RetConstant{Val: all},
	}, four...), bpf.RetConstant{Val: 0})
	six = append(append(program{
		bpf.LoadAbsolute{Off: 6, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_ICMPV6, SkipTrue: 1},
		bpf.RetConstant{Val: all},
	}, six...), bpf.RetConstant{Val: 0})
	start := program{
		bpf.LoadAbsolute{Off: 0, Size: 1},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 6, SkipTrue: 1},
		bpf.Jump{Skip: uint32(len(four)) + 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 4, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
	}
	return append(append(start, four...), six...)
}

// peer4 passes packets from and to an address.
func peer4(a netip.Addr) program {
	b := a.As4()
	want := binary.BigEndian.Uint32(b[:])
	return program{
		bpf.LoadAbsolute{Off: 12, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: want, SkipTrue: 2},
		bpf.LoadAbsolute{Off: 16, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: want, SkipTrue: 1},
		bpf.RetConstant{Val: all},
	}
}

// peer6 passes packets from and to an address whose last half is this: the
// capture looks at the rest.
func peer6(a netip.Addr) program {
	b := a.As16()
	high, low := binary.BigEndian.Uint32(b[8:]), binary.BigEndian.Uint32(b[12:])
	return program{
		bpf.LoadAbsolute{Off: 16, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: high, SkipTrue: 2},
		bpf.LoadAbsolute{Off: 20, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: low, SkipTrue: 4},
		bpf.LoadAbsolute{Off: 32, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: high, SkipTrue: 3},
		bpf.LoadAbsolute{Off: 36, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: low, SkipTrue: 1},
		bpf.RetConstant{Val: all},
	}
}

// attach puts a program on a socket in place of the one it has.
func attach(fd int, p program) error {
	raw, err := bpf.Assemble(p)
	if err != nil {
		return fmt.Errorf("packet socket: assemble filter: %w", err)
	}
	code := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		code[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]})
	if err != nil {
		return fmt.Errorf("packet socket: attach filter: %w", err)
	}
	return nil
}
