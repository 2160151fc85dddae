package lease

import (
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

var asked = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func ack(t *testing.T, options ...dhcpv4.Option) *dhcpv4.DHCPv4 {
	t.Helper()
	m, err := dhcpv4.New(
		dhcpv4.WithMessageType(dhcpv4.MessageTypeAck),
		dhcpv4.WithYourIP(net.IPv4(192, 0, 2, 10)),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(192, 0, 2, 1))),
		dhcpv4.WithOption(dhcpv4.OptIPAddressLeaseTime(time.Hour)),
	)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range options {
		m.UpdateOption(o)
	}
	return m
}

func TestParse(t *testing.T) {
	base := func(change func(*Lease)) Lease {
		l := Lease{
			Link:     "eth0",
			Addr:     netip.MustParsePrefix("192.0.2.10/24"),
			Server:   netip.MustParseAddr("192.0.2.1"),
			Acquired: asked,
			Renew:    asked.Add(30 * time.Minute),
			Rebind:   asked.Add(52*time.Minute + 30*time.Second),
			Expires:  asked.Add(time.Hour),
		}
		change(&l)
		return l
	}
	addr := netip.MustParseAddr
	tests := map[string]struct {
		options []dhcpv4.Option
		want    Lease
	}{
		"nothing but a time: mask of the class, default timers": {nil, base(func(l *Lease) {})},
		"everything": {
			[]dhcpv4.Option{
				dhcpv4.OptSubnetMask(net.CIDRMask(26, 32)),
				dhcpv4.OptRouter(net.IPv4(192, 0, 2, 1), net.IPv4(192, 0, 2, 2)),
				dhcpv4.OptDNS(net.IPv4zero, net.IPv4(192, 0, 2, 3)),
				dhcpv4.OptNTPServers(net.IPv4(192, 0, 2, 4)),
				dhcpv4.OptDomainName("example.net example.org"),
				dhcpv4.OptHostName("probe7"),
				dhcpv4.OptGeneric(OptionConfig, []byte("http://192.0.2.1/natrix.ini\x00")),
				dhcpv4.OptGeneric(dhcpv4.OptionInterfaceMTU, []byte{0x05, 0xaa}),
				dhcpv4.OptGeneric(dhcpv4.OptionRenewTimeValue, []byte{0, 0, 0, 60}),
				dhcpv4.OptGeneric(dhcpv4.OptionRebindingTimeValue, []byte{0, 0, 0, 120}),
			},
			base(func(l *Lease) {
				l.Addr = netip.MustParsePrefix("192.0.2.10/26")
				l.Gateway = addr("192.0.2.1")
				l.Routes = []Route{{defaultRoute, addr("192.0.2.1")}}
				l.DNS = []netip.Addr{addr("192.0.2.3")}
				l.NTP = []netip.Addr{addr("192.0.2.4")}
				l.Search = []string{"example.net", "example.org"}
				l.Host = "probe7"
				l.Config = "http://192.0.2.1/natrix.ini"
				l.MTU = 1450
				l.Renew, l.Rebind = asked.Add(time.Minute), asked.Add(2*time.Minute)
			}),
		},
		"timers out of order are replaced, a tiny MTU and a mask with holes ignored": {
			[]dhcpv4.Option{
				dhcpv4.OptSubnetMask(net.IPv4Mask(255, 0, 255, 0)),
				dhcpv4.OptGeneric(dhcpv4.OptionInterfaceMTU, []byte{0, 68}),
				dhcpv4.OptGeneric(dhcpv4.OptionRenewTimeValue, []byte{0, 0, 99, 0}),
			},
			base(func(l *Lease) {}),
		},
		"a domain that would add a line to resolv.conf is dropped": {
			[]dhcpv4.Option{dhcpv4.OptDomainName("a\nnameserver.example b\x00c")},
			base(func(l *Lease) { l.Search = []string{"a", "nameserver.example"} }),
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := parse("eth0", ack(t, tt.options...), asked)
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Search) == 0 {
				got.Search = nil
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

func TestParseRejects(t *testing.T) {
	noTime := ack(t)
	noTime.DeleteOption(dhcpv4.OptionIPAddressLeaseTime)
	noAddress := ack(t)
	noAddress.YourIPAddr = net.IPv4zero
	for name, m := range map[string]*dhcpv4.DHCPv4{"no time": noTime, "no address": noAddress} {
		if got, err := parse("eth0", m, asked); err == nil {
			t.Errorf("%s: got %+v, want an error", name, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	m, err := dhcpv4.New(dhcpv4.WithYourIP(net.IPv4(192, 0, 2, 10)), dhcpv4.WithLeaseTime(3600),
		dhcpv4.WithOption(dhcpv4.OptDNS(net.IPv4(192, 0, 2, 3))), dhcpv4.WithOption(dhcpv4.OptDomainName("example.net")))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(m.ToBytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := dhcpv4.FromBytes(b)
		if err != nil {
			return
		}
		l, err := parse("eth0", m, asked)
		if err != nil {
			return
		}
		if !l.Addr.IsValid() || l.Renew.After(l.Rebind) || l.Rebind.After(l.Expires) || !l.Expires.After(asked) {
			t.Errorf("accepted %+v", l)
		}
		r := resolver{sources: map[source]names{{1, false}: {link: "eth0", servers: l.DNS, search: l.Search}}}
		for line := range strings.Lines(string(r.text())) {
			if !strings.HasPrefix(line, "nameserver ") && !strings.HasPrefix(line, "search ") {
				t.Errorf("line of resolv.conf: got %q", line)
			}
		}
		for _, route := range kernelRoutes(1, l) {
			if route.Dst == nil || route.Dst.Mask == nil {
				t.Errorf("route without a destination: %+v", route)
			}
		}
	})
}

func TestStoreRoundTrip(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	want, err := parse("eth0", ack(t, dhcpv4.OptRouter(net.IPv4(192, 0, 2, 1))), now)
	if err != nil {
		t.Fatal(err)
	}
	expired := want
	expired.Link, expired.Expires = "eth1", now.Add(-time.Second)
	for _, l := range []Lease{want, expired} {
		if err := save(dir, l); err != nil {
			t.Fatal(err)
		}
	}
	all, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 1 {
		t.Fatalf("leases: got %+v, want that of eth0 alone", all)
	}
	got := all[0]
	if d := got.Expires.Sub(want.Expires).Abs(); d > time.Millisecond {
		t.Errorf("end of the lease: got %v, want %v", got.Expires, want.Expires)
	}
	got.Acquired, got.Renew, got.Rebind, got.Expires = want.Acquired, want.Renew, want.Rebind, want.Expires
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if err := forget(dir, "eth0"); err != nil {
		t.Fatal(err)
	}
	if all, err := Read(dir); err != nil || len(all) != 0 {
		t.Errorf("after forgetting: got %+v, %v, want nothing", all, err)
	}
}

func TestReadMissingDir(t *testing.T) {
	if got, err := Read(t.TempDir() + "/none"); err != nil || len(got) != 0 {
		t.Errorf("got %v, %v, want no leases", got, err)
	}
}

func TestResend(t *testing.T) {
	for _, tt := range []struct{ left, want time.Duration }{
		{time.Hour, 30 * time.Minute},
		{3 * time.Minute, 90 * time.Second},
		{100 * time.Second, time.Minute},
		{30 * time.Second, 30 * time.Second},
	} {
		if got := resend(asked, asked.Add(tt.left)).Sub(asked); got != tt.want {
			t.Errorf("resend with %v left: got %v, want %v", tt.left, got, tt.want)
		}
	}
}
