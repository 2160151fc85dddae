package netif

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/natrix-os/natrix/sysinfo/netif/nettest"
)

// twoWays is a host with two links, the default route by the first:
//
//	      a ── r1 ──┐
//	h ──┤           ├── r3 ── target (h2)
//	      b ── r2 ──┘
func twoWays(t *testing.T) (h, target *nettest.Host) {
	t.Helper()
	n := nettest.New(t)
	h = n.Host("h")
	r1, r2, r3, target := n.Host("r1"), n.Host("r2"), n.Host("r3"), n.Host("target")
	n.Connect(h, r1)
	n.Connect(h, r2)
	n.Connect(r1, r3)
	n.Connect(r2, r3)
	n.Connect(r3, target)
	n.Route()
	for _, p := range []string{"0.0.0.0/0", "::/0"} {
		dst := netip.MustParsePrefix(p)
		gw := h.Link("r1").Peer.Link("h").Addr4
		if dst.Addr().Is6() {
			gw = h.Link("r1").Peer.Link("h").Addr6
		}
		h.AddRoute(dst, 0, gw)
	}
	return h, target
}

func byName(t *testing.T, name string) Link {
	t.Helper()
	l, err := ByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestNetnsLinksHaveAddressesGatewaysAndDefaults(t *testing.T) {
	h, _ := twoWays(t)
	second := netip.MustParsePrefix("192.0.2.7/24")
	h.AddAddr("r1", second)
	h.Do(func() {
		r1, r2 := byName(t, "r1"), byName(t, "r2")
		end := h.Link("r1")
		if r1.Kind != Wired || !r1.Up || !r1.Carrier || len(r1.Terminal()) != 12 || r1.Driver != "veth" {
			t.Errorf("got %+v, want a wired link that is up", r1)
		}
		if !r1.Default4 || !r1.Default6 || r2.Default4 || r2.Default6 {
			t.Errorf("got defaults %v %v by r1 and %v %v by r2, want them by r1", r1.Default4, r1.Default6, r2.Default4, r2.Default6)
		}
		if gw := end.Peer.Link("h"); r1.Gateway4 != gw.Addr4 || r1.Gateway6 != gw.Addr6 {
			t.Errorf("got gateways %v and %v, want %v and %v", r1.Gateway4, r1.Gateway6, gw.Addr4, gw.Addr6)
		}
		if r2.Gateway4.IsValid() {
			t.Errorf("got gateway %v of r2, want none", r2.Gateway4)
		}
		if r1.Addr4().Addr() != end.Addr4 || r1.Addr6().Addr() != end.Addr6 || !slices.Contains(r1.Addrs, second) {
			t.Errorf("got %v, want %v and %v first and %v too", r1.Addrs, end.Addr4, end.Addr6, second)
		}
	})
}

func TestNetnsSelect(t *testing.T) {
	h, target := twoWays(t)
	r1, r2 := h.Link("r1"), h.Link("r2")
	extra := netip.MustParsePrefix("192.0.2.7/24")
	h.AddAddr("r2", extra)
	far := netip.MustParseAddr("198.51.100.1") // only the default route leads there
	h.Do(func() {
		for _, tt := range []struct {
			spec string
			dst  netip.Addr
			link string
			src  netip.Addr
		}{
			{"", far, "r1", r1.Addr4},
			{"r1", target.Addr4, "r1", r1.Addr4},
			{"r2", target.Addr4, "r2", r2.Addr4},
			{"r2", target.Addr6, "r2", r2.Addr6},
			{r2.Addr4.String(), target.Addr4, "r2", r2.Addr4},
			{"192.0.2.7", target.Addr4, "r2", extra.Addr()},
			{r2.Addr6.String(), target.Addr6, "r2", r2.Addr6},
			{"r1", r1.Addr4, "lo", r1.Addr4}, // an address of the link itself
			{"", r2.Addr6, "lo", r2.Addr6},
		} {
			got, err := Select(tt.spec, tt.dst)
			if err != nil || got.Link != tt.link || got.Src != tt.src {
				t.Errorf("Select(%q, %v) = %+v, %v, want %s from %v", tt.spec, tt.dst, got, err, tt.link, tt.src)
			}
		}
		if got, err := Select("", far); err != nil || got.Gateway != r1.Peer.Link("h").Addr4 {
			t.Errorf("got %+v, %v, want the gateway %v", got, err, r1.Peer.Link("h").Addr4)
		}
	})
}

func TestNetnsSelectRefuses(t *testing.T) {
	h, target := twoWays(t)
	bare := addLink(t, h, "bare")
	h.Do(func() {
		if got, err := Select("bare", target.Addr4); err == nil || !strings.Contains(err.Error(), "by bare") {
			t.Errorf("got %+v, %v by a link that is down, want an error that names it", got, err)
		}
		if err := netlink.LinkSetUp(bare); err != nil {
			t.Fatal(err)
		}
		if got, err := Select("bare", target.Addr4); err == nil || !strings.Contains(err.Error(), "no IPv4 address") {
			t.Errorf("got %+v, %v by a link without an address, want an error that says so", got, err)
		}
		h.AddRoute(netip.MustParsePrefix("198.51.100.0/24"), unix.RTN_UNREACHABLE)
		if got, err := Select("", netip.MustParseAddr("198.51.100.1")); err == nil {
			t.Errorf("got %+v by an unreachable route, want an error", got)
		}
	})
}

// The peer sees which link and source a connection came by.
func TestNetnsDialerLeavesByTheLink(t *testing.T) {
	h, target := twoWays(t)
	var l net.Listener
	target.Do(func() {
		var err error
		if l, err = net.Listen("tcp", ":0"); err != nil {
			t.Fatal(err)
		}
	})
	defer l.Close()
	port := uint16(l.Addr().(*net.TCPAddr).Port)
	for _, peer := range []string{"r1", "r2"} {
		end := h.Link(peer)
		for dst, src := range map[netip.Addr]netip.Addr{target.Addr4: end.Addr4, target.Addr6: end.Addr6} {
			before := received(t, end.Peer)
			h.Do(func() {
				c, err := Dialer(peer, src).Dial("tcp", netip.AddrPortFrom(dst, port).String())
				if err != nil {
					t.Fatal(err)
				}
				c.Close()
			})
			c, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
			if got := netip.MustParseAddrPort(c.RemoteAddr().String()).Addr().Unmap(); got != src {
				t.Errorf("by %s: came from %v, want %v", peer, got, src)
			}
			if after := received(t, end.Peer); after == before {
				t.Errorf("by %s from %v: %s saw no packet", peer, src, peer)
			}
		}
	}
}

// received counts the packets that came to a host by its link to h.
func received(t *testing.T, host *nettest.Host) uint64 {
	t.Helper()
	var n uint64
	host.Do(func() { n = byName(t, "h").Counters.RxPackets })
	return n
}

func TestNetnsWatch(t *testing.T) {
	h, _ := twoWays(t)
	added := netip.MustParsePrefix("192.0.2.7/24")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	// What is waited for, and what is done once it has come.
	steps := []struct {
		name string
		done func(Link) bool
		next func()
	}{
		{"the link as it is", func(l Link) bool { return l.Up && l.Default4 }, func() { h.AddAddr("r1", added) }},
		{"one more address", func(l Link) bool { return l.Has(added.Addr()) }, func() { h.Unplug("r1") }},
		{"a link that is down", func(l Link) bool { return !l.Up && !l.Default4 }, func() { h.Plug("r1") }},
		{"a link that is up", func(l Link) bool { return l.Up && l.Carrier }, func() { remove(t, h, "r1") }},
		{"no link", func(l Link) bool { return l.Index == 0 }, cancel},
	}
	h.Do(func() {
		for links, err := range Watch(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			if len(steps) == 0 {
				break
			}
			l, _ := find(links, "r1")
			if steps[0].done(l) {
				steps[0].next()
				steps = steps[1:]
			}
		}
	})
	if len(steps) > 0 {
		t.Errorf("%s never came", steps[0].name)
	}
}

// addLink gives a host one end of a cable that nothing else is plugged into.
func addLink(t *testing.T, h *nettest.Host, name string) netlink.Link {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	if err := h.Netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: name + "-end"}); err != nil {
		t.Fatal(err)
	}
	end, err := h.Netlink.LinkByName(name + "-end")
	if err == nil {
		err = h.Netlink.LinkSetUp(end)
	}
	if err != nil {
		t.Fatal(err)
	}
	l, err := h.Netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func remove(t *testing.T, h *nettest.Host, link string) {
	t.Helper()
	l, err := h.Netlink.LinkByName(link)
	if err == nil {
		err = h.Netlink.LinkDel(l)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Changes that nobody waits for are seen as one, and the last is seen.
func TestNetnsWatchMergesChanges(t *testing.T) {
	h := nettest.NewHost(t, "h")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	d0 := addLink(t, h, "d0")
	const last = 9000
	n := 0
	h.Do(func() {
		for links, err := range Watch(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			if n++; n == 1 {
				for mtu := last - 3000; mtu <= last; mtu++ {
					if err := h.Netlink.LinkSetMTU(d0, mtu); err != nil {
						t.Fatal(err)
					}
				}
			}
			if l, _ := find(links, "d0"); l.MTU == last {
				return
			}
		}
		t.Error("never saw the last MTU")
	})
	if n > 100 {
		t.Errorf("got %d states of 3000 changes that nobody waited for, want few", n)
	}
}

// A buffer that overflowed while nobody read it is a change like any other.
func TestNetnsOverflowIsAChange(t *testing.T) {
	h := nettest.NewHost(t, "h")
	d0 := addLink(t, h, "d0")
	var socks [2]*nl.NetlinkSocket
	h.Do(func() {
		for i := range socks {
			var err error
			if socks[i], err = nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK); err != nil {
				t.Fatal(err)
			}
			if err := socks[i].SetReceiveBufferSize(4096, false); err != nil {
				t.Fatal(err)
			}
		}
	})
	defer socks[1].Close()
	for mtu := range 100 {
		if err := h.Netlink.LinkSetMTU(d0, 1400+mtu); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := socks[1].Receive(); !errors.Is(err, unix.ENOBUFS) {
		t.Fatalf("got %v of a buffer that must have overflowed, want ENOBUFS", err)
	}
	changed, ended := make(chan error, 1), make(chan struct{})
	go func() { receive(socks[0], changed); close(ended) }()
	if err := <-changed; err != nil {
		t.Errorf("got %v, want a change", err)
	}
	socks[0].Close()
	<-ended
}

func TestNetnsLeases(t *testing.T) {
	h, _ := twoWays(t)
	r1, err := h.Netlink.LinkByName("r1")
	if err != nil {
		t.Fatal(err)
	}
	lent, err := netlink.ParseAddr("192.0.2.7/24")
	if err != nil {
		t.Fatal(err)
	}
	lent.ValidLft, lent.PreferedLft = 3600, 3600
	if err := h.Netlink.AddrAdd(r1, lent); err != nil {
		t.Fatal(err)
	}
	h.Do(func() {
		got := byName(t, "r1").Leases
		left := got[netip.MustParseAddr("192.0.2.7")]
		if len(got) != 1 || left > time.Hour || left < time.Hour-time.Minute {
			t.Errorf("got %v, want an hour for 192.0.2.7 alone", got)
		}
	})
}
