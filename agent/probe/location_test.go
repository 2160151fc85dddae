package probe

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/natrix-os/natrix/agent/location"
)

// The server refuses a whole message over one blank part of a place.
func TestLocationsAreComplete(t *testing.T) {
	p := New()
	defer p.Close()
	p.Locations = location.NewFinder(func(a netip.Addr) (location.Location, bool) {
		return location.Location{Country: "美国", Province: " ", ISP: "Level3"}, a == netip.MustParseAddr("8.8.8.8")
	})
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	r, body := run(t, p, "http", web.URL, nil)
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	const private = `{"country":"0","region":"0","province":"0","city":"内网IP","isp":"内网IP"}`
	if !strings.Contains(body, `"remote_location":`+private) || !strings.Contains(body, `"local_location":`+private) {
		t.Errorf("got %s", body)
	}
	for addr, want := range map[string]string{
		"8.8.8.8":     `{"country":"美国","region":"0","province":"0","city":"0","isp":"Level3"}`,
		"203.0.113.1": `{"country":"0","region":"0","province":"0","city":"0","isp":"0"}`,
		"10.0.0.1":    private,
		"2001:db8::1": `{"country":"0","region":"0","province":"0","city":"0","isp":"0"}`,
	} {
		place := p.Locations.Of(netip.MustParseAddr(addr))
		got, err := json.Marshal(place)
		if err != nil || string(got) != want {
			t.Errorf("%s: got %s, %v, want %s", addr, got, err, want)
		}
		result := *r.Data.(*HTTPResult)
		result.Remote, result.RemoteLocation = netip.AddrPortFrom(netip.MustParseAddr(addr), 80), place
		judge(t, "http", &result)
	}
}
