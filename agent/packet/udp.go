package packet

// encodeUDP writes a datagram whose checksum is the ident, which the first two
// payload bytes make it.
func encodeUDP(b []byte, r *Request, f *flight) {
	be.PutUint16(b, f.sport)
	be.PutUint16(b[2:], f.dport)
	be.PutUint16(b[4:], uint16(len(b)))
	be.PutUint16(b[6:], 0)
	fill(b[udpLen:], r.Pattern)
	be.PutUint16(b[udpLen:], 0)
	s := sum(b, pseudo(f, UDP.number(false), len(b)))
	be.PutUint16(b[udpLen:], balance(s, f.ident))
	be.PutUint16(b[6:], f.ident)
}

// parseUDP reads data that an open port sent back. Nothing in it is ours but
// the ports, so the engine looks the ident up by these.
func parseUDP(b []byte, s *sighting) bool {
	if len(b) < udpLen {
		return false
	}
	s.kind, s.remote, s.number = UDPReply, be.Uint16(b), be.Uint16(b[2:])
	return true
}

// quotedUDP takes back what a NAT did to the checksum when it replaced the
// source address (RFC 1624), if the quote still shows that.
func quotedUDP(b []byte, s *sighting) {
	s.number, s.remote, s.idents[0] = be.Uint16(b), be.Uint16(b[2:]), be.Uint16(b[6:])
	if s.to.IsValid() && s.src != s.to {
		before, after := s.to.As16(), s.src.As16()
		s.idents[0] = ^fold(uint64(^s.idents[0]) + uint64(^fold(sum(after[:], 0))) + uint64(fold(sum(before[:], 0))))
	}
}
