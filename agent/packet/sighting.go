package packet

import "net/netip"

// A sighting is what a received packet says about one of ours: a direct
// answer, or an ICMP error with a quote of it.
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
		ok = parseICMP4(payload, ip.length-ip.header, &s)
	} else {
		ok = parseDirect(protocol, payload, &s)
	}
	return s, ok
}

// parse6 reads a packet received on a raw IPv6 socket, which comes without its
// IPv6 header. size is that of the payload.
func parse6(protocol Protocol, b []byte, from, to netip.Addr, ttl, size int) (s sighting, ok bool) {
	s = sighting{from: from, to: to, ttl: ttl, size: size + ip6Len}
	if protocol == ICMP {
		ok = parseICMP6(b, &s)
	} else {
		ok = parseDirect(protocol, b, &s)
	}
	return s, ok
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
