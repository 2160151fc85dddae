package packet

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// controls appends control messages (cmsg(3)) to b, which has the capacity.
type controls struct{ b []byte }

// message appends the header of a message and returns its data of n zero bytes.
func (c *controls) message(level, typ, n int) []byte {
	start := len(c.b)
	c.b = c.b[:start+unix.CmsgSpace(n)]
	clear(c.b[start:])
	h := (*unix.Cmsghdr)(unsafe.Pointer(&c.b[start]))
	h.Level, h.Type = int32(level), int32(typ)
	h.SetLen(unix.CmsgLen(n))
	return c.b[start+unix.CmsgLen(0) : start+unix.CmsgLen(n)]
}

func (c *controls) add32(level, typ int, value uint32) {
	binary.NativeEndian.PutUint32(c.message(level, typ, 4), value)
}

// addWay appends the link of a packet, and its source if that is wanted:
// struct in_pktinfo (ip(7)) or in6_pktinfo (ipv6(7)).
func (c *controls) addWay(six bool, way route, source bool) {
	if six {
		b := c.message(unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo)
		if source {
			src := way.src.As16()
			copy(b, src[:])
		}
		binary.NativeEndian.PutUint32(b[16:], uint32(way.index))
		return
	}
	b := c.message(unix.IPPROTO_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo)
	binary.NativeEndian.PutUint32(b, uint32(way.index))
	if source {
		src := way.src.As4()
		copy(b[4:], src[:])
	}
}

func nativeUint32(b []byte) uint32 { return binary.NativeEndian.Uint32(b) }

// eachControl calls do for every control message in b.
func eachControl(b []byte, do func(level, typ int32, data []byte)) {
	for len(b) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
		n := int(h.Len)
		if n < unix.CmsgLen(0) || n > len(b) {
			return
		}
		do(h.Level, h.Type, b[unix.CmsgLen(0):n])
		b = b[min(unix.CmsgSpace(n-unix.CmsgLen(0)), len(b)):]
	}
}
