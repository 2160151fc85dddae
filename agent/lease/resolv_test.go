package lease

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

func TestResolverMergesInLinkOrder(t *testing.T) {
	r := &resolver{path: filepath.Join(t.TempDir(), "resolv.conf")}
	addr := netip.MustParseAddr
	steps := []struct {
		name string
		do   func() error
		want string
	}{
		{"second link", func() error {
			return r.set(source{3, false}, names{"usb0", []netip.Addr{addr("198.51.100.1")}, []string{"example.org"}})
		}, "nameserver 198.51.100.1\nsearch example.org\n"},
		{"first link goes before it", func() error {
			return r.set(source{2, false}, names{"eth0", []netip.Addr{addr("192.0.2.1"), addr("198.51.100.1")}, []string{"example.net", "example.org"}})
		}, "nameserver 192.0.2.1\nnameserver 198.51.100.1\nsearch example.net example.org\n"},
		{"advertised servers come after those of DHCP, with their zone", func() error {
			return r.set(source{2, true}, names{"eth0", []netip.Addr{addr("fe80::1"), addr("2001:db8::1")}, nil})
		}, "nameserver 192.0.2.1\nnameserver 198.51.100.1\nnameserver fe80::1%eth0\nnameserver 2001:db8::1\nsearch example.net example.org\n"},
		{"first link gone", func() error { return r.drop(2) }, "nameserver 198.51.100.1\nsearch example.org\n"},
		{"both gone", func() error { return r.set(source{3, false}, names{}) }, ""},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		got, err := os.ReadFile(r.path)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != s.want {
			t.Errorf("%s: got\n%s\nwant\n%s", s.name, got, s.want)
		}
	}
}
