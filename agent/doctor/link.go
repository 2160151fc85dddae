package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"

	"github.com/natrix-os/natrix/sysinfo/netif"
)

func (p *patient) examineLink(context.Context) Finding {
	links, err := p.links()
	if err != nil {
		return found(LinkHidden, err)
	}
	terminals := netif.Terminals(links)
	if len(terminals) == 0 {
		return found(LinkNone)
	}
	p.link = slices.MinFunc(terminals, worse)
	if p.Link != "" {
		i := slices.IndexFunc(terminals, func(l netif.Link) bool { return l.Name == p.Link })
		if i < 0 {
			return found(LinkUnknown, p.Link, names(terminals))
		}
		p.link = terminals[i]
		p.source = p.link.Addr4().Addr()
	}
	if !p.link.Up {
		return found(LinkDown, p.link.Name)
	}
	return found(LinkFine, p.link.Name, string(p.link.Kind), p.link.MAC.String())
}

// worse orders links by how likely they are to be meant: the one of the default
// route, then those with a signal, then those that are up.
func worse(a, b netif.Link) int {
	rank := func(l netif.Link) int {
		switch {
		case l.Default4:
			return 0
		case l.Default6:
			return 1
		case l.Up && l.Carrier:
			return 2
		case l.Up:
			return 3
		}
		return 4
	}
	return cmp.Or(rank(a)-rank(b), a.Index-b.Index)
}

func names(links []netif.Link) string {
	var all []string
	for _, l := range links {
		all = append(all, l.Name)
	}
	return strings.Join(all, ", ")
}

func (p *patient) examineCarrier(context.Context) Finding {
	l := p.link
	switch {
	case l.Carrier && l.Duplex == "half" && l.Kind == netif.Wired:
		return found(CarrierDuplex, l.Name, l.SpeedMbit)
	case l.Carrier && l.SpeedMbit > 0:
		return found(CarrierFine, strings.TrimSpace(fmt.Sprintf("%d Mbit/s %s", l.SpeedMbit, l.Duplex)))
	case l.Carrier:
		return found(CarrierFine, l.Name)
	case l.Kind == netif.Wireless:
		return found(CarrierRadio, l.Name)
	case l.Kind == netif.Mobile:
		return found(CarrierModem, l.Name)
	}
	return found(CarrierNone, l.Name)
}

func (p *patient) examineAddress(ctx context.Context) Finding {
	addr := p.link.Addr4()
	if !addr.IsValid() || addr.Addr().IsLinkLocalUnicast() {
		if six := p.link.Addr6(); six.IsValid() && !six.Addr().IsLinkLocalUnicast() && !addr.IsValid() {
			return found(AddressOnly6, six)
		}
		return p.noAddress(ctx, addr.Addr())
	}
	lease, err := p.lease()
	if err != nil || lease.Addr.Addr() != addr.Addr() {
		return found(AddressByHand, addr)
	}
	return found(AddressLeased, lease.Addr, lease.Server, time.Until(lease.Expires).Round(time.Second))
}

// noAddress finds out whose fault it is.
func (p *patient) noAddress(ctx context.Context, self netip.Addr) Finding {
	server, addr, err := p.offer(ctx, p.link)
	switch {
	case err == nil:
		return found(AddressOffered, server, addr)
	case !errors.Is(err, nclient4.ErrNoResponse) && ctx.Err() == nil:
		return found(AddressNone, p.link.Name, err)
	case self.IsValid():
		return found(AddressLinkLocal, p.link.Name, self)
	}
	return found(AddressNoServer, p.link.Name)
}

// lease is that of the link; a zero one if it has none.
func (p *patient) lease() (Lease, error) {
	if p.Leases == nil {
		return Lease{}, nil
	}
	leases, err := p.Leases()
	if err != nil {
		return Lease{}, err
	}
	for _, l := range leases {
		if l.Link == p.link.Name {
			return l, nil
		}
	}
	return Lease{}, nil
}

// discover asks for an offer and does not take it: the DHCP client of the
// terminal, if it runs, is not disturbed.
func discover(ctx context.Context, l netif.Link) (server, addr netip.Addr, err error) {
	c, err := nclient4.New(l.Name, nclient4.WithTimeout(1500*time.Millisecond), nclient4.WithRetry(2))
	if err != nil {
		return server, addr, err
	}
	defer c.Close()
	offer, err := c.DiscoverOffer(ctx)
	if err != nil {
		return server, addr, err
	}
	server, _ = netip.AddrFromSlice(offer.ServerIdentifier().To4())
	addr, _ = netip.AddrFromSlice(offer.YourIPAddr.To4())
	return server, addr, nil
}

func thisMachine() machine {
	return machine{
		links: netif.Links,
		offer: discover,
		arp:   askARP,
		ask:   askServer,
		hosts: func(ctx context.Context, name string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", name)
		},
		time: askTime,
		now:  time.Now,
	}
}
