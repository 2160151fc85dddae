package netif

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// unusable marks addresses that cannot be a source yet or any more: IPv6
// duplicate address detection (RFC 4862) still runs or found a duplicate.
const unusable = unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED

// addAddrs fills in the addresses of links, which are sorted by index.
func addAddrs(links []Link) error {
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	// Secondary addresses are those the kernel does not choose by itself.
	slices.SortStableFunc(addrs, func(a, b netlink.Addr) int {
		return a.Flags&unix.IFA_F_SECONDARY - b.Flags&unix.IFA_F_SECONDARY
	})
	for _, a := range addrs {
		l := byIndex(links, a.LinkIndex)
		p, ok := prefix(a.IPNet)
		if l == nil || !ok || a.Flags&unusable != 0 {
			continue
		}
		l.Addrs = append(l.Addrs, p)
		if b, ok := netip.AddrFromSlice(a.Broadcast.To4()); ok && !l.Broadcast4.IsValid() && l.Kind != Loopback {
			l.Broadcast4 = b
		}
	}
	return nil
}

// byIndex points into links, which are sorted by index; nil if there is none.
func byIndex(links []Link, index int) *Link {
	i, ok := slices.BinarySearchFunc(links, index, func(l Link, index int) int { return l.Index - index })
	if !ok {
		return nil
	}
	return &links[i]
}

func prefix(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), ones), ok
}

func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}
