package capture

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// header is what an IP packet says of whose it is.
type header struct {
	src, dst netip.Addr
	protocol int
	fragment bool   // not the first of a packet: there are no numbers in it
	more     bool   // further fragments follow
	id       uint32 // of the fragments of one packet
	payload  []byte // above IP and its extensions
}

// parse reads an IP header (RFC 791, RFC 8200). The packet may end early.
func parse(b []byte) (header, bool) {
	switch {
	case len(b) >= 20 && b[0]>>4 == 4:
		return parse4(b)
	case len(b) >= 40 && b[0]>>4 == 6:
		return parse6(b)
	}
	return header{}, false
}

func parse4(b []byte) (header, bool) {
	size := int(b[0]&0xf) * 4
	if size < 20 || len(b) < size {
		return header{}, false
	}
	flags := binary.BigEndian.Uint16(b[6:])
	return header{
		src: netip.AddrFrom4([4]byte(b[12:16])), dst: netip.AddrFrom4([4]byte(b[16:20])), protocol: int(b[9]),
		fragment: flags&0x1fff != 0, more: flags&0x2000 != 0, id: uint32(binary.BigEndian.Uint16(b[4:])), payload: b[size:],
	}, true
}

func parse6(b []byte) (header, bool) {
	h := header{src: netip.AddrFrom16([16]byte(b[8:24])), dst: netip.AddrFrom16([16]byte(b[24:40])), protocol: int(b[6]), payload: b[40:]}
	for len(h.payload) >= 8 && !h.fragment {
		size := 8
		switch h.protocol {
		case unix.IPPROTO_HOPOPTS, unix.IPPROTO_ROUTING, unix.IPPROTO_DSTOPTS:
			size += int(h.payload[1]) * 8
		case unix.IPPROTO_FRAGMENT:
			offset := binary.BigEndian.Uint16(h.payload[2:])
			h.fragment, h.more, h.id = offset>>3 != 0, offset&1 != 0, binary.BigEndian.Uint32(h.payload[4:])
		default:
			return h, true
		}
		if size > len(h.payload) {
			return h, false
		}
		h.protocol, h.payload = int(h.payload[0]), h.payload[size:]
	}
	return h, true
}

// kinds of number in a packet.
const (
	noNumber   = iota
	ports      // of UDP, TCP and SCTP
	identifier // of an ICMP echo
	quote      // of another packet, in an ICMP error
)

// numbers are the two ports, or the identifier twice.
func (h header) numbers() (kind int, src, dst uint16) {
	if h.fragment || len(h.payload) < 8 {
		return noNumber, 0, 0
	}
	first := h.payload[0]
	switch h.protocol {
	case unix.IPPROTO_UDP, unix.IPPROTO_TCP, unix.IPPROTO_SCTP:
		return ports, binary.BigEndian.Uint16(h.payload), binary.BigEndian.Uint16(h.payload[2:])
	case unix.IPPROTO_ICMP:
		switch first {
		case 0, 8:
			id := binary.BigEndian.Uint16(h.payload[4:])
			return identifier, id, id
		case 3, 4, 5, 11, 12: // RFC 792
			return quote, 0, 0
		}
	case unix.IPPROTO_ICMPV6:
		switch {
		case first == 128 || first == 129:
			id := binary.BigEndian.Uint16(h.payload[4:])
			return identifier, id, id
		case first < 128: // RFC 4443, section 2.1
			return quote, 0, 0
		}
	}
	return noNumber, 0, 0
}

// ours reports whether a packet belongs to a flow. On the loopback it is on
// its way out and in at once.
func (c *Capture) ours(b []byte, out, in bool) bool {
	h, ok := parse(b)
	if !ok {
		return false
	}
	if h.fragment {
		return c.fragments.has(h.key())
	}
	found := c.wholes(h, out, in)
	if found && h.more {
		c.fragments.add(h.key())
	}
	return found
}

func (c *Capture) wholes(h header, out, in bool) bool {
	kind, src, dst := h.numbers()
	switch kind {
	case noNumber:
		return false
	case quote:
		quoted, ok := parse(h.payload[8:])
		if !ok || !in && !out {
			return false
		}
		kind, src, dst := quoted.numbers()
		// An error that comes in quotes what we sent, one that goes out what we got.
		return kind != quote && (in && c.match(quoted.protocol, kind, quoted.dst, src) || out && c.match(quoted.protocol, kind, quoted.src, dst))
	}
	return out && c.match(h.protocol, kind, h.dst, src) || in && c.match(h.protocol, kind, h.src, dst)
}

// match looks for the flow of a packet. An echo can be answered by another
// address than that asked, and its identifier is ours alone.
func (c *Capture) match(protocol, kind int, peer netip.Addr, number uint16) bool {
	for _, f := range c.flows {
		if (f.Protocol == 0 || f.Protocol == protocol) && (f.Peer == peer || f.Protocol == 0 && kind == identifier) && f.Owns(number) {
			return true
		}
	}
	return false
}

// key tells the fragments of one packet from others.
type key struct {
	src, dst netip.Addr
	protocol int
	id       uint32
}

func (h header) key() key { return key{h.src, h.dst, h.protocol, h.id} }

// ring remembers the packets whose first fragment was ours: the last ones.
type ring struct {
	keys [256]key
	next int
}

func (r *ring) add(k key) {
	r.keys[r.next%len(r.keys)] = k
	r.next++
}

func (r *ring) has(k key) bool {
	for _, known := range r.keys {
		if known == k {
			return true
		}
	}
	return false
}
