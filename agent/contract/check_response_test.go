package contract

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// Each command of the server yields exactly one response, which passes its rules.
func (l *lab) check04(t *testing.T) {
	s := l.running(t)
	s.watch(responses)
	failures := 0
	protocols := make(map[string]string)  // by uuid, which the server uses again for the same protocol
	sent := examples(t, "cmd_[^u]*.json") // without those of no server
	for _, body := range sent {
		var o struct{ UUID, Protocol, Destination string }
		if err := json.Unmarshal([]byte(body), &o); err != nil {
			t.Fatal(err)
		}
		protocols[o.UUID] = strings.ToLower(o.Protocol)
		if strings.Contains(o.Destination, ":15672") { // where nobody listens
			failures++
		}
		s.send(eth0, body)
	}
	s.next(responses, len(sent)-1)
	s.ask("dns", "www.site.test", nil)
	all := s.all(responses)
	if len(all) != len(sent)+1 {
		t.Errorf("got %d responses to %d commands", len(all), len(sent)+1)
	}
	for _, raw := range all[:len(sent)] {
		r := s.parse(raw)
		var id string
		json.Unmarshal(r.Command.UUID, &id)
		s.judge(protocols[id], r)
		failures -= r.Status
	}
	if failures != 0 {
		t.Errorf("%d failures more or fewer than there should be:\n%s", failures, bytes.Join(all, []byte("\n")))
	}
}

// uuid, terminal and generate_timestamp come back as they were written:
// exchange looks for the same bytes.
func (l *lab) check05(t *testing.T) {
	s := l.running(t)
	for i, timestamp := range []string{"1557990000.1234567", "1557990000", `"222222"`, "1.557990000123456e9", "1557990000.10"} {
		for _, id := range []string{fmt.Sprintf(`"1F2A6F0E-4d5f-4a0c-9f55-7d3c3f1f6a%02x"`, i), fmt.Sprintf(`"%s-<&>-%d"`, eth0, i), fmt.Sprintf(`"\u00fc%d"`, i)} {
			s.exchange(eth0, `{"uuid":`+id+`,"terminal":"B8:27:eb","generate_timestamp":`+timestamp+`,"protocol":"dns","destination":"www.site.test"}`)
		}
	}
}

// All five stamps are there on success and on every error: what judge holds
// every response against.
func (l *lab) check06(t *testing.T) {
	s := l.running(t)
	for _, protocol := range []string{"ping", "traceroute", "dns", "http"} {
		for destination, status := range map[string]int{"www.site.test": 0, "missing.site.test": 1, "http://%zz/": 1} {
			if got := s.ask(protocol, destination, map[string]any{"count": 1}); got.Status != status {
				t.Errorf("%s %s: got %s, want status %d", protocol, destination, got.raw, status)
			}
		}
		if got := s.ask(protocol, "www.site.test", map[string]any{"timeout": "never"}); got.Status != 1 {
			t.Errorf("%s with a bad timeout: got %s", protocol, got.raw)
		}
	}
}

// A host that does not resolve is status 1 with an integer errorcode and a
// non-blank errorinfo for every command, in time.
func (l *lab) check07(t *testing.T) {
	s := l.running(t)
	for protocol, code := range map[string]int{"ping": 140, "traceroute": 103, "dns": 101, "http": 6} {
		begin := time.Now()
		s.ask(protocol, "missing.site.test", map[string]any{"timeout": 10}).failsWith(t, code)
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("%s took %v", protocol, took)
		}
	}
}

// Locations are complete, five non-blank strings, for public, private and
// unknown addresses.
func (l *lab) check11(t *testing.T) {
	s := l.running(t)
	for _, destination := range []string{"http://www.site.test/", "http://public.site.test/", "http://six.site.test/"} {
		var data struct {
			Remote map[string]string `json:"remote_location"`
			Local  map[string]string `json:"local_location"`
		}
		s.ask("http", destination, map[string]any{"operation": "get"}).into(t, &data)
		for _, where := range []map[string]string{data.Remote, data.Local} {
			for _, part := range []string{"country", "region", "province", "city", "isp"} {
				if strings.TrimSpace(where[part]) == "" {
					t.Errorf("%s: %s is blank in %q", destination, part, where)
				}
			}
		}
	}
}

// Destinations are understood by ping, dns and traceroute as they are typed.
func (l *lab) check20(t *testing.T) {
	s := l.running(t)
	for _, protocol := range []string{"ping", "dns", "traceroute"} {
		for _, destination := range []string{"http://www.site.test/path?a=b", "www.site.test:8080", "https://user:word@www.site.test:8443/x", "ftp://www.site.test/file", "bücher.site.test", "WWW.Site.Test."} {
			if got := s.ask(protocol, destination, map[string]any{"count": 1, "timeout": 5}); got.Status != 0 {
				t.Errorf("%s %s: got %s", protocol, destination, got.raw)
			}
		}
		if protocol == "dns" {
			continue
		}
		six := l.lan.Addr6.String()
		for _, destination := range []string{"10.0.1.2", "10.0.1.2:80", six, "[" + six + "]:80", "http://[" + six + "]/"} {
			if got := s.ask(protocol, destination, map[string]any{"count": 1, "timeout": 5}); got.Status != 0 {
				t.Errorf("%s %s: got %s", protocol, destination, got.raw)
			}
		}
	}
	for _, destination := range []string{"www.site.test:80", "bücher.site.test", "http://[" + l.lan.Addr6.String() + "]:80/"} {
		if got := s.ask("http", destination, map[string]any{"operation": "get"}); got.Status != 0 {
			t.Errorf("http %s: got %s", destination, got.raw)
		}
	}
}

// Fifty commands at once are answered correctly, each with its own replies, and
// one that hangs is cut before the server gives it up.
func (l *lab) check27(t *testing.T) {
	s := l.running(t)
	s.watch(responses)
	begin := time.Now()
	stuck := newOrder(eth0, "http", "http://www.site.test/slow", map[string]any{"operation": "get", "timeout": 600})
	stuck.Generated -= 286
	s.send(eth0, stuck.String())

	type want struct {
		order
		addr        string
		least, lost int // ms, packets
	}
	var all []want
	for i := range 50 {
		w := []want{
			{order{Protocol: "ping", Destination: "far.site.test"}, l.far.Addr4.String(), 200, 0},
			{order{Protocol: "ping", Destination: "www.site.test"}, l.lan.Addr4.String(), 0, 0},
			{order{Protocol: "ping", Destination: "hole.site.test"}, l.hole.Addr4.String(), -1, 2},
			{order{Protocol: "dns", Destination: "far.site.test"}, l.far.Addr4.String(), 0, 0},
			{order{Protocol: "http", Destination: "http://www.site.test/echo"}, l.lan.Addr4.String(), 0, 0},
		}[i%5]
		w.order = newOrder(eth0, w.Protocol, w.Destination, map[string]any{"count": 2, "interval": 0.05, "timeout": 5, "packet_size": 100 + i, "operation": "get"})
		all = append(all, w)
		s.send(eth0, w.String())
	}
	for _, w := range all {
		var data struct {
			Addr   string `json:"destination_ip"`
			Remote string `json:"remote_ip"`
			IPs    []struct{ IP string }
			Min    float64 `json:"min_time"`
			Loss   int     `json:"packet_loss"`
			Size   int     `json:"packet_size"`
		}
		got := s.answer(w.String(), 0)
		got.into(t, &data)
		switch {
		case w.Protocol == "dns" && (len(data.IPs) != 1 || data.IPs[0].IP != w.addr),
			w.Protocol == "http" && data.Remote != w.addr,
			w.Protocol == "ping" && (data.Addr != w.addr || data.Loss != w.lost || data.Min < float64(w.least) || data.Size != w.Parameters["packet_size"]):
			t.Errorf("%s: got %s", w.order, got.raw)
		}
	}
	s.answer(stuck.String(), 0).failsWith(t, 28)
	if took := time.Since(begin); took > 14*time.Second {
		t.Errorf("the server gave up before the answer, which took %v", took)
	}
}

// keys are the members of an object.
func keys(t *testing.T, raw json.RawMessage) []string {
	t.Helper()
	var object map[string]json.RawMessage
	if err := json.Unmarshal(raw, &object); err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	var names []string
	for name := range object {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
