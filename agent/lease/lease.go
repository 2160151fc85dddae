// Package lease brings links up and keeps their DHCP leases: it asks, applies
// what is granted to the kernel and to resolv.conf, renews in time, and starts
// over when a server refuses, changes or goes away (RFC 2131). IPv6 is left to
// the kernel, which configures itself from router advertisements; only their
// name servers (RFC 8106) are collected here.
package lease

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/miekg/dns"
)

// Lease is what a DHCP server granted to one link.
type Lease struct {
	Link    string
	Addr    netip.Prefix // the address and the length of its subnet
	Server  netip.Addr   // the server's identifier, which renewals are sent to
	Gateway netip.Addr   // next hop of the default route; zero if there is none
	Routes  []Route      // every route granted, the default route included
	DNS     []netip.Addr // name servers, best first
	NTP     []netip.Addr // time servers, best first
	Search  []string     // domains to complete a name with
	Host    string       // the name the server has for us; often empty
	MTU     int          // bytes; 0 if the server does not say
	Config  string       // option 224: the URL of a configuration, or of a broker; often empty

	Acquired time.Time // when it was granted or last renewed
	Renew    time.Time // from then on its server is asked to extend it (T1)
	Rebind   time.Time // from then on any server is asked (T2)
	Expires  time.Time
}

// Route is one route of a lease.
type Route struct {
	Dst netip.Prefix
	Via netip.Addr // zero if Dst is on the link itself
}

// OptionConfig is the option in which a server says where a terminal has its
// configuration from, the first of those for the use of a site (RFC 3942).
const OptionConfig = dhcpv4.GenericOptionCode(224)

// minMTU is the least that every IPv4 host must take (RFC 791); what asks for
// less is broken or wants to break us.
const minMTU = 576

var (
	defaultRoute = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	broadcast    = netip.AddrFrom4([4]byte{255, 255, 255, 255})

	errNoAddress = errors.New("it grants no usable address")
	errNoTime    = errors.New("it grants no time")
)

// parse reads an acknowledgement to a request that was sent at asked: the times
// of a lease count from there (RFC 2131 section 4.4.1).
func parse(link string, ack *dhcpv4.DHCPv4, asked time.Time) (Lease, error) {
	addr, ok := netip.AddrFromSlice(ack.YourIPAddr.To4())
	if !ok || addr.IsUnspecified() || addr.IsLoopback() || addr.IsMulticast() || addr == broadcast {
		return Lease{}, fmt.Errorf("acknowledgement from %v: %w", ack.ServerIdentifier(), errNoAddress)
	}
	length := ack.IPAddressLeaseTime(0)
	if length <= 0 {
		return Lease{}, fmt.Errorf("acknowledgement from %v: %w", ack.ServerIdentifier(), errNoTime)
	}
	l := Lease{
		Link:     link,
		Addr:     netip.PrefixFrom(addr, prefixLen(ack, addr)),
		DNS:      addrs(ack.DNS()),
		NTP:      addrs(ack.NTPServers()),
		Search:   search(ack),
		Host:     ack.HostName(),
		Acquired: asked,
		Expires:  asked.Add(length),
	}
	l.Server, _ = netip.AddrFromSlice(ack.ServerIdentifier().To4())
	if mtu, err := dhcpv4.GetUint16(dhcpv4.OptionInterfaceMTU, ack.Options); err == nil && mtu >= minMTU {
		l.MTU = int(mtu)
	}
	l.Config = strings.TrimRight(string(ack.Options.Get(OptionConfig)), "\x00")
	l.Routes = routes(ack)
	for _, r := range l.Routes {
		if r.Dst == defaultRoute {
			l.Gateway = r.Via
			break
		}
	}
	l.Renew, l.Rebind = timers(ack, asked, length)
	return l, nil
}

// timers returns T1 and T2. Values that are not in order are replaced by the
// defaults of RFC 2131 section 4.4.5.
func timers(ack *dhcpv4.DHCPv4, asked time.Time, length time.Duration) (renew, rebind time.Time) {
	t1 := ack.IPAddressRenewalTime(length / 2)
	t2 := ack.IPAddressRebindingTime(length / 8 * 7)
	if t1 <= 0 || t1 >= t2 || t2 >= length {
		t1, t2 = length/2, length/8*7
	}
	return asked.Add(t1), asked.Add(t2)
}

// prefixLen is that of the subnet mask, or of the address's class if the server
// sends no mask or one with holes.
func prefixLen(ack *dhcpv4.DHCPv4, addr netip.Addr) int {
	if mask := ack.SubnetMask(); mask != nil {
		if ones, bits := mask.Size(); bits != 0 {
			return ones
		}
	}
	ones, _ := net.IP(addr.AsSlice()).DefaultMask().Size()
	return ones
}

// routes are the classless static routes if there are any: with them the
// routers of option 3 are to be ignored (RFC 3442).
func routes(ack *dhcpv4.DHCPv4) []Route {
	var all []Route
	for _, r := range ack.ClasslessStaticRoute() {
		dst, ok := prefix(r.Dest)
		if !ok {
			continue
		}
		via, _ := netip.AddrFromSlice(r.Router.To4())
		if via.IsUnspecified() {
			via = netip.Addr{}
		}
		all = append(all, Route{Dst: dst, Via: via})
	}
	if len(all) > 0 {
		return all
	}
	if routers := addrs(ack.Router()); len(routers) > 0 {
		return []Route{{Dst: defaultRoute, Via: routers[0]}}
	}
	return nil
}

func prefix(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(n.IP.To4())
	ones, bits := n.Mask.Size()
	if !ok || bits != 32 {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(addr, ones).Masked(), true
}

// search is the search list (RFC 3397) or else the domain name. Only what is a
// domain name is kept, since it goes into a file that others read by lines.
func search(ack *dhcpv4.DHCPv4) []string {
	var names []string
	if list := ack.DomainSearch(); list != nil {
		names = list.Labels
	}
	if len(names) == 0 {
		names = strings.Fields(ack.DomainName()) // some servers put a search list here
	}
	return slices.DeleteFunc(names, func(name string) bool {
		_, ok := dns.IsDomainName(name)
		return !ok || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' })
	})
}

// addrs converts addresses and leaves out those that nobody can be reached by.
func addrs(ips []net.IP) []netip.Addr {
	var all []netip.Addr
	for _, ip := range ips {
		if a, ok := netip.AddrFromSlice(ip.To4()); ok && !a.IsUnspecified() && !a.IsMulticast() {
			all = append(all, a)
		}
	}
	return all
}
