package netif

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// unusable marks addresses that cannot be a source yet or any more: IPv6
// duplicate address detection (RFC 4862) still runs or found a duplicate.
const unusable = unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED

// forever is the lifetime of an address that lasts, INFINITY_LIFE_TIME.
const forever = math.MaxUint32

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
		if a.ValidLft > 0 && uint32(a.ValidLft) != forever {
			if l.Leases == nil {
				l.Leases = make(Leases)
			}
			l.Leases[p.Addr()] = time.Duration(a.ValidLft) * time.Second
		}
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
