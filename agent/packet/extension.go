package packet

import (
	"net/netip"
)

const (
	extensionHeader = 4
	objectHeader    = 4
	quoteMin        = 128 // bytes of a quote that extensions follow
	noExtensions    = -1  // length of the quote where RFC 4884 section 4 allows none
)

// Object classes (IANA, "ICMP Extension Object Classes and Class Sub-types").
const (
	classMPLS      = 1 // RFC 4950
	classInterface = 2 // RFC 5837
)

// splitExtensions separates the quote of an ICMP error from the extensions
// behind it. length is the length of the quote in bytes as the ICMP header
// gives it; routers older than RFC 4884 leave it 0 and pad the quote to 128
// (section 5.5), which only a valid extension header tells from a long quote.
func splitExtensions(b []byte, length int) (quote, extensions []byte) {
	at := length
	if at == 0 {
		at = quoteMin
	}
	if at < quoteMin || len(b) < at+extensionHeader {
		return b, nil
	}
	if x := b[at:]; validExtensions(x) {
		return b[:at], x
	}
	return b, nil
}

// validExtensions checks version and checksum; a checksum of 0 was not computed (RFC 4884 section 7).
func validExtensions(b []byte) bool {
	return b[0]>>4 == 2 && (be.Uint16(b[2:]) == 0 || fold(sum(b, 0)) == 0xffff)
}

// read stores the objects of an extension structure in r.
func (r *Reply) readExtensions(b []byte) {
	for b = b[extensionHeader:]; len(b) >= objectHeader; {
		length := int(be.Uint16(b))
		if length < objectHeader || length > len(b) {
			return
		}
		class, ctype, data := b[2], b[3], b[objectHeader:length]
		switch {
		case class == classMPLS && ctype == 1:
			r.MPLS = appendLabels(r.MPLS, data)
		case class == classInterface:
			r.Interfaces = append(r.Interfaces, parseInterface(ctype, data))
		default:
			r.Extensions = append(r.Extensions, Extension{class, ctype, append([]byte(nil), data...)})
		}
		b = b[length:]
	}
}

func appendLabels(to []Label, b []byte) []Label {
	for ; len(b) >= 4; b = b[4:] {
		v := be.Uint32(b)
		to = append(to, Label{Label: v >> 12, TC: uint8(v >> 9 & 7), Bottom: v>>8&1 != 0, TTL: uint8(v)})
	}
	return to
}

// parseInterface reads an interface information object (RFC 5837 section 4):
// the C-Type's bits say which of the fields follow, in this order. What is cut short is left out.
func parseInterface(ctype uint8, b []byte) Interface {
	i := Interface{Role: InterfaceRole(ctype >> 6)}
	if ctype&8 != 0 && len(b) >= 4 {
		i.Index, b = be.Uint32(b), b[4:]
	}
	if ctype&4 != 0 {
		i.Addr, b = parseInterfaceAddr(b)
	}
	if ctype&2 != 0 && len(b) >= 1 && len(b) >= int(b[0]) && b[0] > 0 {
		n := int(b[0])
		i.Name, b = trimNUL(b[1:n]), b[n:]
	}
	if ctype&1 != 0 && len(b) >= 4 {
		i.MTU = int(be.Uint32(b))
	}
	return i
}

// parseInterfaceAddr reads an address sub-object (RFC 5837 section 4.2).
func parseInterfaceAddr(b []byte) (netip.Addr, []byte) {
	if len(b) < 4 {
		return netip.Addr{}, nil
	}
	size := 4
	if be.Uint16(b) == 2 { // AFI 1 is IPv4, 2 is IPv6
		size = 16
	}
	if len(b) < 4+size {
		return netip.Addr{}, nil
	}
	a, _ := netip.AddrFromSlice(b[4 : 4+size])
	return a, b[4+size:]
}

func trimNUL(b []byte) string {
	for len(b) > 0 && b[len(b)-1] == 0 {
		b = b[:len(b)-1]
	}
	return string(b)
}
