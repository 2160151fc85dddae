package contract

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// pinged is the data of a ping. Times are in milliseconds.
type pinged struct {
	Addr    string   `json:"destination_ip"`
	Send    int      `json:"packet_send"`
	Receive int      `json:"packet_receive"`
	Loss    int      `json:"packet_loss"`
	Size    int      `json:"packet_size"`
	Min     *float64 `json:"min_time"`
	Avg     *float64 `json:"avg_time"`
	Max     *float64 `json:"max_time"`
}

// Total loss gives status 0, packet_loss = packet_send, and -1 for the times.
func (l *lab) check08(t *testing.T) {
	s := l.running(t)
	for _, destination := range []string{"hole.site.test", l.closed.Addr4.String()} {
		var p pinged
		s.ask("ping", destination, map[string]any{"count": 2, "timeout": 1}).into(t, &p)
		if p.Send != 2 || p.Loss != 2 || p.Receive != 0 {
			t.Errorf("%s: got %d of %d lost, want 2 of 2", destination, p.Loss, p.Send)
		}
		for _, time := range []*float64{p.Min, p.Avg, p.Max} {
			if time == nil || *time != -1 {
				t.Errorf("%s: got %v for a time, want -1", destination, time)
			}
		}
	}
}

// ping count=10 sends ten packets, and send = receive + loss = 10.
func (l *lab) check09(t *testing.T) {
	s := l.running(t)
	for _, count := range []any{10, "10", 10.0} {
		var p pinged
		s.ask("ping", "www.site.test", map[string]any{"count": count, "interval": 0.01, "timeout": 5, "packet_size": 200}).into(t, &p)
		if p.Send != 10 || p.Receive+p.Loss != 10 || p.Receive == 0 || p.Size != 200 {
			t.Errorf("count %v: got %+v, want 10 sent of 200 bytes", count, p)
		}
	}
}

// ping timeout=1 means one second: a path of 200 ms shows no loss.
func (l *lab) check10(t *testing.T) {
	s := l.running(t)
	var p pinged
	for try := 0; try == 0 || try < 5 && p.Loss > 0; try++ { // a machine that is busy enough loses some
		s.ask("ping", "far.site.test", map[string]any{"count": 2, "timeout": 1, "packet_size": 55}).into(t, &p)
	}
	if p.Loss != 0 || p.Min == nil || *p.Min < 200 {
		t.Errorf("got %+v, want no loss in 200 ms", p)
	}
}

// dns honours dns_server, timeout and dns_timeout; a timeout gives 102, no
// record 103.
func (l *lab) check17(t *testing.T) {
	s := l.running(t)
	for _, name := range []string{"timeout", "dns_timeout"} {
		begin := time.Now()
		s.ask("dns", name+".silent.test", map[string]any{"dns_server": anycast.String(), name: 1}).failsWith(t, 102)
		if took := time.Since(begin); took < 900*time.Millisecond || took > 9*time.Second {
			t.Errorf("%s of a second took %v", name, took)
		}
	}
	s.ask("dns", "empty.site.test", nil).failsWith(t, 103)
	s.ask("dns", "missing.site.test", nil).failsWith(t, 101)
	for want, parameters := range map[string]map[string]any{
		l.lan.Addr4.String(): {"dns_server": l.lan.Addr4.String(), "is_default": false, "timeout": 10},
		"114.114.114.114":    {"dns_server": "114.114.114.114"},
		anycast.String():     {"dns_server": "192.0.2.1", "is_default": true, "timeout": 10},
	} {
		var data struct {
			Server struct{ IP string } `json:"dns_server"`
			Time   float64             `json:"ptime"`
			IPs    []struct{ IP string }
		}
		s.ask("dns", "www.site.test", parameters).into(t, &data)
		if data.Server.IP != want || data.Time <= 0 || len(data.IPs) != 2 || data.IPs[0].IP != l.lan.Addr4.String() {
			t.Errorf("%v: got %+v, want an answer of %s", parameters, data, want)
		}
	}
}

// cname, mx and ns responses carry ips, possibly empty, and their own.
func (l *lab) check18(t *testing.T) {
	s := l.running(t)
	for _, want := range []struct {
		method, destination, ips, cnames, mxs, ns string
	}{
		{"a", "alias.site.test", "10.0.1.2", "", "", ""},
		{"aaaa", "six.site.test", l.lan.Addr6.String(), "", "", ""},
		{"cname", "alias.site.test", "", "www.site.test.", "", ""},
		{"mx", "site.test", "", "", "mail.site.test. mail2.site.test.", ""},
		{"MX", "http://site.test/x", "", "", "mail.site.test. mail2.site.test.", ""},
		{"ns", "site.test", "", "", "", "ns1.site.test. ns2.site.test."},
		{"txt", "site.test", "", "", "", ""},
		{"soa", "site.test", "", "", "", ""},
		{"caa", "site.test", "", "", "", ""},
		{"ptr", "10.0.1.2", "", "", "", ""},
	} {
		var data struct {
			IPs             *[]struct{ IP string }
			CNames, MXs, NS []string
		}
		got := s.ask("dns", want.destination, map[string]any{"dns_method": want.method})
		got.into(t, &data)
		if data.IPs == nil {
			t.Errorf("%s: no ips in %s", want.method, got.raw)
			continue
		}
		var ips []string
		for _, a := range *data.IPs {
			ips = append(ips, a.IP)
		}
		for _, list := range []struct {
			got  []string
			want string
		}{{ips, want.ips}, {data.CNames, want.cnames}, {data.MXs, want.mxs}, {data.NS, want.ns}} {
			if strings.Join(list.got, " ") != list.want {
				t.Errorf("%s: got %q, want %q in %s", want.method, list.got, list.want, got.raw)
			}
		}
	}
}

// The data of traceroute is a bare array, seq from 1, three routes per hop, with
// "*" for what is lost; refusals of routers neither hang nor fail it.
func (l *lab) check19(t *testing.T) {
	s := l.running(t)
	lan, router := l.lan.Addr4.String(), func(cable int) string { return fmt.Sprintf("10.0.%d.101", cable) }
	for _, path := range []struct {
		destination string
		parameters  map[string]any
		hops        []string
	}{
		{"www.site.test", nil, []string{lan}},
		{"far.site.test", nil, []string{lan, router(3), l.far.Addr4.String()}},
		{"far.site.test", map[string]any{"protocol": "udp", "max_hops": 30, "interface": "eth0"}, []string{lan, router(3), l.far.Addr4.String()}},
		{"far.site.test", map[string]any{"traceroute_tcp": "true", "traceroute_max_hops": "2"}, []string{lan, router(3)}},
		{"hole.site.test", map[string]any{"max_hops": 4, "timeout": 1}, []string{lan, router(4), "*", "*"}},
		{l.closed.Addr4.String(), nil, []string{lan, router(5), router(5)}},
		{l.barred.Addr4.String(), nil, []string{lan, router(6), router(6)}},
	} {
		var hops []struct {
			Seq    int
			Routes []struct {
				IP, Hostname string
				Location     *map[string]string
				Time         float64 `json:"response_times"`
			}
		}
		s.ask("traceroute", path.destination, path.parameters).into(t, &hops)
		var got []string
		for i, h := range hops {
			if h.Seq != i+1 || len(h.Routes) != 3 {
				t.Errorf("%s: hop %d has seq %d and %d routes", path.destination, i+1, h.Seq, len(h.Routes))
				continue
			}
			got = append(got, h.Routes[0].IP)
			for _, r := range h.Routes {
				if lost := r.IP == "*"; lost != (r.Hostname == "*") || lost != (r.Location == nil) || lost != (r.Time == 0) || r.Hostname == "" {
					t.Errorf("%s: got route %+v", path.destination, r)
				}
			}
		}
		if !slices.Equal(got, path.hops) {
			t.Errorf("%s: got %v, want %v", path.destination, got, path.hops)
		}
	}
}
