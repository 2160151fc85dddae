package packet

import (
	"fmt"

	"golang.org/x/net/bpf"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// numbers are what a filter lets through: blocks by their upper half, single ports.
type numbers struct {
	blocks []uint8
	ports  []uint16
}

const (
	pass = 0x40000 // bytes, more than any packet
	drop = 0

	// networkOffset makes a load relative to the network header, which raw
	// IPv6 sockets do not hand out (SKF_NET_OFF in linux/filter.h).
	networkOffset = 0xfff00000
)

// accept passes the packet if the 16-bit number in register A is ours.
func (n numbers) accept() (p []bpf.Instruction) {
	for _, port := range n.ports {
		p = append(p, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(port), SkipTrue: 1}, bpf.RetConstant{Val: pass})
	}
	p = append(p, bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 8})
	for _, b := range n.blocks {
		p = append(p, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(b), SkipTrue: 1}, bpf.RetConstant{Val: pass})
	}
	return p
}

// filter returns the classic BPF program for a raw socket of the protocol.
func (n numbers) filter(p Protocol, six bool) []bpf.Instruction {
	if p != ICMP {
		return n.direct(p, six)
	}
	if six {
		return n.icmp6()
	}
	return n.icmp4()
}

// direct passes answers to our ports; of TCP only those that a SYN can get.
func (n numbers) direct(p Protocol, six bool) []bpf.Instruction {
	prog := []bpf.Instruction{bpf.LoadMemShift{Off: 0}} // X: length of the IPv4 header
	if six {
		prog[0] = bpf.LoadConstant{Dst: bpf.RegX, Val: 0}
	}
	if p == TCP {
		prog = append(prog,
			bpf.LoadIndirect{Off: 13, Size: 1},
			bpf.JumpIf{Cond: bpf.JumpBitsNotSet, Val: tcpACK, SkipTrue: 1},
			bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: tcpSYN | tcpRST, SkipTrue: 1},
			bpf.RetConstant{Val: drop})
	}
	prog = append(prog, bpf.LoadIndirect{Off: 2, Size: 2})
	prog = append(prog, n.accept()...)
	return append(prog, bpf.RetConstant{Val: drop})
}

// icmp4 passes echo replies with our identifier, and errors that quote one of
// our numbers, quote too little to tell, or quote a packet that did not leave
// this host as they quote it.
func (n numbers) icmp4() []bpf.Instruction {
	echo := append([]bpf.Instruction{bpf.LoadIndirect{Off: 4, Size: 2}}, n.accept()...)
	echo = append(echo, bpf.RetConstant{Val: drop})
	head := []bpf.Instruction{
		bpf.LoadMemShift{Off: 0}, // X: start of the ICMP message
		bpf.LoadIndirect{Off: 0, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(ipv4.ICMPTypeEchoReply), SkipTrue: 1},
		bpf.Jump{Skip: uint32(len(echo))},
	}
	errs := []bpf.Instruction{
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(ipv4.ICMPTypeDestinationUnreachable), SkipTrue: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(ipv4.ICMPTypeTimeExceeded), SkipTrue: 3},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(ipv4.ICMPTypeParameterProblem), SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 4, SkipTrue: 1}, // source quench
		bpf.RetConstant{Val: drop},
		bpf.LoadIndirect{Off: icmpLen + 12, Size: 4},
		bpf.StoreScratch{Src: bpf.RegA, N: 0}, // quoted source
		bpf.LoadIndirect{Off: icmpLen + 9, Size: 1},
		bpf.StoreScratch{Src: bpf.RegA, N: 1}, // quoted protocol
		bpf.LoadIndirect{Off: icmpLen, Size: 1},
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xf},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftLeft, Val: 2},
		bpf.ALUOpX{Op: bpf.ALUOpAdd},
		bpf.TAX{}, // X: start of the quoted payload, less icmpLen
		bpf.LoadExtension{Num: bpf.ExtLen},
		bpf.ALUOpX{Op: bpf.ALUOpSub},
		bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: icmpLen + 8, SkipTrue: 1},
		bpf.RetConstant{Val: pass},
		bpf.LoadScratch{Dst: bpf.RegA, N: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_ICMP, SkipTrue: 2},
		bpf.LoadIndirect{Off: icmpLen, Size: 2},
		bpf.Jump{Skip: 1},
		bpf.LoadIndirect{Off: icmpLen + 4, Size: 2},
	}
	tail := []bpf.Instruction{
		bpf.LoadScratch{Dst: bpf.RegX, N: 0},
		bpf.LoadAbsolute{Off: 16, Size: 4}, // where the error was sent to
		bpf.JumpIfX{Cond: bpf.JumpEqual, SkipTrue: 1},
		bpf.RetConstant{Val: pass},
		bpf.RetConstant{Val: drop},
	}
	return concat(head, echo, errs, n.accept(), tail)
}

// icmp6 is icmp4 for ICMPv6, where quotes with extension headers pass too.
func (n numbers) icmp6() []bpf.Instruction {
	echo := append([]bpf.Instruction{bpf.LoadAbsolute{Off: 4, Size: 2}}, n.accept()...)
	echo = append(echo, bpf.RetConstant{Val: drop})
	const quote = icmpLen
	head := []bpf.Instruction{
		bpf.LoadAbsolute{Off: 0, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(ipv6.ICMPTypeEchoReply), SkipTrue: 1},
		bpf.Jump{Skip: uint32(len(echo))},
	}
	errs := []bpf.Instruction{
		bpf.JumpIf{Cond: bpf.JumpLessOrEqual, Val: uint32(ipv6.ICMPTypeParameterProblem), SkipTrue: 1},
		bpf.RetConstant{Val: drop},
		bpf.LoadExtension{Num: bpf.ExtLen},
		bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: quote + ip6Len + 8, SkipTrue: 1},
		bpf.RetConstant{Val: pass},
		bpf.LoadAbsolute{Off: quote + 6, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_ICMPV6, SkipTrue: 6},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_UDP, SkipTrue: 3},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_TCP, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_SCTP, SkipTrue: 1},
		bpf.RetConstant{Val: pass},
		bpf.LoadAbsolute{Off: quote + ip6Len, Size: 2},
		bpf.Jump{Skip: 1},
		bpf.LoadAbsolute{Off: quote + ip6Len + 4, Size: 2},
	}
	tail := []bpf.Instruction{
		bpf.LoadAbsolute{Off: quote + 8 + 12, Size: 4}, // end of the quoted source
		bpf.TAX{},
		bpf.LoadAbsolute{Off: networkOffset + 24 + 12, Size: 4}, // of where the error was sent to
		bpf.JumpIfX{Cond: bpf.JumpEqual, SkipTrue: 1},
		bpf.RetConstant{Val: pass},
		bpf.RetConstant{Val: drop},
	}
	return concat(head, echo, errs, n.accept(), tail)
}

func concat(parts ...[]bpf.Instruction) (all []bpf.Instruction) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// attach puts a program on a socket in place of the one it has.
func attach(fd int, program []bpf.Instruction) error {
	raw, err := bpf.Assemble(program)
	if err != nil {
		return fmt.Errorf("assemble filter: %w", err)
	}
	filter := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		filter[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
	if err != nil {
		return fmt.Errorf("attach filter: %w", err)
	}
	return nil
}
