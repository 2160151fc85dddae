package shell

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/natrix-os/natrix/agent/capture"
)

// describe is a packet in one line, as far as people look for why a network
// does not work: who asks whom for what.
func describe(p capture.Packet) string {
	direction := "in "
	if p.Out {
		direction = "out"
	}
	return fmt.Sprintf("%s %s %s", p.At.UTC().Format("15:04:05.000"), direction, network(p))
}

// network describes what is in a frame.
func network(p capture.Packet) string {
	switch b := p.Data; {
	case p.Protocol == unix.ETH_P_ARP && len(b) >= 28 && b[4] == 6 && b[5] == 4:
		return arp(b)
	case p.Protocol == unix.ETH_P_IP && len(b) >= 20 && b[0]>>4 == 4 && len(b) >= int(b[0]&15)*4 && b[0]&15 >= 5:
		src, dst := netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
		if offset := binary.BigEndian.Uint16(b[6:]) & 0x1fff; offset > 0 {
			return fmt.Sprintf("%s > %s fragment at %d", src, dst, 8*int(offset))
		}
		return transport(src, dst, b[9], b[int(b[0]&15)*4:])
	case p.Protocol == unix.ETH_P_IPV6 && len(b) >= 40:
		return transport(netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:])), b[6], b[40:])
	}
	return fmt.Sprintf("type %#04x, %d bytes", p.Protocol, len(p.Data))
}

// arp describes a message of RFC 826.
func arp(b []byte) string {
	sender, target := netip.AddrFrom4([4]byte(b[14:])), netip.AddrFrom4([4]byte(b[24:]))
	switch operation := binary.BigEndian.Uint16(b[6:]); {
	case operation == 1 && sender == target:
		return fmt.Sprintf("arp %s says that it is %s", net.HardwareAddr(b[8:14]), sender)
	case operation == 1:
		return fmt.Sprintf("arp %s asks who has %s", sender, target)
	default:
		return fmt.Sprintf("arp %s is at %s", sender, net.HardwareAddr(b[8:14]))
	}
}

// transport describes what IP carries.
func transport(src, dst netip.Addr, protocol byte, b []byte) string {
	ends := fmt.Sprintf("%s > %s", src, dst)
	switch {
	case protocol == unix.IPPROTO_ICMP && len(b) >= 8:
		return ends + " icmp " + icmp(b)
	case protocol == unix.IPPROTO_ICMPV6 && len(b) >= 8:
		return fmt.Sprintf("%s icmp6 type %d code %d", ends, b[0], b[1])
	case protocol == unix.IPPROTO_TCP && len(b) >= 20 && b[12]>>4 >= 5:
		return tcp(src, dst, b)
	case protocol == unix.IPPROTO_UDP && len(b) >= 8:
		from, to := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
		ends := fmt.Sprintf("%s > %s", netip.AddrPortFrom(src, from), netip.AddrPortFrom(dst, to))
		return ends + " " + datagram(from, to, b[8:])
	}
	return fmt.Sprintf("%s protocol %d, %d bytes", ends, protocol, len(b))
}

// icmp describes a message of RFC 792.
func icmp(b []byte) string {
	id, seq := binary.BigEndian.Uint16(b[4:]), binary.BigEndian.Uint16(b[6:])
	switch b[0] {
	case 0:
		return fmt.Sprintf("echo reply %d.%d", id, seq)
	case 8:
		return fmt.Sprintf("echo request %d.%d", id, seq)
	case 3:
		return fmt.Sprintf("unreachable, code %d", b[1])
	case 11:
		return "TTL exceeded"
	}
	return fmt.Sprintf("type %d code %d", b[0], b[1])
}

// tcp describes a segment of RFC 9293.
func tcp(src, dst netip.Addr, b []byte) string {
	var flags []string
	for i, name := range []string{"fin", "syn", "rst", "psh", "ack", "urg"} {
		if b[13]>>i&1 == 1 {
			flags = append(flags, name)
		}
	}
	from, to := netip.AddrPortFrom(src, binary.BigEndian.Uint16(b)), netip.AddrPortFrom(dst, binary.BigEndian.Uint16(b[2:]))
	carried := max(0, len(b)-int(b[12]>>4)*4)
	return fmt.Sprintf("%s > %s tcp %s, %d bytes", from, to, strings.Join(flags, " "), carried)
}

// datagram describes what is in one of UDP, by its ports.
func datagram(from, to uint16, b []byte) string {
	switch {
	case from == 53 || to == 53:
		m := new(dns.Msg)
		if m.Unpack(b) == nil && len(m.Question) > 0 {
			q := m.Question[0]
			what := fmt.Sprintf("dns %s %s", dns.TypeToString[q.Qtype], q.Name)
			if m.Response {
				what += fmt.Sprintf(": %s, %d answers", dns.RcodeToString[m.Rcode], len(m.Answer))
			}
			return what
		}
	case from == dhcpv4.ServerPort || to == dhcpv4.ServerPort:
		if m, err := dhcpv4.FromBytes(b); err == nil {
			return fmt.Sprintf("dhcp %s of %s for %s", m.MessageType(), m.ClientHWAddr, m.YourIPAddr)
		}
	}
	return fmt.Sprintf("udp, %d bytes", len(b))
}
