package netif

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

var (
	localhost4 = netip.MustParseAddr("127.0.0.1")
	any4       = netip.MustParsePrefix("127.0.0.1/8")
)

func TestLinksHoldsTheLoopback(t *testing.T) {
	links, err := Links()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.IsSortedFunc(links, func(a, b Link) int { return a.Index - b.Index }) {
		t.Errorf("links are not sorted by index: %v", names(links))
	}
	lo, err := find(links, "lo")
	if err != nil {
		t.Fatal(err)
	}
	if lo.Kind != Loopback || !lo.Up || lo.MAC != nil || lo.Terminal() != "" || lo.MTU < 1500 {
		t.Errorf("got %+v, want a loopback link that is up and has no MAC", lo)
	}
	if !slices.Contains(lo.Addrs, any4) {
		t.Errorf("got addresses %v, want %v among them", lo.Addrs, any4)
	}
	if lo.Broadcast4.IsValid() {
		t.Errorf("got broadcast address %v for lo, want none", lo.Broadcast4)
	}
}

func TestByNameNamesTheLinksThereAre(t *testing.T) {
	_, err := ByName("nosuch0")
	if err == nil || !strings.Contains(err.Error(), "lo") {
		t.Errorf("got error %v, want one that names lo", err)
	}
}

func TestFind(t *testing.T) {
	for _, tt := range []struct {
		spec string
		src  netip.Addr
	}{
		{"lo", netip.Addr{}},
		{"127.0.0.1", localhost4},
		{"::ffff:127.0.0.1", localhost4},
	} {
		l, src, err := Find(tt.spec)
		if err != nil || l.Name != "lo" || src != tt.src {
			t.Errorf("Find(%q) = %s, %v, %v, want lo, %v", tt.spec, l.Name, src, err, tt.src)
		}
	}
	for _, spec := range []string{"", "nosuch0", "203.0.113.250", "127.0.0.1%nosuch0"} {
		if l, _, err := Find(spec); err == nil {
			t.Errorf("Find(%q) = %s, want an error", spec, l.Name)
		}
	}
}

func TestSelectLoopback(t *testing.T) {
	for _, spec := range []string{"", "lo", "127.0.0.1"} {
		r, err := Select(spec, localhost4)
		if err != nil || r.Link != "lo" || r.Src != localhost4 {
			t.Errorf("Select(%q, %v) = %+v, %v, want lo and %v", spec, localhost4, r, err, localhost4)
		}
	}
	if r, err := Select("127.0.0.1", netip.MustParseAddr("::1")); err == nil {
		t.Errorf("got %+v for a source of the other family, want an error", r)
	}
	if r, err := Select("", netip.Addr{}); err == nil {
		t.Errorf("got %+v for no destination, want an error", r)
	}
}

func TestDialerBindsToLinkAndSource(t *testing.T) {
	src := netip.MustParseAddr("127.9.8.7")
	for _, network := range []string{"tcp", "udp"} {
		addr := listen(t, network)
		c, err := Dialer("lo", src).DialContext(t.Context(), network, addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if got := netip.MustParseAddrPort(c.LocalAddr().String()).Addr(); got != src {
			t.Errorf("%s left from %v, want %v", network, got, src)
		}
	}
}

func TestDialerRefuses(t *testing.T) {
	addr := listen(t, "tcp")
	for _, tt := range []struct {
		link, src, want string
	}{
		{"nosuch0", "127.0.0.1", "bind to link nosuch0"},
		{"lo", "::1", "::1 cannot be the source of a tcp4 socket"},
		{"lo", "203.0.113.250", "bind to 203.0.113.250"},
	} {
		_, err := Dialer(tt.link, netip.MustParseAddr(tt.src)).DialContext(t.Context(), "tcp", addr)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("dial by %s from %s: got %v, want %q", tt.link, tt.src, err, tt.want)
		}
	}
}

// listen opens a socket on the loopback and returns its address.
func listen(t *testing.T, network string) string {
	t.Helper()
	if network == "udp" {
		c, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c.LocalAddr().String()
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

func TestWatchYieldsAtOnceAndEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	for links, err := range Watch(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if len(links) == 0 {
			t.Error("got no links, want at least lo")
		}
		n++
		cancel()
	}
	if n != 1 {
		t.Errorf("got %d states, want 1", n)
	}
}

func TestTerminal(t *testing.T) {
	mac, _ := net.ParseMAC("B8:27:EB:F9:41:74")
	if got := (Link{MAC: mac}).Terminal(); got != "b827ebf94174" {
		t.Errorf("got %q, want b827ebf94174", got)
	}
	infiniband, _ := net.ParseMAC("80:00:02:08:fe:80:00:00:00:00:00:00:f4:52:14:03:00:8d:7f:91")
	if got := (Link{MAC: infiniband}).Terminal(); got != "" {
		t.Errorf("got %q for an InfiniBand address, want none", got)
	}
}

func TestTerminalsHaveAnAddressOfTheirOwn(t *testing.T) {
	a, b := net.HardwareAddr{2, 0, 0, 0, 0, 1}, net.HardwareAddr{2, 0, 0, 0, 0, 2}
	links := []Link{
		{Name: "lo", Index: 1, Kind: Loopback},
		{Name: "port", Index: 2, MAC: a},
		{Name: "bridge", Index: 3, MAC: a},
		{Name: "tun0", Index: 4},
		{Name: "other", Index: 5, MAC: b},
	}
	if got, want := names(Terminals(links)), "port, other"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	links[2].Addrs = []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")}
	if got, want := names(Terminals(links)), "bridge, other"; got != want {
		t.Errorf("got %s once the bridge has an address, want %s", got, want)
	}
}
