package packet

import "net/netip"

// state is where a flight is in its life.
type state uint8

const (
	idle state = iota // free, nothing to remember
	staged
	flying
	answered // and remembered, to tell duplicates
	expired  // and remembered, to tell late answers
)

// flight is one packet: in flight, or the memory of one until its ident is
// needed again.
type flight struct {
	sink *Stream // who wants to know; nil: nobody any more
	tag  uint64

	dst, src     netip.Addr // without zone; src is the zero Addr if the kernel chose
	ttl          uint8
	sport, dport uint16 // ICMP: sport is the identifier, dport 0
	seq          uint32 // TCP sequence number, SCTP initiate tag
	ident        uint16
	protocol     Protocol
	state        state

	order   uint64 // of departure, through the whole engine
	sent    int64  // engine clock
	offset  offset // of the wall clock, at departure
	stamps  stamps // the kernel's, of departure
	timeout int64  // nanoseconds

	deadline   int64 // engine clock
	prev, next *flight
	slot       int32 // in the wheel, -1 outside

	lane  *lane  // whose ident it is
	named *named // its source port, if the request named one
	fd    int    // its own socket, without privilege only
}

// A lane tells packets apart by 16-bit idents, which are ICMP sequence number,
// UDP checksum, IPv4 id and half of a TCP sequence number. What tells it from
// other lanes and other engines are its blocks of numbers.
type lane struct {
	blocks []block                               // more than one if TCP needs the source ports
	pages  [1 << 16 / pageSize]*[pageSize]flight // allocated when first used
	last   uint16                                // ident given out last
	round  uint16                                // how often last has wrapped around
	aloft  int                                   // idents in use
	syns   int                                   // of these for TCP
	next   int                                   // source port for TCP, counted through the blocks
}

const (
	pageSize = 1024
	laneSize = 1<<16 - 1 // ident 0 is never used: UDP cannot send checksum 0
	laneFull = laneSize * 15 / 16
)

// flight returns the flight of an ident, nil if the ident was never used.
func (l *lane) flight(ident uint16) *flight {
	p := l.pages[ident/pageSize]
	if p == nil {
		return nil
	}
	return &p[ident%pageSize]
}

// take returns the flight whose ident has been out of use for longest.
func (l *lane) take() *flight {
	for {
		l.last++
		if l.last == 0 {
			l.round++
			continue
		}
		p := &l.pages[l.last/pageSize]
		if *p == nil {
			*p = new([pageSize]flight)
		}
		f := &(*p)[l.last%pageSize]
		if f.state == staged || f.state == flying {
			continue
		}
		*f = flight{ident: l.last, slot: -1, state: staged, lane: l}
		l.aloft++
		return f
	}
}

// number returns the identifier that ICMP packets carry. It changes when the
// idents have wrapped around, so that answers from an earlier round are not
// taken for those of this one.
func (l *lane) number() uint16 { return l.blocks[0].number(l.round) }

// port returns a source port for TCP. Two SYNs with the same ports at a time
// would get one answer between them (RFC 5961 section 4), so it is the port
// that has been out of use for longest.
func (l *lane) port() uint16 {
	i := l.next % (len(l.blocks) * blockSize)
	l.next = i + 1
	return l.blocks[i/blockSize].number(uint16(i))
}

// maxBlocks of a lane bound the SYNs to one port that are told apart: 4096.
const maxBlocks = 16

// ports chooses the numbers that identify a packet. Within a flow they are constant.
func (l *lane) ports(r *Request, ident uint16) (source, destination uint16) {
	if r.Protocol == ICMP {
		return l.number(), 0
	}
	vary := ident
	if r.Flow != 0 {
		vary = r.Flow
	}
	source, destination = r.SrcPort, r.DstPort
	switch {
	case source != 0:
	case r.Protocol == TCP && r.Flow == 0:
		source = l.port()
	default:
		source = l.blocks[0].number(vary)
	}
	if destination == 0 {
		if r.Flow != 0 {
			vary /= blockSize // the lower half is in the source port already
		}
		destination = FirstUDPPort + vary%(1<<16-FirstUDPPort)
	}
	return source, destination
}
