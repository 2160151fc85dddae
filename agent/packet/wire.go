package packet

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Lengths of headers as the engine sends them.
const (
	ip4Len  = 20
	ip6Len  = 40
	icmpLen = 8
	udpLen  = 8
	tcpLen  = 24 // with the MSS option
	sctpLen = 32 // common header and INIT chunk
)

var be = binary.BigEndian

// number returns the protocol's number in an IP header.
func (p Protocol) number(six bool) byte {
	switch p {
	case UDP:
		return unix.IPPROTO_UDP
	case TCP:
		return unix.IPPROTO_TCP
	case SCTP:
		return unix.IPPROTO_SCTP
	}
	if six {
		return unix.IPPROTO_ICMPV6
	}
	return unix.IPPROTO_ICMP
}

// protocolOf is the inverse of number.
func protocolOf(number byte, six bool) (Protocol, bool) {
	switch number {
	case unix.IPPROTO_UDP:
		return UDP, true
	case unix.IPPROTO_TCP:
		return TCP, true
	case unix.IPPROTO_SCTP:
		return SCTP, true
	case ICMP.number(six):
		return ICMP, true
	}
	return 0, false
}

// encode writes the packet of a completed request into b, which has its
// length, and returns the number of bytes of the IP header.
func encode(b []byte, r *Request, f *flight) int {
	if r.Dst.Is6() {
		encodeIP6(b, r, f)
		encodePayload(b[ip6Len:], r, f)
		return ip6Len
	}
	encodeIP4(b, r, f)
	encodePayload(b[ip4Len:], r, f)
	return ip4Len
}

func encodePayload(b []byte, r *Request, f *flight) {
	switch r.Protocol {
	case ICMP:
		encodeICMP(b, r, f)
	case UDP:
		encodeUDP(b, r, f)
	case TCP:
		encodeTCP(b, r, f)
	case SCTP:
		encodeSCTP(b, f)
	}
}

func fill(b []byte, pattern byte) {
	for i := range b {
		b[i] = pattern
	}
}

// sum is the Internet checksum's sum of b (RFC 1071), added to s and not yet inverted.
func sum(b []byte, s uint64) uint64 {
	for ; len(b) >= 4; b = b[4:] {
		s += uint64(be.Uint32(b))
	}
	if len(b) >= 2 {
		s += uint64(be.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		s += uint64(b[0]) << 8
	}
	return s
}

// fold brings a sum to 16 bits, carries added back in.
func fold(s uint64) uint16 {
	for s > 0xffff {
		s = s&0xffff + s>>16
	}
	return uint16(s)
}

// pseudo is the sum of the pseudo header (RFC 768, RFC 8200 section 8.1).
func pseudo(f *flight, number byte, length int) uint64 {
	s := uint64(number) + uint64(length)
	if f.dst.Is4() {
		src, dst := f.src.As4(), f.dst.As4()
		return sum(src[:], sum(dst[:], s))
	}
	src, dst := f.src.As16(), f.dst.As16()
	return sum(src[:], sum(dst[:], s))
}

// balance returns the 16-bit word that, added to a message of sum s, gives it the checksum want.
func balance(s uint64, want uint16) uint16 {
	return fold(uint64(^want) + uint64(^fold(s)))
}
