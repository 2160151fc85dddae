package packet

import (
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// encodeICMP writes an echo request (RFC 792, RFC 4443 section 4.1). In a flow
// the first payload word makes the checksum that of the flow.
func encodeICMP(b []byte, r *Request, f *flight) {
	six := f.dst.Is6()
	b[0], b[1] = byte(ipv4.ICMPTypeEcho), 0
	if six {
		b[0] = byte(ipv6.ICMPTypeEchoRequest)
	}
	be.PutUint16(b[2:], 0)
	be.PutUint16(b[4:], f.sport)
	be.PutUint16(b[6:], f.ident)
	fill(b[icmpLen:], r.Pattern)
	if r.Flow != 0 {
		be.PutUint16(b[icmpLen:], 0)
	}
	var s uint64
	if six {
		s = pseudo(f, ICMP.number(true), len(b))
	}
	s = sum(b, s)
	if r.Flow != 0 {
		word := balance(s, r.Flow)
		be.PutUint16(b[icmpLen:], word)
		s += uint64(word)
	}
	be.PutUint16(b[2:], ^fold(s))
}

// parseICMP4 reads an ICMP message. Raw IPv4 sockets see it before the kernel
// has verified its checksum. length is what it had before our buffer cut it.
func parseICMP4(b []byte, length int, s *sighting) bool {
	if len(b) < icmpLen || len(b) >= length && fold(sum(b[:max(length, icmpLen)], 0)) != 0xffff {
		return false
	}
	b = b[:min(len(b), max(length, icmpLen))] // what follows is padding of the link
	s.icmpType, s.icmpCode = b[0], b[1]
	if ipv4.ICMPType(b[0]) == ipv4.ICMPTypeEchoReply {
		echoReply(b, s)
		return true
	}
	switch s.kind = kind4(b[0], b[1]); s.kind {
	case NoReply:
		return false
	case SourceQuench:
		return parseError(false, b, noExtensions, s)
	case TooBig:
		s.mtu = int(be.Uint16(b[6:])) // RFC 1191 section 4
	}
	return parseError(false, b, 4*int(b[5]), s)
}

// parseICMP6 reads an ICMPv6 message, whose checksum the kernel has verified.
func parseICMP6(b []byte, s *sighting) bool {
	if len(b) < icmpLen {
		return false
	}
	s.icmpType, s.icmpCode = b[0], b[1]
	if ipv6.ICMPType(b[0]) == ipv6.ICMPTypeEchoReply {
		echoReply(b, s)
		return true
	}
	switch s.kind = kind6(b[0], b[1]); s.kind {
	case NoReply:
		return false
	case TooBig:
		s.mtu = int(be.Uint32(b[4:])) // RFC 4443 section 3.2
		return parseError(true, b, noExtensions, s)
	case ParameterProblem:
		return parseError(true, b, noExtensions, s)
	}
	return parseError(true, b, 8*int(b[4]), s)
}

func echoReply(b []byte, s *sighting) {
	s.kind, s.protocol = EchoReply, ICMP
	s.number, s.idents[0] = be.Uint16(b[4:]), be.Uint16(b[6:])
}

// parseError reads the quote and the extensions of an ICMP error. length is
// that of the padded quote in bytes as RFC 4884 has it in the ICMP header.
func parseError(six bool, b []byte, length int, s *sighting) bool {
	quote, extensions := splitExtensions(b[icmpLen:], length)
	s.extensions = extensions
	return parseQuote(six, quote, s)
}

func quotedICMP(b []byte, six bool, s *sighting) bool {
	if six && ipv6.ICMPType(b[0]) != ipv6.ICMPTypeEchoRequest || !six && ipv4.ICMPType(b[0]) != ipv4.ICMPTypeEcho {
		return false
	}
	s.number, s.idents[0] = be.Uint16(b[4:]), be.Uint16(b[6:])
	return true
}

// kind4 returns the kind of an ICMP error, NoReply if it is none.
func kind4(typ, code uint8) Kind {
	switch ipv4.ICMPType(typ) {
	case ipv4.ICMPTypeTimeExceeded:
		return timeExceeded(code)
	case ipv4.ICMPTypeDestinationUnreachable:
		if int(code) < len(unreachable4) {
			return unreachable4[code]
		}
		return OtherError
	case ipv4.ICMPTypeParameterProblem:
		return ParameterProblem
	case 4: // source quench, which RFC 6633 retired and x/net does not name
		return SourceQuench
	}
	return NoReply
}

// kind6 is kind4 for ICMPv6, where every type below 128 is an error.
func kind6(typ, code uint8) Kind {
	switch ipv6.ICMPType(typ) {
	case ipv6.ICMPTypeTimeExceeded:
		return timeExceeded(code)
	case ipv6.ICMPTypeDestinationUnreachable:
		if int(code) < len(unreachable6) {
			return unreachable6[code]
		}
		return OtherError
	case ipv6.ICMPTypePacketTooBig:
		return TooBig
	case ipv6.ICMPTypeParameterProblem:
		return ParameterProblem
	}
	return NoReply
}

func timeExceeded(code uint8) Kind {
	switch code {
	case 0:
		return TTLExpired
	case 1:
		return ReassemblyExpired
	}
	return OtherError
}

// unreachable4 are the codes of RFC 792, RFC 1122 section 3.2.2.1 and RFC 1812 section 5.2.7.1.
var unreachable4 = [...]Kind{
	NetUnreachable, HostUnreachable, ProtoUnreachable, PortUnreachable, TooBig, SourceRouteFailed,
	NetUnknown, HostUnknown, SourceIsolated, NetProhibited, HostProhibited, NetTOS, HostTOS,
	AdminProhibited, HostPrecedence, PrecedenceCutoff,
}

// unreachable6 are the codes of RFC 4443 section 3.1 and RFC 6550 section 20.18.
var unreachable6 = [...]Kind{
	NetUnreachable, AdminProhibited, BeyondScope, HostUnreachable, PortUnreachable,
	SourcePolicy, RouteRejected, SourceRoutingError,
}
