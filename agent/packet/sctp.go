package packet

import (
	"encoding/binary"
	"hash/crc32"
)

// Chunk types of RFC 9260 section 3.2.
const (
	sctpINIT    = 1
	sctpINITACK = 2
	sctpABORT   = 6
)

// encodeSCTP writes an INIT (RFC 9260 section 3.3.2). Its initiate tag holds
// the ident and comes back as the verification tag of every answer.
func encodeSCTP(b []byte, f *flight) {
	be.PutUint16(b, f.sport)
	be.PutUint16(b[2:], f.dport)
	be.PutUint32(b[4:], 0) // an INIT carries verification tag 0
	be.PutUint32(b[8:], 0)
	b[12], b[13] = sctpINIT, 0
	be.PutUint16(b[14:], 20)
	be.PutUint32(b[16:], f.seq)
	be.PutUint32(b[20:], 1<<16) // receiver window
	be.PutUint16(b[24:], 1)     // outbound streams
	be.PutUint16(b[26:], 1)     // inbound streams
	be.PutUint32(b[28:], f.seq) // initial TSN
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, castagnoli()))
}

// castagnoli is CRC32c (RFC 9260 appendix A); the table is built once by the library.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

func parseSCTP(b []byte, s *sighting) bool {
	if len(b) < 16 {
		return false
	}
	switch b[12] {
	case sctpINITACK:
		s.kind = SCTPOpen
	case sctpABORT:
		s.kind = SCTPClosed
	default:
		return false
	}
	s.remote, s.number, s.seq = be.Uint16(b), be.Uint16(b[2:]), be.Uint32(b[4:])
	s.idents[0] = uint16(s.seq)
	return true
}

// quotedSCTP finds the initiate tag only in quotes longer than the eight bytes
// that RFC 792 demands.
func quotedSCTP(b []byte, s *sighting) {
	s.number, s.remote = be.Uint16(b), be.Uint16(b[2:])
	if len(b) >= 20 {
		s.seq = be.Uint32(b[16:])
		s.idents[0] = uint16(s.seq)
	}
}
