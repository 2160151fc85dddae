package mtr

import (
	"net"
	"net/netip"
	"time"
	"unsafe"

	"github.com/natrix-os/natrix/agent/packet"
)

// Largest size of a probe. Its origin is a payload of 9000 bytes less the
// smaller IP header; mtr-packet has it so.
const (
	maxSize4 = 9000
	maxSize6 = 9040
)

// What a send-probe that cannot be sent is answered with.
const (
	invalid         = "invalid-argument"
	invalidVersion  = "invalid-argument reason ip-version-not-supported"
	invalidProtocol = "invalid-argument reason protocol-not-supported"
)

// leastTimeout is that of a probe without any patience. It still gets the
// answer that is there already, as it would from mtr-packet, which looks once.
const leastTimeout = 20 * time.Millisecond

// probe is a send-probe command on its way to becoming a packet.Request.
// Numbers are kept as they were given, because what they may be depends on
// other arguments.
type probe struct {
	request packet.Request

	v4, v6             bool
	remote, local      []byte
	device             []byte
	port, localPort    int32
	tos, mark          int32
	size, pattern, ttl int32
	timeout            int32 // seconds
}

// read makes p.request of a command, or returns the complaint.
func (p *probe) read(c *command, d *dialect) (complaint string) {
	*p = probe{size: 64, ttl: 255, timeout: 10}
	for _, a := range c.pairs[:c.n] {
		if !p.set(a.name, a.value) {
			return invalid
		}
	}
	switch {
	case !p.v4 && !p.v6, p.v4 && !d.ip4, p.v6 && !d.ip6:
		return invalidVersion
	case p.request.Protocol == packet.SCTP && !d.sctp:
		return invalidProtocol
	case !p.addresses() || !p.numbers():
		return invalid
	}
	p.request.Tag = tagOf(c.token)
	if p.device != nil && !d.old {
		p.leaveBy(string(p.device))
	}
	return ""
}

// set takes in one argument. Names that mean nothing are ignored, and of
// those that come twice the last one counts.
func (p *probe) set(name, value []byte) (ok bool) {
	ok = true
	switch string(name) {
	case "ip-4":
		p.v4, p.v6, p.remote = true, false, value
	case "ip-6":
		p.v4, p.v6, p.remote = false, true, value
	case "local-ip-4", "local-ip-6":
		p.local = value
	case "local-device":
		p.device = value
	case "protocol":
		return p.setProtocol(value)
	case "port":
		p.port, ok = integer(value)
	case "local-port":
		p.localPort, ok = integer(value)
		ok = ok && p.localPort >= 1024
	case "tos":
		p.tos, ok = integer(value)
	case "mark":
		p.mark, ok = integer(value)
	case "size":
		p.size, ok = integer(value)
	case "bit-pattern":
		p.pattern, ok = integer(value)
	case "ttl":
		p.ttl, ok = integer(value)
	case "timeout":
		p.timeout, ok = integer(value)
	}
	return ok
}

func (p *probe) setProtocol(value []byte) bool {
	switch string(value) {
	case "icmp":
		p.request.Protocol = packet.ICMP
	case "udp":
		p.request.Protocol = packet.UDP
	case "tcp":
		p.request.Protocol = packet.TCP
	case "sctp":
		p.request.Protocol = packet.SCTP
	default:
		return false
	}
	return true
}

func (p *probe) addresses() (ok bool) {
	if p.request.Dst, ok = p.address(p.remote); ok && p.local != nil {
		p.request.Src, ok = p.address(p.local)
	}
	return ok
}

// address reads an address of the probe's family as inet_pton(3) does.
func (p *probe) address(b []byte) (netip.Addr, bool) {
	// Not string(b), which would be the only allocation of a probe. ParseAddr
	// keeps its argument only in an error, which is dropped here, and in a zone.
	a, err := netip.ParseAddr(unsafe.String(unsafe.SliceData(b), len(b)))
	if err != nil || a.Zone() != "" || a.Is4In6() || a.Is4() != p.v4 {
		return netip.Addr{}, false
	}
	return a, true
}

func (p *probe) numbers() bool {
	r := &p.request
	r.Pattern, r.Mark = byte(p.pattern), uint32(p.mark)
	r.Timeout = max(time.Duration(p.timeout)*time.Second, leastTimeout)
	r.DstPort = uint16(p.port)
	if r.Protocol == packet.UDP { // the only one whose source mtr-packet lets choose
		r.SrcPort = uint16(p.localPort)
	}
	return p.setTTL() && p.setTOS() && p.setSize()
}

func (p *probe) setTTL() bool {
	p.request.TTL = int(p.ttl)
	if p.ttl == -1 {
		p.request.TTL = packet.DefaultTTL
	}
	return p.request.TTL >= 1 && p.request.TTL <= 255
}

func (p *probe) setTOS() bool {
	p.request.TOS = int(byte(p.tos))
	if p.v4 {
		return true
	}
	if p.tos == -1 {
		p.request.TOS = 0
	}
	return p.tos >= -1 && p.tos <= 255
}

// setSize does not ask for less than one byte, because 0 is the engine's
// default. The engine raises it to what the protocol needs.
func (p *probe) setSize() bool {
	if p.request.Protocol == packet.TCP || p.request.Protocol == packet.SCTP {
		return true
	}
	p.request.Size = int(max(p.size, 1))
	if p.v4 {
		return p.size <= maxSize4
	}
	return p.size <= maxSize6
}

// leaveBy sends the probe out by a link. The source address is that of the
// route, whatever the link: mtr's users see the link itself working or not.
func (p *probe) leaveBy(link string) {
	p.request.Link = link
	if p.request.Src.IsValid() {
		return
	}
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(p.request.Dst, 1)))
	if err != nil {
		return // no route but perhaps the link's
	}
	defer conn.Close()
	p.request.Src = conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap().WithZone("")
}
