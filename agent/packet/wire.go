package packet

import (
	"encoding/binary"
	"net/netip"

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

// encodeIP4 leaves the header checksum to the kernel, and the source if it is
// unset (raw(7), IP_HDRINCL). The id is the ident: unlike checksums and ports
// no NAT rewrites it.
func encodeIP4(b []byte, r *Request, f *flight) {
	b[0], b[1] = 0x45, byte(r.TOS)
	be.PutUint16(b[2:], uint16(len(b)))
	be.PutUint16(b[4:], f.ident)
	be.PutUint16(b[6:], 0)
	if r.DontFragment {
		b[6] = 0x40
	}
	b[8], b[9] = byte(r.TTL), r.Protocol.number(false)
	be.PutUint16(b[10:], 0)
	var src [4]byte
	if f.src.IsValid() {
		src = f.src.As4()
	}
	dst := f.dst.As4()
	copy(b[12:], src[:])
	copy(b[16:], dst[:])
}

func encodeIP6(b []byte, r *Request, f *flight) {
	be.PutUint32(b, 6<<28|uint32(r.TOS)<<20|uint32(r.Flow))
	be.PutUint16(b[4:], uint16(len(b)-ip6Len))
	b[6], b[7] = r.Protocol.number(true), byte(r.TTL)
	src, dst := f.src.As16(), f.dst.As16()
	copy(b[8:], src[:])
	copy(b[24:], dst[:])
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

// A sighting is what a received packet says about one of ours: a direct answer, or an
// ICMP error with a quote of it.
type sighting struct {
	kind               Kind
	protocol           Protocol // of our packet
	icmpType, icmpCode uint8
	from, to           netip.Addr // of the received packet; to may be unknown
	ttl, size, mtu     int

	number uint16    // our ICMP identifier or source port
	remote uint16    // the destination port of our packet
	idents [2]uint16 // where our ident may be: the protocol's own place, the IPv4 id; 0 unknown
	seq    uint32    // TCP sequence number or SCTP initiate tag, 0 unknown

	quoted               bool // and then also:
	short                bool // the quote ends before number and remote
	src, dst             netip.Addr
	quotedTTL, quotedTOS int
	extensions           []byte // RFC 4884, aliases the packet
}

// parse4 reads a received IPv4 packet.
func parse4(b []byte) (s sighting, ok bool) {
	ip, payload, ok := splitIP4(b)
	if !ok {
		return s, false
	}
	s = sighting{from: ip.src, to: ip.dst, ttl: ip.ttl, size: ip.length}
	protocol, ok := protocolOf(ip.protocol, false)
	if !ok || ip.fragment {
		return s, false
	}
	if protocol == ICMP {
		return s, parseICMP4(payload, ip.length-ip.header, &s)
	}
	return s, parseDirect(protocol, payload, &s)
}

// parse6 reads a packet received on a raw IPv6 socket, which comes without its
// IPv6 header. size is that of the payload.
func parse6(protocol Protocol, b []byte, from, to netip.Addr, ttl, size int) (s sighting, ok bool) {
	s = sighting{from: from, to: to, ttl: ttl, size: size + ip6Len}
	if protocol == ICMP {
		return s, parseICMP6(b, &s)
	}
	return s, parseDirect(protocol, b, &s)
}

func parseDirect(p Protocol, b []byte, s *sighting) bool {
	s.protocol = p
	switch p {
	case UDP:
		return parseUDP(b, s)
	case TCP:
		return parseTCP(b, s)
	}
	return parseSCTP(b, s)
}

// parseQuote reads what an ICMP error quotes of our packet.
func parseQuote(six bool, b []byte, s *sighting) bool {
	split := splitIP4
	if six {
		split = splitIP6
	}
	ip, b, ok := split(b)
	if !ok || ip.fragment {
		return false
	}
	if s.protocol, ok = protocolOf(ip.protocol, six); !ok {
		return false
	}
	s.quoted, s.src, s.dst = true, ip.src, ip.dst
	s.quotedTTL, s.quotedTOS = ip.ttl, ip.tos
	s.idents[1] = ip.id
	if len(b) < 8 {
		return quotedShort(b, s)
	}
	switch s.protocol {
	case ICMP:
		return quotedICMP(b, six, s)
	case UDP:
		quotedUDP(b, s)
	case TCP:
		quotedTCP(b, s)
	case SCTP:
		quotedSCTP(b, s)
	}
	return true
}

// quotedShort makes do with less than the eight bytes that RFC 792 demands.
func quotedShort(b []byte, s *sighting) bool {
	if s.protocol == ICMP || len(b) < 4 {
		s.short = true
	} else {
		s.number, s.remote = be.Uint16(b), be.Uint16(b[2:])
	}
	return s.idents[1] != 0
}

// ipHeader is what matters of an IP header of either version.
type ipHeader struct {
	src, dst netip.Addr
	protocol byte
	ttl, tos int
	id       uint16 // IPv4 only
	header   int    // bytes of the header with options or extension headers
	length   int    // of the packet, as the header says
	fragment bool   // not the first
}

// splitIP4 separates an IPv4 packet, which may be cut short, from its payload.
func splitIP4(b []byte) (h ipHeader, payload []byte, ok bool) {
	if len(b) < ip4Len || b[0]>>4 != 4 {
		return h, nil, false
	}
	h = ipHeader{
		src: netip.AddrFrom4([4]byte(b[12:])), dst: netip.AddrFrom4([4]byte(b[16:])),
		protocol: b[9], ttl: int(b[8]), tos: int(b[1]), id: be.Uint16(b[4:]),
		header: int(b[0]&0xf) * 4, length: int(be.Uint16(b[2:])),
		fragment: be.Uint16(b[6:])&0x1fff != 0,
	}
	if h.header < ip4Len || h.header > len(b) {
		return h, nil, false
	}
	return h, b[h.header:], true
}

// splitIP6 is splitIP4 for IPv6. It steps over extension headers.
func splitIP6(b []byte) (h ipHeader, payload []byte, ok bool) {
	if len(b) < ip6Len || b[0]>>4 != 6 {
		return h, nil, false
	}
	h = ipHeader{
		src: netip.AddrFrom16([16]byte(b[8:])), dst: netip.AddrFrom16([16]byte(b[24:])),
		protocol: b[6], ttl: int(b[7]), tos: int(be.Uint16(b) >> 4 & 0xff),
		header: ip6Len, length: ip6Len + int(be.Uint16(b[4:])),
	}
	if !h.skipExtensions(b) {
		return h, nil, false
	}
	return h, b[h.header:], true
}

// skipExtensions moves header and protocol past hop-by-hop options, routing,
// destination options and fragment headers (RFC 8200 section 4).
func (h *ipHeader) skipExtensions(b []byte) bool {
	for {
		var size int
		rest := b[h.header:]
		switch h.protocol {
		case unix.IPPROTO_HOPOPTS, unix.IPPROTO_ROUTING, unix.IPPROTO_DSTOPTS:
			if len(rest) < 8 {
				return false
			}
			size = 8 + 8*int(rest[1])
		case unix.IPPROTO_FRAGMENT:
			if len(rest) < 8 {
				return false
			}
			size, h.fragment = 8, be.Uint16(rest[2:])>>3 != 0
		default:
			return true
		}
		if size > len(rest) {
			return false
		}
		h.protocol = rest[0]
		h.header += size
	}
}
