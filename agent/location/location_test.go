package location

import (
	"encoding/json"
	"net/netip"
	"testing"
)

func TestOfWithoutData(t *testing.T) {
	for _, tt := range []struct{ addr, want string }{
		{"10.0.0.1", "0|0|0|内网IP|内网IP"},
		{"172.16.0.1", "0|0|0|内网IP|内网IP"},
		{"172.31.255.255", "0|0|0|内网IP|内网IP"},
		{"172.32.0.1", "0|0|0|0|0"},
		{"192.168.31.20", "0|0|0|内网IP|内网IP"},
		{"::ffff:192.168.31.20", "0|0|0|内网IP|内网IP"},
		{"192.0.2.1", "0|0|0|0|0"},
		{"127.0.0.1", "0|0|0|内网IP|内网IP"},
		{"169.254.1.1", "0|0|0|内网IP|内网IP"},
		{"fd00::1", "0|0|0|内网IP|内网IP"},
		{"fe80::1%eth0", "0|0|0|内网IP|内网IP"},
		{"::1", "0|0|0|内网IP|内网IP"},
		{"2001:db8::1", "0|0|0|0|0"},
	} {
		if got := Of(netip.MustParseAddr(tt.addr)).String(); got != tt.want {
			t.Errorf("Of(%s) = %s, want %s", tt.addr, got, tt.want)
		}
	}
	if got := Of(netip.Addr{}); got != Unknown {
		t.Errorf("Of(no address) = %v, want %v", got, Unknown)
	}
}

func TestFinderFillsBlanksAndKeepsPrivateNetworksToItself(t *testing.T) {
	f := NewFinder(func(a netip.Addr) (Location, bool) {
		return Location{Country: "中国", Province: "北京", City: " "}, a.Is4()
	})
	for _, tt := range []struct{ addr, want string }{
		{"192.0.2.1", "中国|0|北京|0|0"},
		{"2001:db8::1", "0|0|0|0|0"},
		{"10.0.0.1", "0|0|0|内网IP|内网IP"},
	} {
		if got := f.Of(netip.MustParseAddr(tt.addr)).String(); got != tt.want {
			t.Errorf("Of(%s) = %s, want %s", tt.addr, got, tt.want)
		}
	}
}

func TestKnown(t *testing.T) {
	for _, tt := range []struct{ record, want string }{
		{"中国|0|北京|北京市|电信", "中国 北京 北京市 电信"},
		{"0|0|0|内网IP|内网IP", "内网IP"},
		{"0|0|0|0|0", ""},
	} {
		if got := record([]byte(tt.record)).Known(); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.record, got, tt.want)
		}
	}
}

func TestWireShape(t *testing.T) {
	got, err := json.Marshal(Of(netip.MustParseAddr("10.0.0.1")))
	const want = `{"country":"0","region":"0","province":"0","city":"内网IP","isp":"内网IP"}`
	if err != nil || string(got) != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
}
