package report

import (
	"context"
	"encoding/binary"
	"net/netip"
	"sync"

	"github.com/natrix-os/natrix/agent/location"
	"github.com/natrix-os/natrix/sysinfo/netif"
)

// Network is one link as a server sees it: a terminal of its own.
type Network struct {
	Link           netif.Link
	Local          netip.Prefix // the address it sends from; zero if it has none
	LocalLocation  location.Location
	Default        bool       // carries the default route
	Gateway        netip.Addr // zero if it has none
	Public         netip.Addr // as seen from the internet; zero if not known
	PublicLocation location.Location

	Intranet, Corporate, Internet bool // what it reaches; a link that reaches nothing gets no commands
}

// networks describes the links that are terminals, all at the same time.
func (r *Reporter) networks(ctx context.Context, links []netif.Link) []Network {
	ctx, cancel := context.WithTimeout(ctx, accessLimit)
	defer cancel()
	targets := r.resolveLater(ctx)
	has4 := false
	for _, l := range links {
		has4 = has4 || l.Default4
	}
	terminals := netif.Terminals(links)
	networks := make([]Network, len(terminals))
	var wg sync.WaitGroup
	for i, l := range terminals {
		n := &networks[i]
		*n = Network{Link: l, Local: local(l), Gateway: l.Gateway4, Default: l.Default4 || l.Default6 && !has4}
		if n.Local.IsValid() {
			n.LocalLocation = r.config.Locate.Of(n.Local.Addr())
			n.Gateway = gateway(l, n.Local.Addr())
			wg.Go(func() { r.access(ctx, n, targets) })
		}
		if n.Public = r.publicOf(l.Name, n.Local.Addr()); n.Public.IsValid() {
			n.PublicLocation = r.config.Locate.Of(n.Public)
		}
	}
	wg.Wait()
	return networks
}

// beyond is an address that no link has and only a default route leads to
// (RFC 5737). Nothing is sent to it.
var beyond = netip.AddrFrom4([4]byte{203, 0, 113, 1})

// local returns the address that packets which leave by l to the world come
// from: of several IPv4 addresses the one that its default route uses, without
// any a global IPv6 one.
func local(l netif.Link) netip.Prefix {
	p := l.Addr4()
	if !p.IsValid() {
		if p = l.Addr6(); p.Addr().IsLinkLocalUnicast() {
			return netip.Prefix{}
		}
		return p
	}
	route, err := netif.Select(l.Name, beyond)
	if err != nil {
		return p
	}
	for _, other := range l.Addrs {
		if other.Addr() == route.Src {
			return other
		}
	}
	return p
}

func gateway(l netif.Link, local netip.Addr) netip.Addr {
	if local.Is4() {
		return l.Gateway4
	}
	return l.Gateway6
}

// netmask is the mask of an IPv4 prefix as an address, zero for others.
func netmask(p netip.Prefix) netip.Addr {
	if !p.Addr().Is4() {
		return netip.Addr{}
	}
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], ^uint32(0)<<(32-p.Bits()))
	return netip.AddrFrom4(b)
}

// broadcast is the broadcast address of an IPv4 prefix, zero for others and
// for those too small to have one.
func broadcast(p netip.Prefix) netip.Addr {
	if !p.Addr().Is4() || p.Bits() > 30 {
		return netip.Addr{}
	}
	a := p.Addr().As4()
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(a[:])|^uint32(0)>>p.Bits())
	return netip.AddrFrom4(b)
}
