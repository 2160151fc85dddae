package nettest

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Net is a network of hosts under construction. Every host forwards.
//
//	n := nettest.New(t)
//	h1, a, b, r, h2 := n.Host("h1"), n.Host("a"), n.Host("b"), n.Host("r"), n.Host("h2")
//	n.Connect(h1, a)
//	n.Connect(h1, b)
//	n.Connect(a, r)
//	n.Connect(b, r)
//	n.Connect(r, h2)
//	n.Route()
//
// Cables are numbered from 1 in the order in which they are connected. Cable k
// has the prefixes 10.0.k.0/24 and fd00:0:0:k::/64 (k in hexadecimal), of
// which its first host is .1 and ::1, its second host .2 and ::2, and its i-th
// user-space router .100+i and ::100+i, with i in hexadecimal (.101 and ::101, ..., .112 and ::10c).
// Addresses from .200 and ::200 are free for NAT.
type Net struct {
	Seed uint64 // of all chance in cables connected from now on

	t      testing.TB
	hosts  []*Host
	cables int
}

// New starts an empty network, which is removed when the test ends.
func New(t testing.TB) *Net {
	t.Helper()
	Need(t)
	return &Net{t: t}
}

// Chain connects hosts of the given names in a row and routes between all of
// them. Chain(t, "h1", "r1", "r2", "h2") is
//
//	       10.0.1.0/24        10.0.2.0/24        10.0.3.0/24
//	h1 ──────────────── r1 ──────────────── r2 ──────────────── h2
//	   .1            .2    .1            .2    .1            .2
//	    fd00:0:0:1::/64    fd00:0:0:2::/64    fd00:0:0:3::/64
//	   ::1          ::2    ::1         ::2    ::1           ::2
//
// Seen from the first host, each other one answers with its Addr4 or Addr6.
func Chain(t testing.TB, names ...string) []*Host {
	t.Helper()
	n := New(t)
	for i, name := range names {
		h := n.Host(name)
		if i > 0 {
			n.Connect(n.hosts[i-1], h)
		}
	}
	n.Route()
	return n.hosts
}

// Line connects two hosts, h1 and h2, by user-space routers alone:
//
//	          .101        .102
//	h1 ────── 1 ───────── 2 ── … ── h2      10.0.1.0/24, fd00:0:0:1::/64
//	   .1     ::101       ::102     .2
func Line(t testing.TB, routers ...Router) (h1, h2 *Host) {
	t.Helper()
	n := New(t)
	h1, h2 = n.Host("h1"), n.Host("h2")
	n.Connect(h1, h2, routers...)
	return h1, h2
}

// Host adds a host.
func (n *Net) Host(name string) *Host {
	n.t.Helper()
	h := NewHost(n.t, name)
	n.hosts = append(n.hosts, h)
	return h
}

// Connect joins two hosts by a cable, with user-space routers in it if there
// are any, the first of them next to a. On each side the link is called like
// the host on the other. A cable with routers ends in TUN links.
func (n *Net) Connect(a, b *Host, routers ...Router) {
	n.t.Helper()
	n.cables++
	if len(routers) == 0 {
		n.plugVeth(a, b)
	} else {
		n.plugPath(a, b, routers)
	}
	pa, pb := n.prefixes(1), n.prefixes(2)
	a.attach(b, pa, pb)
	b.attach(a, pb, pa)
}

func (n *Net) plugVeth(a, b *Host) {
	n.t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = b.Name
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: a.Name, PeerNamespace: netlink.NsFd(b.ns)}
	if err := a.Netlink.LinkAdd(veth); err != nil {
		n.t.Fatalf("connect %s and %s: %v", a.Name, b.Name, err)
	}
}

// queueLen is how many packets wait in a TUN link before it loses some. The
// kernel's 500 would lose bursts that the test did not ask to lose.
const queueLen = 20_000

func (n *Net) plugPath(a, b *Host, routers []Router) {
	n.t.Helper()
	if len(routers) > 99 {
		n.t.Fatalf("%d routers in one cable, at most 99", len(routers))
	}
	routers = slices.Clone(routers)
	for i := range routers {
		addrs := n.prefixes(byte(101 + i))
		if !routers[i].Addr4.IsValid() {
			routers[i].Addr4 = addrs[0].Addr()
		}
		if !routers[i].Addr6.IsValid() {
			routers[i].Addr6 = addrs[1].Addr()
		}
	}
	ends := [2]*os.File{a.openTUN(b.Name), b.openTUN(a.Name)}
	for _, end := range []struct{ at, to *Host }{{a, b}, {b, a}} {
		end.at.change(end.to.Name, func(l netlink.Link) error { return end.at.Netlink.LinkSetTxQLen(l, queueLen) })
	}
	run(n.t, ends, routers, n.Seed+uint64(n.cables)<<32)
}

// prefixes returns the addresses of an end of the newest cable, or of a router
// in it, IPv4 first.
func (n *Net) prefixes(end byte) [2]netip.Prefix {
	k := byte(n.cables)
	return [2]netip.Prefix{
		netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, k, end}), 24),
		netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0xfd, 7: k, 14: end / 100, 15: end % 100}), 64),
	}
}

// attach takes up the link to peer, which already exists.
func (h *Host) attach(peer *Host, own, theirs [2]netip.Prefix) {
	h.t.Helper()
	h.up(peer.Name)
	h.AddAddr(peer.Name, own[0])
	h.AddAddr(peer.Name, own[1])
	link, err := h.Netlink.LinkByName(peer.Name)
	if err != nil {
		h.t.Fatalf("link %s of %s: %v", peer.Name, h.Name, err)
	}
	h.Links = append(h.Links, Link{
		Name: peer.Name, Index: link.Attrs().Index, Addr4: own[0].Addr(), Addr6: own[1].Addr(),
		Peer: peer, peer4: theirs[0].Addr(), peer6: theirs[1].Addr(),
	})
	h.Addr4, h.Addr6 = h.Links[0].Addr4, h.Links[0].Addr6
}

// AddAddr gives a link of the host one more address, usable at once.
func (h *Host) AddAddr(link string, p netip.Prefix) {
	h.t.Helper()
	h.change(link, func(l netlink.Link) error {
		return h.Netlink.AddrAdd(l, &netlink.Addr{IPNet: ipNet(p), Flags: unix.IFA_F_NODAD})
	})
	h.awaitLocal(p.Addr())
}

// awaitLocal waits until the host takes packets for its new address a. The
// kernel does so for IPv6 from a work queue, even without duplicate address
// detection, and announces it before it is true (net/ipv6/addrconf.c).
func (h *Host) awaitLocal(a netip.Addr) {
	h.t.Helper()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		routes, err := h.Netlink.RouteGet(a.AsSlice())
		if err == nil && len(routes) > 0 && routes[0].Type == unix.RTN_LOCAL {
			return
		}
	}
	h.t.Fatalf("%s does not take packets for its address %v", h.Name, a)
}

// AddRoute sends packets for dst to the gateways, sharing them equally if
// there are several. Without a gateway it makes the kernel refuse them:
// kind is then unix.RTN_UNREACHABLE, RTN_PROHIBIT or RTN_BLACKHOLE. Forwarded
// IPv4 packets are refused five times and then once a second for each source,
// which only the whole machine can change (net.ipv4.route.error_cost); for
// more there is [Router.Refuse].
func (h *Host) AddRoute(dst netip.Prefix, kind int, via ...netip.Addr) {
	h.t.Helper()
	route := &netlink.Route{Dst: ipNet(dst), Type: kind}
	for _, gw := range via {
		route.MultiPath = append(route.MultiPath, &netlink.NexthopInfo{Gw: gw.AsSlice()})
	}
	if len(via) == 1 {
		route.MultiPath, route.Gw = nil, via[0].AsSlice()
	}
	if err := h.Netlink.RouteReplace(route); err != nil {
		h.t.Fatalf("route %v of %s: %v", dst, h.Name, err)
	}
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// Route gives every host the shortest routes to every cable it is not on, and
// shares packets by flow between ways that are equally short.
func (n *Net) Route() {
	n.t.Helper()
	for _, h := range n.hosts {
		for _, far := range n.hosts {
			for _, l := range far.Links {
				n.route(h, l)
			}
		}
	}
}

// route routes from h to the cable that l is an end of.
func (n *Net) route(h *Host, l Link) {
	n.t.Helper()
	dist := distances(l)
	if dist[h] == 0 {
		return
	}
	var via4, via6 []netip.Addr
	for _, out := range h.Links {
		if dist[out.Peer] == dist[h]-1 {
			via4, via6 = append(via4, out.peer4), append(via6, out.peer6)
		}
	}
	h.AddRoute(netip.PrefixFrom(l.Addr4, 24).Masked(), unix.RTN_UNICAST, via4...)
	h.AddRoute(netip.PrefixFrom(l.Addr6, 64).Masked(), unix.RTN_UNICAST, via6...)
}

// distances counts the routers between each host and the cable that l is an
// end of. Hosts without a way to it are taken as being on it.
func distances(l Link) map[*Host]int {
	near := l.Peer.peerAt(l.peer4)
	dist := map[*Host]int{near: 0, l.Peer: 0}
	queue := []*Host{near, l.Peer}
	for len(queue) > 0 {
		h := queue[0]
		queue = queue[1:]
		for _, out := range h.Links {
			if _, seen := dist[out.Peer]; !seen {
				dist[out.Peer] = dist[h] + 1
				queue = append(queue, out.Peer)
			}
		}
	}
	return dist
}

// peerAt returns the host at the other end of the link with the address a.
func (h *Host) peerAt(a netip.Addr) *Host {
	for _, l := range h.Links {
		if l.Addr4 == a {
			return l.Peer
		}
	}
	panic(fmt.Sprintf("nettest: %s has no address %v", h.Name, a))
}
