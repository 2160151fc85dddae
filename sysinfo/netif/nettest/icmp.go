package nettest

import (
	"encoding/binary"
	"net/netip"
)

// Extension is an ICMP extension object (RFC 4884 section 7).
type Extension struct {
	Class, CType byte
	Data         []byte // a multiple of 4 bytes
}

// Label is an entry of an MPLS label stack (RFC 3032 section 2.1).
type Label struct {
	Label uint32 // 20 bits
	TC    byte   // traffic class, 3 bits
	TTL   byte
}

// MPLS is the label stack, top first, under which a packet arrived (RFC 4950).
func MPLS(stack ...Label) Extension {
	e := Extension{Class: 1, CType: 1}
	for i, l := range stack {
		entry := l.Label<<12 | uint32(l.TC)<<9 | uint32(l.TTL)
		if i == len(stack)-1 {
			entry |= 1 << 8 // bottom of stack
		}
		e.Data = binary.BigEndian.AppendUint32(e.Data, entry)
	}
	return e
}

func (p ip) isICMP() bool {
	return (p.protocol() == protoICMP && p.v4() || p.protocol() == protoICMPv6 && !p.v4()) &&
		!p.laterFragment() && len(p.payload()) >= 8
}

func (p ip) isEcho() bool {
	return p.isICMP() && (p.v4() && p.payload()[0] == 8 || !p.v4() && p.payload()[0] == 128)
}

// isError says that p is an ICMP error, which must not be answered by another.
func (p ip) isError() bool {
	if !p.isICMP() {
		return false
	}
	kind := p.payload()[0]
	if !p.v4() {
		return kind < 128
	}
	switch kind {
	case 3, 4, 5, 11, 12:
		return true
	}
	return false
}

// quoted returns the packet quoted by an ICMP error, or nil.
func (p ip) quoted() ip {
	if !p.isError() {
		return nil
	}
	if q := ip(p.payload()[8:]); q.valid() {
		return q
	}
	return nil
}

// echoReply answers an echo request.
func echoReply(p ip, r Router) ip {
	message := ip(p.payload()).clone()
	message[0] = 0
	if !p.v4() {
		message[0] = 129
	}
	return icmp(p.dst(), p.src(), message, r)
}

// refusal answers p with an error. mtu is for tooBig alone.
func refusal(p ip, why Refusal, mtu int, r Router) ip {
	message := make([]byte, 8)
	src, room := r.Addr6, 1280-40
	if p.v4() {
		message[0], message[1] = byte(why>>24), byte(why>>16)
		binary.BigEndian.PutUint16(message[6:], uint16(mtu)) // RFC 1191 section 4
		src, room = r.Addr4, 576-20
	} else {
		message[0], message[1] = byte(why>>8), byte(why)
		binary.BigEndian.PutUint32(message[4:], uint32(mtu))
	}
	extension := extensions(r.Extensions)
	if !mayExtend(why, p.v4()) {
		extension = nil
	}
	quote := quote(p, r.Quote, room-len(message)-len(extension), len(extension) > 0)
	if extension != nil && !r.Unsized {
		setQuoteLen(message, p.v4(), len(quote))
	}
	message = append(append(message, quote...), extension...)
	return icmp(src, p.src(), message, r)
}

// mayExtend says whether the message has room for a length field (RFC 4884 section 4).
func mayExtend(why Refusal, v4 bool) bool {
	if v4 {
		kind := why >> 24
		return kind == 3 || kind == 11 || kind == 12
	}
	kind := why >> 8 & 0xff
	return kind == 1 || kind == 3
}

// quote returns what an error repeats of p: want bytes if not 0, at most room.
// Before extensions it is padded to 128 bytes at least and to whole words
// (RFC 4884 section 3); those of IPv6 are 8 bytes.
func quote(p ip, want, room int, padded bool) []byte {
	n := min(len(p), room)
	if want != 0 {
		n = min(n, want)
	}
	q := p[:n].clone()
	if padded {
		q = append(q, make([]byte, max(0, 128-n))...)
		if odd := len(q) % 8; odd != 0 {
			q = append(q, make([]byte, 8-odd)...)
		}
	}
	return q
}

// setQuoteLen writes the length field: the sixth byte counts 32-bit words,
// that of ICMPv6 is the fifth and counts 64-bit words.
func setQuoteLen(message []byte, v4 bool, n int) {
	if v4 {
		message[5] = byte(n / 4)
	} else {
		message[4] = byte(n / 8)
	}
}

// extensions writes an extension structure (RFC 4884 section 7), or nothing.
func extensions(objects []Extension) []byte {
	if len(objects) == 0 {
		return nil
	}
	b := []byte{2 << 4, 0, 0, 0}
	for _, o := range objects {
		b = binary.BigEndian.AppendUint16(b, uint16(4+len(o.Data)))
		b = append(b, o.Class, o.CType)
		b = append(b, o.Data...)
	}
	binary.BigEndian.PutUint16(b[2:], ^fold(partial(b, 0)))
	return b
}

// icmp wraps an ICMP message up as an answer of r.
func icmp(src, dst netip.Addr, message []byte, r Router) ip {
	ttl := r.TTL
	if ttl == 0 {
		ttl = 64
	}
	var p ip
	if src.Is4() {
		p = append(make(ip, 20), r.Options...)
		p[0] = 4<<4 | byte(len(p)/4)
		binary.BigEndian.PutUint16(p[2:], uint16(len(p)+len(message)))
		p[8], p[9] = ttl, protoICMP
	} else {
		p = make(ip, 40)
		p[0] = 6 << 4
		binary.BigEndian.PutUint16(p[4:], uint16(len(message)))
		p[6], p[7] = protoICMPv6, ttl
	}
	copy(p.srcBytes(), src.AsSlice())
	copy(p.dstBytes(), dst.AsSlice())
	if p.v4() {
		p.seal()
	}
	p = append(p, message...)
	p.sealICMP()
	return p
}
