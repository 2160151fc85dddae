// Package netif knows the links of this machine, their addresses and routes,
// and which link and source address a packet for a destination leaves by.
//
// Everything is asked of the kernel over rtnetlink at the time of the call and
// nothing is cached, so calls may come from any goroutine. They answer for the
// network namespace of the calling thread.
package netif

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
)

// dumps is how often a dump that a change in the kernel's tables interrupted
// (NLM_F_DUMP_INTR) is asked for before the caller is told.
const dumps = 5

// Links returns every link, the loopback included, sorted by index.
func Links() ([]Link, error) { return undisturbed(list) }

// undisturbed takes a list until no change comes in between.
func undisturbed(list func() ([]Link, error)) ([]Link, error) {
	for range dumps - 1 {
		links, err := list()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return links, err
		}
	}
	return list()
}

func list() ([]Link, error) {
	links, err := listOf(newLink)
	if err != nil {
		return nil, err
	}
	if err := addDefaults(links); err != nil {
		return nil, err
	}
	addSignals(links)
	return links, nil
}

// outline is what it takes to find a link, without what has to be asked of
// drivers: every probe begins with it.
func outline() ([]Link, error) {
	return listOf(func(d netlink.Link) Link { return Link{Name: d.Attrs().Name, Index: d.Attrs().Index} })
}

// listOf lists the links, as link makes them, with their addresses.
func listOf(link func(netlink.Link) Link) ([]Link, error) {
	devices, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	links := make([]Link, len(devices))
	for i, d := range devices {
		links[i] = link(d)
	}
	slices.SortFunc(links, func(a, b Link) int { return a.Index - b.Index })
	return links, addAddrs(links)
}

// ByName returns the link of that name. The error names the links there are.
func ByName(name string) (Link, error) {
	links, err := Links()
	if err != nil {
		return Link{}, err
	}
	return find(links, name)
}

// Find returns the link that spec names: either by its name or by one of its
// addresses. In the second form that address comes back as the source address
// to send from; in the first it is the zero Addr. Of the link there are name,
// index and addresses; [ByName] tells more and takes longer. The error names
// the links there are.
func Find(spec string) (Link, netip.Addr, error) {
	links, err := undisturbed(outline)
	if err != nil {
		return Link{}, netip.Addr{}, err
	}
	addr, err := netip.ParseAddr(spec)
	if err != nil {
		l, err := find(links, spec)
		return l, netip.Addr{}, err
	}
	addr = addr.Unmap()
	for _, l := range links {
		if zone := addr.Zone(); (zone == "" || zone == l.Name) && l.Has(addr) {
			return l, addr.WithZone(""), nil
		}
	}
	return Link{}, netip.Addr{}, fmt.Errorf("no link has address %s (there are %s)", spec, names(links))
}

// find looks a name up in links.
func find(links []Link, name string) (Link, error) {
	for _, l := range links {
		if l.Name == name {
			return l, nil
		}
	}
	return Link{}, fmt.Errorf("no link %q (there are %s)", name, names(links))
}

func names(links []Link) string {
	if len(links) == 0 {
		return "none"
	}
	all := make([]string, len(links))
	for i, l := range links {
		all[i] = l.Name
	}
	return strings.Join(all, ", ")
}
