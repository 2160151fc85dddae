package netif

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Route is the way out for packets to one destination.
type Route struct {
	Link    string
	Index   int
	Src     netip.Addr // source address
	Gateway netip.Addr // next hop; zero if the destination is on the link
}

// Select asks the kernel by which link, and from which address, packets to dst
// leave. spec narrows the choice to a link, given by name, or to a link and
// source, given by address (see [Find]); empty leaves it to the routing
// tables. Packets to an address of the link itself leave by the loopback.
func Select(spec string, dst netip.Addr) (Route, error) {
	dst = dst.Unmap()
	if !dst.IsValid() {
		return Route{}, errors.New("route to no address")
	}
	if spec == "" && dst.Zone() != "" {
		spec = dst.Zone()
	}
	if spec == "" {
		return lookup(Link{}, netip.Addr{}, dst)
	}
	link, src, err := Find(spec)
	if err != nil {
		return Route{}, err
	}
	if src.IsValid() && src.Is4() != dst.Is4() {
		return Route{}, fmt.Errorf("%s and %s are of different families", src, dst)
	}
	return lookup(link, src, dst)
}

// lookup asks for the route to dst by a link and from a source, if they are set.
func lookup(link Link, src, dst netip.Addr) (Route, error) {
	opts := &netlink.RouteGetOptions{OifIndex: link.Index, SrcAddr: src.AsSlice()}
	routes, err := netlink.RouteGetWithOptions(dst.AsSlice(), opts)
	if err != nil {
		return Route{}, fmt.Errorf("route to %s%s: %w", dst, by(link), err)
	}
	if len(routes) == 0 {
		return Route{}, fmt.Errorf("route to %s%s: %w", dst, by(link), unix.ENETUNREACH)
	}
	r := Route{Index: routes[0].LinkIndex, Src: addrOf(routes[0].Src), Gateway: addrOf(routes[0].Gw)}
	if src.IsValid() {
		r.Src = src // the kernel does not repeat it
	} else if r.Src, err = source(link, dst, r); err != nil {
		return Route{}, err
	}
	if r.Link = link.Name; r.Index != link.Index {
		out, err := netlink.LinkByIndex(r.Index)
		if err != nil {
			return Route{}, fmt.Errorf("link %d of the route to %s: %w", r.Index, dst, err)
		}
		r.Link = out.Attrs().Name
	}
	return r, nil
}

// source checks the kernel's choice. Asked for a link without an address of
// the family, the kernel offers another link's, and answers to that would
// come back by the other link.
func source(link Link, dst netip.Addr, r Route) (netip.Addr, error) {
	if link.Index != r.Index || link.Has(r.Src) {
		return r.Src, nil
	}
	own := link.Addr4()
	if dst.Is6() {
		own = link.Addr6()
	}
	if !own.IsValid() {
		return netip.Addr{}, fmt.Errorf("link %s has no %s address to reach %s from", link.Name, family(dst), dst)
	}
	return own.Addr(), nil
}

func by(l Link) string {
	if l.Name == "" {
		return ""
	}
	return " by " + l.Name
}

func family(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}

// addDefaults fills in the gateways and default flags of links from the
// default routes of the main table.
func addDefaults(links []Link) error {
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := netlink.RouteListFiltered(family, &netlink.Route{}, netlink.RT_FILTER_DST)
		if err != nil {
			return fmt.Errorf("list routes: %w", err)
		}
		slices.SortStableFunc(routes, func(a, b netlink.Route) int { return cmp.Compare(a.Priority, b.Priority) })
		for i, r := range routes {
			for _, hop := range hops(r) {
				if l := byIndex(links, hop.LinkIndex); l != nil {
					setDefault(l, family, addrOf(hop.Gw), i == 0)
				}
			}
		}
	}
	return nil
}

// hops returns the next hops of a route, which has its one hop inline.
func hops(r netlink.Route) []*netlink.NexthopInfo {
	if r.Type != unix.RTN_UNICAST {
		return nil // "unreachable default" hangs on lo
	}
	if len(r.MultiPath) > 0 {
		return r.MultiPath
	}
	return []*netlink.NexthopInfo{{LinkIndex: r.LinkIndex, Gw: r.Gw}}
}

// setDefault notes a default route; the first one noted is the best.
func setDefault(l *Link, family int, gateway netip.Addr, best bool) {
	gw, def := &l.Gateway4, &l.Default4
	if family == netlink.FAMILY_V6 {
		gw, def = &l.Gateway6, &l.Default6
	}
	if !gw.IsValid() {
		*gw = gateway
	}
	*def = *def || best
}
