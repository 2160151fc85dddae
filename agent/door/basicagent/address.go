package basicagent

import (
	"context"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/natrix-os/natrix/agent/door/basicagent/wire"
)

// addresses are where to find a server, in the order of trying: what the name
// resolves to, from a start that differs between terminals, then the last good
// one and those of the configuration.
func (d *Door) addresses(ctx context.Context) []netip.AddrPort {
	port := uint16(d.Config.Port)
	var found []netip.AddrPort
	ctx, cancel := context.WithTimeout(ctx, d.Timing.Connect)
	defer cancel()
	if resolved, err := net.DefaultResolver.LookupNetIP(ctx, "ip", d.Config.Server); err != nil {
		d.Log.Warn("resolve", "dst", d.Config.Server, "err", err)
	} else {
		for _, a := range resolved {
			found = append(found, netip.AddrPortFrom(a.Unmap(), port))
		}
	}
	found = rotate(found, d.Config.ID)
	if last, err := netip.ParseAddrPort(d.files().read("last")); err == nil {
		found = append(found, last)
	}
	for _, a := range d.Config.Addresses {
		if a.Port() == 0 {
			a = netip.AddrPortFrom(a.Addr(), port)
		}
		found = append(found, a)
	}
	var once []netip.AddrPort
	for _, a := range found {
		if !slices.Contains(once, a) {
			once = append(once, a)
		}
	}
	return once
}

// rotate begins a list at a place that depends on the terminal, which spreads a
// fleet, and keeps its order.
func rotate(list []netip.AddrPort, id string) []netip.AddrPort {
	if len(list) == 0 {
		return nil
	}
	h := fnv.New32a()
	h.Write([]byte(id))
	start := int(h.Sum32() % uint32(len(list)))
	return append(slices.Clone(list[start:]), list[:start]...)
}

// targets reads the list of a redirect that came from a server: addresses, with
// a port where it is not the one of that server. None may be a name: there is
// no second question to the DNS.
func targets(list string, from netip.AddrPort, allow []netip.Prefix) ([]netip.AddrPort, error) {
	var found []netip.AddrPort
	for item := range strings.SplitSeq(list, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		t, err := target(item, from.Port())
		if err != nil {
			return nil, err
		}
		if !permitted(t.Addr(), from.Addr(), allow) {
			return nil, wire.Fail(wire.RedirectRefused, "%s is not where %s may send a terminal", item, from.Addr())
		}
		found = append(found, t)
	}
	if len(found) == 0 {
		return nil, wire.Fail(wire.RedirectRefused, "no address")
	}
	return found, nil
}

func target(item string, port uint16) (netip.AddrPort, error) {
	if a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(item, "["), "]")); err == nil && a.Zone() == "" {
		return netip.AddrPortFrom(a.Unmap(), port), nil
	}
	t, err := netip.ParseAddrPort(item)
	if err != nil || t.Port() == 0 || t.Addr().Zone() != "" {
		return t, wire.Fail(wire.RedirectRefused, "%.80q is not an address, with or without a port", item)
	}
	return netip.AddrPortFrom(t.Addr().Unmap(), t.Port()), nil
}

// permitted says whether a server may send terminals to an address: into the
// networks of the configuration, or else into its own scope, private or public.
func permitted(to, from netip.Addr, allow []netip.Prefix) bool {
	if from.IsLoopback() && to.IsLoopback() {
		return true
	}
	if to.IsLoopback() || to.IsUnspecified() || to.IsMulticast() || to.IsLinkLocalUnicast() || to == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return false
	}
	if len(allow) > 0 {
		return slices.ContainsFunc(allow, func(p netip.Prefix) bool { return p.Contains(to) })
	}
	return from.IsLoopback() && to.IsPrivate() || to.IsPrivate() == from.IsPrivate()
}

// errLoop says where a redirect goes round.
func errLoop(a netip.AddrPort) error {
	return wire.Fail(wire.TooManyRedirects, "%s was tried before", fmt.Sprint(a))
}
