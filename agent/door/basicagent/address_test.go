package basicagent

import (
	"fmt"
	"net/netip"
	"testing"
)

// Test04Targets is also the abuse of a redirect to where no server is.
func Test04Targets(t *testing.T) {
	local, public := netip.MustParseAddrPort("127.0.0.1:5443"), netip.MustParseAddrPort("198.51.100.1:5443")
	private := netip.MustParseAddrPort("10.0.0.1:5443")
	for _, test := range []struct {
		list string
		from netip.AddrPort
		want string // "" is a refusal
	}{
		{"127.0.10.1,10.92.1.130", local, "[127.0.10.1:5443 10.92.1.130:5443]"},
		{" 10.1.1.1 , 10.1.1.2:7 ,", private, "[10.1.1.1:5443 10.1.1.2:7]"},
		{"[2001:db8::1],[2001:db8::2]:7,2001:db8::3", public, "[[2001:db8::1]:5443 [2001:db8::2]:7 [2001:db8::3]:5443]"},
		{"server.example", private, ""},
		{"10.1.1.1:0", private, ""},
		{"", private, ""},
		{" , ", private, ""},
		{"127.0.0.1:22", private, ""},
		{"169.254.169.254", private, ""},
		{"0.0.0.0", private, ""},
		{"224.0.0.1", private, ""},
		{"255.255.255.255", public, ""},
		{"198.51.100.9", private, ""},
		{"10.0.0.9", public, ""},
		{"[::ffff:127.0.0.1]:22", public, ""},
	} {
		got, err := targets(test.list, test.from, nil)
		if err != nil && test.want != "" || err == nil && fmt.Sprint(got) != test.want {
			t.Errorf("%q from %s: got %v, %v, want %s", test.list, test.from, got, err, test.want)
		}
	}
}
