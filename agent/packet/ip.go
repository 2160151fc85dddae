package packet

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

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
