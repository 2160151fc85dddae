package nettest

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

const (
	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58
)

// ip is an IPv4 or IPv6 packet, whole or quoted. IPv6 extension headers are
// taken for an unknown protocol.
type ip []byte

func (p ip) v4() bool { return p[0]>>4 == 4 }

// valid says whether the other methods may be called.
func (p ip) valid() bool {
	if len(p) == 0 {
		return false
	}
	switch p[0] >> 4 {
	case 4:
		return len(p) >= 20 && p.headerLen() >= 20 && len(p) >= p.headerLen()
	case 6:
		return len(p) >= 40
	}
	return false
}

// toNeighbours says that no router may pass p on.
func (p ip) toNeighbours() bool {
	return p.dst().IsMulticast() || p.dst().IsLinkLocalUnicast()
}

func (p ip) clone() ip { return slices.Clone(p) }

func (p ip) headerLen() int {
	if p.v4() {
		return int(p[0]&15) * 4
	}
	return 40
}

func (p ip) protocol() byte {
	if p.v4() {
		return p[9]
	}
	return p[6]
}

func (p ip) payload() []byte { return p[p.headerLen():] }

func (p ip) ttl() byte {
	if p.v4() {
		return p[8]
	}
	return p[7]
}

func (p ip) setTTL(ttl byte) {
	if !p.v4() {
		p[7] = ttl
		return
	}
	p[8] = ttl
	p.seal()
}

func (p ip) tos() byte {
	if p.v4() {
		return p[1]
	}
	return p[0]<<4 | p[1]>>4
}

func (p ip) setTOS(tos byte) {
	if !p.v4() {
		p[0] = p[0]&0xf0 | tos>>4
		p[1] = p[1]&0x0f | tos<<4
		return
	}
	p[1] = tos
	p.seal()
}

func (p ip) srcBytes() []byte {
	if p.v4() {
		return p[12:16]
	}
	return p[8:24]
}

func (p ip) dstBytes() []byte {
	if p.v4() {
		return p[16:20]
	}
	return p[24:40]
}

func (p ip) src() netip.Addr     { a, _ := netip.AddrFromSlice(p.srcBytes()); return a }
func (p ip) dst() netip.Addr     { a, _ := netip.AddrFromSlice(p.dstBytes()); return a }
func (p ip) setSrc(a netip.Addr) { p.setAddr(p.srcBytes(), a) }
func (p ip) setDst(a netip.Addr) { p.setAddr(p.dstBytes(), a) }

// setAddr changes one of p's addresses, and the checksums that cover it.
func (p ip) setAddr(field []byte, a netip.Addr) {
	if sum := p.pseudoSummed(); sum != nil {
		old := ^binary.BigEndian.Uint16(sum)
		sealed := ^fold(partial(a.AsSlice(), uint32(old)+inverse(field)))
		if sealed == 0 && p.protocol() == protoUDP {
			sealed = 0xffff // 0 would mean that there is none (RFC 768)
		}
		binary.BigEndian.PutUint16(sum, sealed)
	}
	copy(field, a.AsSlice())
	if p.v4() {
		p.seal()
	}
}

// pseudoSummed returns the checksum of p's payload if it covers the addresses too.
func (p ip) pseudoSummed() []byte {
	at := 0
	switch p.protocol() {
	case protoTCP:
		at = 16
	case protoUDP:
		at = 6
	case protoICMPv6:
		at = 2
	default:
		return nil
	}
	body := p.payload()
	if p.laterFragment() || len(body) < at+2 {
		return nil
	}
	if sum := body[at : at+2]; p.protocol() != protoUDP || sum[0]|sum[1] != 0 {
		return sum
	}
	return nil // UDP without a checksum
}

// seal writes the IPv4 header checksum.
func (p ip) seal() {
	p[10], p[11] = 0, 0
	binary.BigEndian.PutUint16(p[10:], ^fold(partial(p[:p.headerLen()], 0)))
}

// sealICMP writes the checksum of the ICMP or ICMPv6 message in p.
func (p ip) sealICMP() {
	body := p.payload()
	body[2], body[3] = 0, 0
	var sum uint32
	if !p.v4() { // RFC 8200 section 8.1
		sum = partial(p[8:40], uint32(len(body))+protoICMPv6)
	}
	binary.BigEndian.PutUint16(body[2:], ^fold(partial(body, sum)))
}

// partial adds the 16-bit words of b to sum (RFC 1071).
func partial(b []byte, sum uint32) uint32 {
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	return sum
}

// inverse is partial for taking b out of a sum (RFC 1624).
func inverse(b []byte) uint32 {
	return uint32(^fold(partial(b, 0)))
}

func fold(sum uint32) uint16 {
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

func (p ip) laterFragment() bool {
	return p.v4() && binary.BigEndian.Uint16(p[6:])&0x1fff != 0
}

// mayFragment says that routers may: IPv4 without DF.
func (p ip) mayFragment() bool {
	return p.v4() && p[6]&0x40 == 0
}

// fragment cuts an IPv4 packet into pieces of at most mtu bytes (RFC 791
// section 3.2). Options go into the first piece only.
func (p ip) fragment(mtu int) []ip {
	const more = 0x2000
	flags := binary.BigEndian.Uint16(p[6:])
	body := p.payload()
	header := p[:p.headerLen()].clone()
	var pieces []ip
	for offset := 0; offset < len(body); {
		n := min(len(body)-offset, (mtu-len(header))&^7)
		piece := append(header.clone(), body[offset:offset+n]...)
		field := flags&^0x1fff | (flags&0x1fff + uint16(offset/8))
		if offset+n < len(body) {
			field |= more
		}
		binary.BigEndian.PutUint16(piece[6:], field)
		binary.BigEndian.PutUint16(piece[2:], uint16(len(piece)))
		piece.seal()
		pieces = append(pieces, piece)
		offset += n
		header = header[:20]
		header[0] = 0x45
	}
	return pieces
}
