package lease

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// metric is the priority of the routes of a link: the lower its index, the
// sooner it is used. It keeps the routes of several links apart.
func metric(index int) int { return 100 + index }

// apply makes the kernel's tables for the link what the lease says, whatever
// they said before.
func apply(index int, l Lease) error {
	link, err := netlink.LinkByIndex(index)
	if err != nil {
		return fmt.Errorf("find %s: %w", l.Link, err)
	}
	if l.MTU != 0 && l.MTU != link.Attrs().MTU {
		if err := netlink.LinkSetMTU(link, l.MTU); err != nil {
			return fmt.Errorf("set MTU of %s to %d: %w", l.Link, l.MTU, err)
		}
	}
	if err := netlink.AddrReplace(link, address(l)); err != nil {
		return fmt.Errorf("add %s to %s: %w", l.Addr, l.Link, err)
	}
	wanted := kernelRoutes(index, l)
	for i := range wanted {
		if err := netlink.RouteReplace(&wanted[i]); err != nil {
			return fmt.Errorf("add route to %s by %s: %w", wanted[i].Dst, l.Link, err)
		}
	}
	return removeRoutes(link, wanted)
}

// address is left to expire by itself in the kernel, should we not be there to
// remove it. Its route is added by hand, for the sake of the metric.
func address(l Lease) *netlink.Addr {
	a := &netlink.Addr{IPNet: ipNet(l.Addr), Flags: unix.IFA_F_NOPREFIXROUTE}
	if left := time.Until(l.Expires).Seconds(); left < math.MaxInt32 {
		a.ValidLft = int(max(left, 0)) + 1
		a.PreferedLft = a.ValidLft
	}
	return a
}

// kernelRoutes are the subnet, the routes of the lease, and a direct route to
// each next hop that is in neither (clouds grant /32 addresses).
func kernelRoutes(index int, l Lease) []netlink.Route {
	route := func(dst netip.Prefix, via netip.Addr) netlink.Route {
		r := netlink.Route{
			LinkIndex: index,
			Dst:       ipNet(dst.Masked()),
			Src:       l.Addr.Addr().AsSlice(),
			Protocol:  unix.RTPROT_DHCP,
			Priority:  metric(index),
		}
		if !via.IsValid() {
			r.Scope = netlink.SCOPE_LINK
			return r
		}
		r.Gw = via.AsSlice()
		if !l.Addr.Contains(via) {
			r.Flags = int(netlink.FLAG_ONLINK)
		}
		return r
	}
	var all []netlink.Route
	if l.Addr.Bits() < 32 {
		all = append(all, route(l.Addr, netip.Addr{}))
	}
	for _, r := range l.Routes {
		all = append(all, route(r.Dst, r.Via))
	}
	return all
}

// removeRoutes removes the routes of earlier leases.
func removeRoutes(link netlink.Link, keep []netlink.Route) error {
	filter := &netlink.Route{LinkIndex: link.Attrs().Index, Protocol: unix.RTPROT_DHCP}
	present, err := netlink.RouteListFiltered(netlink.FAMILY_V4, filter, netlink.RT_FILTER_OIF|netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return fmt.Errorf("list routes of %s: %w", link.Attrs().Name, err)
	}
	for _, r := range present {
		if slices.ContainsFunc(keep, func(k netlink.Route) bool { return sameDst(k.Dst, r.Dst) && k.Priority == r.Priority }) {
			continue
		}
		if err := netlink.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("remove route to %s by %s: %w", r.Dst, link.Attrs().Name, err)
		}
	}
	return nil
}

func sameDst(a, b *net.IPNet) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.String() == b.String()
}

// unapply removes the address and routes of a lease. A link that is gone has
// taken them with it.
func unapply(index int, l Lease) error {
	link, err := netlink.LinkByIndex(index)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find %s: %w", l.Link, err)
	}
	if err := removeRoutes(link, nil); err != nil {
		return err
	}
	err = netlink.AddrDel(link, &netlink.Addr{IPNet: ipNet(l.Addr)})
	if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return fmt.Errorf("remove %s from %s: %w", l.Addr, l.Link, err)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// prepare sets what the kernel is to do for a link by itself: configure IPv6
// from router advertisements, with the link's own metric, answer ARP only for
// the link's own addresses, and use no route through a link without carrier
// (Documentation/networking/ip-sysctl). A kernel without IPv6 has no files for
// it, which is no error.
func prepare(link string, index int) error {
	var failed []error
	for _, v := range [...]struct{ file, value string }{
		{"ipv6/conf/%s/accept_ra", "2"},
		{"ipv6/conf/%s/autoconf", "1"},
		{"ipv6/conf/%s/ra_defrtr_metric", strconv.Itoa(metric(index))},
		{"ipv4/conf/%s/arp_ignore", "1"},
		{"ipv4/conf/%s/arp_announce", "2"},
		{"ipv4/conf/%s/rp_filter", "2"},
		{"ipv4/conf/%s/ignore_routes_with_linkdown", "1"},
		{"ipv6/conf/%s/ignore_routes_with_linkdown", "1"},
	} {
		file := filepath.Join("/proc/sys/net", fmt.Sprintf(v.file, link))
		if err := os.WriteFile(file, []byte(v.value), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
			failed = append(failed, fmt.Errorf("set up %s: %w", link, err))
		}
	}
	return errors.Join(failed...)
}
