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

func quotedUDP(b []byte, s *sighting) {
	s.number, s.remote, s.idents[0] = be.Uint16(b), be.Uint16(b[2:]), be.Uint16(b[6:])
}
