package sysinfo

import (
	"reflect"
	"testing"

	"net/netip"
)

func TestResolver(t *testing.T) {
	a := netip.MustParseAddr
	for _, tt := range []struct {
		file string
		want Resolver
	}{
		{"# made by dhcp\nnameserver 192.0.2.53\nnameserver\t2001:db8::53 \nnameserver fe80::1%eth0\n", Resolver{Servers: []netip.Addr{a("192.0.2.53"), a("2001:db8::53"), a("fe80::1%eth0")}}},
		{"domain example.net\nsearch example.com lan\noptions ndots:2\n", Resolver{Search: []string{"example.com", "lan"}}},
		{"nameserver\nnameserver example.com\n;nameserver 192.0.2.1\nsearch\n", Resolver{}},
	} {
		if got := parseResolver([]byte(tt.file)); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%q: got %+v, want %+v", tt.file, got, tt.want)
		}
	}
}
