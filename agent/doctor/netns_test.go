package doctor

import (
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/insomniacslk/dhcp/dhcpv4/server4"
	"github.com/vishvananda/netlink"

	"github.com/natrix-os/natrix/sysinfo/netif"
	"github.com/natrix-os/natrix/sysinfo/netif/nettest"
)

// neighbours are two hosts on one cable, and the link of the first.
func neighbours(t *testing.T) (h1, h2 *nettest.Host, link netif.Link) {
	t.Helper()
	hosts := nettest.Chain(t, "h1", "h2")
	h1, h2 = hosts[0], hosts[1]
	h1.Do(func() {
		var err error
		if link, err = netif.ByName("h2"); err != nil {
			t.Error(err)
		}
	})
	return h1, h2, link
}

func TestNetnsARP(t *testing.T) {
	h1, h2, link := neighbours(t)
	own := link.Addr4().Addr()
	var peer netif.Link
	h2.Do(func() { peer, _ = netif.ByName("h1") })
	h1.Do(func() {
		mac, err := askARP(t.Context(), link, nil, own, peer.Addr4().Addr())
		if err != nil || mac.String() != peer.MAC.String() {
			t.Errorf("the neighbour: got %v, %v, want %v", mac, err, peer.MAC)
		}
		if mac, err := askARP(t.Context(), link, nil, netip.IPv4Unspecified(), own); !errors.Is(err, errSilent) {
			t.Errorf("our own address: got %v, %v, want silence", mac, err)
		}
	})
	addr, err := netlink.ParseAddr(own.String() + "/32")
	if err != nil {
		t.Fatal(err)
	}
	h2.Do(func() {
		if err := netlink.AddrAdd(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: peer.Index}}, addr); err != nil {
			t.Error(err)
		}
	})
	h1.Do(func() {
		mac, err := askARP(t.Context(), link, nil, netip.IPv4Unspecified(), own)
		if err != nil || mac.String() != peer.MAC.String() {
			t.Errorf("a conflict: got %v, %v, want %v", mac, err, peer.MAC)
		}
		if mac, err := askARP(t.Context(), link, []string{peer.MAC.String()}, netip.IPv4Unspecified(), own); !errors.Is(err, errSilent) {
			t.Errorf("a conflict with another link of ours: got %v, %v, want silence", mac, err)
		}
	})
}

func TestNetnsOffer(t *testing.T) {
	h1, h2, link := neighbours(t)
	h1.Do(func() {
		if _, _, err := discover(t.Context(), link); !errors.Is(err, nclient4.ErrNoResponse) {
			t.Errorf("without a server: got %v, want %v", err, nclient4.ErrNoResponse)
		}
	})
	offer := func(conn net.PacketConn, peer net.Addr, m *dhcpv4.DHCPv4) {
		answer, err := dhcpv4.NewReplyFromRequest(m, dhcpv4.WithMessageType(dhcpv4.MessageTypeOffer),
			dhcpv4.WithYourIP(net.IPv4(10, 0, 1, 77)), dhcpv4.WithServerIP(net.IPv4(10, 0, 1, 2)),
			dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(10, 0, 1, 2))))
		if err == nil {
			conn.WriteTo(answer.ToBytes(), peer)
		}
	}
	var server *server4.Server
	h2.Do(func() {
		var err error
		if server, err = server4.NewServer("h1", &net.UDPAddr{Port: dhcpv4.ServerPort}, offer); err != nil {
			t.Error(err)
		}
	})
	served := make(chan struct{})
	go func() { defer close(served); server.Serve() }()
	defer func() { server.Close(); <-served }()
	h1.Do(func() {
		server, addr, err := discover(t.Context(), link)
		if err != nil || server != netip.MustParseAddr("10.0.1.2") || addr != netip.MustParseAddr("10.0.1.77") {
			t.Errorf("got %v, %v, %v, want the offer", server, addr, err)
		}
	})
}

func FuzzARP(f *testing.F) {
	m := arpMessage{arpRequest, [6]byte{2, 0, 0, 0, 0, 1}, netip.MustParseAddr("192.0.2.1"), [6]byte{}, netip.MustParseAddr("192.0.2.7")}
	f.Add(m.bytes())
	f.Add(m.bytes()[:27])
	f.Fuzz(func(t *testing.T, b []byte) {
		m, ok := parseARP(b)
		if !ok {
			return
		}
		if again, ok := parseARP(m.bytes()); !ok || again != m {
			t.Errorf("%x is %+v, which is read back as %+v", b, m, again)
		}
	})
}
