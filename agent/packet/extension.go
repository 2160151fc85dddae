package packet

import (
	"net/netip"
	"strings"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
)

const (
	extensionHeader = 4
	objectHeader    = 4
	quoteMin        = 128 // bytes of a quote that extensions follow
	noExtensions    = -1  // length of the quote where RFC 4884 section 4 allows none
)

const classMPLS = 1 // RFC 4950; IANA, "ICMP Extension Object Classes and Class Sub-types"

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

// readExtensions stores the objects of an extension structure in r.
func (r *Reply) readExtensions(b []byte) {
	for b = b[extensionHeader:]; len(b) >= objectHeader; {
		length := int(be.Uint16(b))
		if length < objectHeader || length > len(b) {
			return
		}
		r.readObject(b[:length])
		b = b[length:]
	}
}

// readObject stores one object, as what it says if it is of a known class and
// whole, or else as it came.
func (r *Reply) readObject(b []byte) {
	switch x := parseObject(b).(type) {
	case *icmp.MPLSLabelStack:
		for _, l := range x.Labels {
			r.MPLS = append(r.MPLS, Label{Label: uint32(l.Label), TC: uint8(l.TC), Bottom: l.S, TTL: uint8(l.TTL)})
		}
	case *icmp.InterfaceInfo:
		r.Interfaces = append(r.Interfaces, interfaceOf(x))
	default:
		r.Extensions = append(r.Extensions, Extension{b[2], b[3], append([]byte(nil), b[objectHeader:]...)})
	}
}

// parseObject has the library read one object (RFC 4950, RFC 5837), alone in
// the shortest message that can have extensions, so that an object which is
// cut short spoils no other. It is nil for those that the library does not know.
func parseObject(b []byte) icmp.Extension {
	m := make([]byte, icmpLen+quoteMin+extensionHeader, icmpLen+quoteMin+extensionHeader+len(b))
	m[0] = byte(ipv4.ICMPTypeTimeExceeded)
	m[5] = quoteMin / 4                 // RFC 4884 section 4.2
	m[icmpLen+quoteMin] = 2 << 4        // version, and a checksum that was not computed
	if b[2] == classMPLS && b[3] != 1 { // the only sub-type there is
		return nil
	}
	parsed, err := icmp.ParseMessage(ipv4.ICMPTypeTimeExceeded.Protocol(), append(m, b...))
	if err != nil {
		return nil
	}
	if body, ok := parsed.Body.(*icmp.TimeExceeded); ok && len(body.Extensions) == 1 {
		return body.Extensions[0]
	}
	return nil
}

// interfaceOf is an interface information object; its sub-type begins with the
// role of the interface (RFC 5837 section 4.1).
func interfaceOf(x *icmp.InterfaceInfo) Interface {
	i := Interface{Role: InterfaceRole(x.Type >> 6)}
	if x.Addr != nil {
		i.Addr, _ = netip.AddrFromSlice(x.Addr.IP)
		i.Addr = i.Addr.Unmap()
	}
	if x.Interface != nil {
		i.Index, i.Name, i.MTU = uint32(x.Interface.Index), strings.TrimRight(x.Interface.Name, "\x00"), x.Interface.MTU
	}
	return i
}
