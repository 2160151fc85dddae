package pxe

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// leaseTime is how long an address is lent. On a cable where machines come and
// go to be booted, an hour is long.
const leaseTime = time.Hour

// pool is the addresses that are given out. It may be used concurrently.
type pool struct {
	first, last netip.Addr
	prefix      netip.Prefix // of the link
	now         func() time.Time

	mu   sync.Mutex
	lent map[netip.Addr]loan
}

// loan is an address's last borrower.
type loan struct {
	mac   string
	until time.Time
}

func newPool(r Range, link netip.Prefix) (*pool, error) {
	if !link.Contains(r.First) || !link.Contains(r.Last) {
		return nil, fmt.Errorf("%s-%s is not in the network of the link, %s", r.First, r.Last, link.Masked())
	}
	return &pool{first: r.First, last: r.Last, prefix: link, now: time.Now, lent: make(map[netip.Addr]loan)}, nil
}

// lend returns the address of a client: the one that it had, else one that
// nobody had, else one whose time is over; false if there is none.
func (p *pool) lend(mac string) (netip.Addr, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var fresh, over netip.Addr
	for a := p.first; !p.last.Less(a); a = a.Next() {
		l, had := p.lent[a]
		switch {
		case a == p.prefix.Addr():
		case had && l.mac == mac:
			return p.note(a, mac), true
		case !had && !fresh.IsValid():
			fresh = a
		case had && !over.IsValid() && l.until.Before(p.now()):
			over = a
		}
	}
	if !fresh.IsValid() {
		fresh = over
	}
	return p.note(fresh, mac), fresh.IsValid()
}

// note writes down who has an address. The caller holds p.mu.
func (p *pool) note(a netip.Addr, mac string) netip.Addr {
	if a.IsValid() {
		p.lent[a] = loan{mac, p.now().Add(leaseTime)}
	}
	return a
}

// decline keeps an address that somebody else uses from being lent for a while.
func (p *pool) decline(a netip.Addr, mac string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l, had := p.lent[a]; had && l.mac == mac {
		p.note(a, "in use by another")
	}
}

// number is an IPv4 address as one.
func number(a netip.Addr) uint32 { b := a.As4(); return binary.BigEndian.Uint32(b[:]) }

// full answers as a DHCP server does (RFC 2131 section 4.3).
func (s *server) full(m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
	if m.OpCode != dhcpv4.OpcodeBootRequest || len(m.ClientHWAddr) == 0 || !m.GatewayIPAddr.IsUnspecified() && m.GatewayIPAddr != nil {
		return nil // relays are not for a cable
	}
	mac := m.ClientHWAddr.String()
	switch m.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		return s.lend(m, dhcpv4.MessageTypeOffer)
	case dhcpv4.MessageTypeRequest:
		return s.request(m)
	case dhcpv4.MessageTypeDecline:
		if a, ok := netip.AddrFromSlice(m.RequestedIPAddress().To4()); ok {
			s.pool.decline(a, mac)
			s.log.Warn("address in use by another", "addr", a, "mac", mac)
		}
	}
	return nil // an address that is released is kept for its client
}

// request answers a client that has chosen: unless it is another server.
func (s *server) request(m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
	if id := m.ServerIdentifier(); id != nil && !id.IsUnspecified() && !id.Equal(s.own()) {
		return nil
	}
	wanted := m.RequestedIPAddress()
	if wanted == nil || wanted.IsUnspecified() {
		wanted = m.ClientIPAddr // it renews
	}
	ack := s.lend(m, dhcpv4.MessageTypeAck)
	if ack == nil || !ack.YourIPAddr.Equal(wanted) {
		return s.reply(m, dhcpv4.MessageTypeNak)
	}
	return ack
}

// lend answers with the client's address, and with what to boot.
func (s *server) lend(m *dhcpv4.DHCPv4, kind dhcpv4.MessageType) *dhcpv4.DHCPv4 {
	addr, ok := s.pool.lend(m.ClientHWAddr.String())
	if !ok {
		s.log.Error("all addresses are in use", "mac", m.ClientHWAddr.String())
		return nil
	}
	answer := s.reply(m, kind)
	answer.YourIPAddr = addr.AsSlice()
	answer.UpdateOption(dhcpv4.OptSubnetMask(net.CIDRMask(s.addr.Bits(), 32)))
	answer.UpdateOption(dhcpv4.OptIPAddressLeaseTime(leaseTime))
	c := classify(m)
	if file := s.file(c); file != "" {
		s.boot(answer, m, c.class, file)
	}
	return answer
}
