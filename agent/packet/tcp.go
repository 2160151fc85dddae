package packet

const (
	tcpFIN = 1 << iota
	tcpSYN
	tcpRST
	tcpPSH
	tcpACK
)

// encodeTCP writes a SYN (RFC 9293 section 3.1). Its sequence number holds the
// ident, which comes back in the answer's acknowledgement.
func encodeTCP(b []byte, r *Request, f *flight) {
	be.PutUint16(b, f.sport)
	be.PutUint16(b[2:], f.dport)
	be.PutUint32(b[4:], f.seq)
	be.PutUint32(b[8:], 0)
	b[12], b[13] = tcpLen/4<<4, tcpSYN
	be.PutUint16(b[14:], 64240)
	be.PutUint32(b[16:], 0)
	mss := uint32(1460)
	if f.dst.Is6() {
		mss = 1440
	}
	be.PutUint32(b[20:], 2<<24|4<<16|mss)
	be.PutUint16(b[16:], ^fold(sum(b, pseudo(f, TCP.number(false), len(b)))))
}

func parseTCP(b []byte, s *sighting) bool {
	if len(b) < 20 {
		return false
	}
	switch flags := b[13]; {
	case flags&tcpRST != 0 && flags&tcpACK != 0:
		s.kind = TCPClosed
	case flags&tcpSYN != 0 && flags&tcpACK != 0:
		s.kind = TCPOpen
	default:
		return false
	}
	s.remote, s.number = be.Uint16(b), be.Uint16(b[2:])
	s.seq = be.Uint32(b[8:]) - 1 // a SYN counts as one byte
	s.idents[0] = uint16(s.seq)
	return true
}

func quotedTCP(b []byte, s *sighting) {
	s.number, s.remote, s.seq = be.Uint16(b), be.Uint16(b[2:]), be.Uint32(b[4:])
	s.idents[0] = uint16(s.seq)
}
