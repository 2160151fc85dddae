package contract

import (
	"encoding/json"
	"net/netip"
	"testing"
)

// A command leaves by the link whose queue it came in on, or by the one that it
// names: lookups of names, connections and packets alike.
func (l *lab) links(t *testing.T) {
	s := l.running(t)
	s.awaitConsumer(eth1)
	own0, own1 := l.terminal.Link("eth0"), l.terminal.Link("eth1")
	for _, c := range []struct {
		name, queue, parameter string
		by                     *targets
		names, from            netip.Addr // sources of lookups and of the rest
	}{
		{"own0", eth0, "", l.lanTargets, own0.Addr4, own0.Addr4},
		{"own1", eth1, "", l.otherTargets, own1.Addr4, own1.Addr4},
		{"name1", eth0, "eth1", l.otherTargets, own1.Addr4, own1.Addr4},
		{"addr1", eth0, own1.Addr4.String(), l.otherTargets, own1.Addr4, own1.Addr4},
		{"six1", eth0, own1.Addr6.String(), l.otherTargets, own1.Addr4, own1.Addr6},
		{"name0", eth1, "eth0", l.lanTargets, own0.Addr4, own0.Addr4},
	} {
		t.Run(c.name, func(t *testing.T) {
			parameters := func(more map[string]any) map[string]any {
				if c.parameter != "" {
					more["interface"] = c.parameter
				}
				return more
			}
			for _, protocol := range []string{"ping", "traceroute", "dns", "http"} {
				name := protocol + "." + c.name + ".links.test"
				destination := name
				if protocol == "http" {
					destination = "http://" + name + "/echo"
				}
				got := s.askOn(c.queue, protocol, destination, parameters(map[string]any{"count": 1, "timeout": 5, "operation": "get", "save_response_body": true}))
				if got.Status != 0 {
					t.Errorf("%s: got %s", protocol, got.raw)
					continue
				}
				asked := c.by.askedFor(name)
				if len(asked) == 0 || asked[0].from != c.names || len(l.lanTargets.askedFor(name))+len(l.otherTargets.askedFor(name)) != len(asked) {
					t.Errorf("%s: the name was asked for by %v at lan and %v at other, want by %v at one of them",
						protocol, l.lanTargets.askedFor(name), l.otherTargets.askedFor(name), c.names)
				}
				l.arrived(t, protocol, got, c.by, c.from)
			}
			peer := c.by.host.Addr4
			if c.from.Is6() {
				peer = c.by.host.Addr6
			}
			if got := s.askOn(c.queue, "ping", peer.String(), parameters(map[string]any{"count": 1})); got.Status != 0 {
				t.Errorf("ping: got %s", got.raw)
			}
		})
	}
	for _, protocol := range []string{"ping", "traceroute", "dns", "http"} {
		if got := s.ask(protocol, "www.site.test", map[string]any{"interface": "eth7"}); got.Status != 1 {
			t.Errorf("%s by a link that is not there: got %s", protocol, got.raw)
		}
	}
}

// arrived looks at what tells which way a command went.
func (l *lab) arrived(t *testing.T, protocol string, got response, by *targets, from netip.Addr) {
	t.Helper()
	switch protocol {
	case "http":
		var d fetched
		var seen request
		got.into(t, &d)
		if d.Body == nil || json.Unmarshal([]byte(*d.Body), &seen) != nil || seen.Network != by.host.Name || seen.From != from.String() || d.Local != from.String() {
			t.Errorf("http: got %s, want it at %s from %v", got.raw, by.host.Name, from)
		}
	case "ping":
		var p pinged
		got.into(t, &p)
		if p.Receive != 1 {
			t.Errorf("ping: got %s", got.raw)
		}
	}
}

// ping takes its options in all spellings, tells more than the original knew, and
// refuses what would be a flood.
func (l *lab) pingOptions(t *testing.T) {
	s := l.running(t)
	var p struct {
		pinged
		Jitter      *float64           `json:"jitter_time"`
		Deviation   *float64           `json:"mdev_time"`
		Percentiles map[string]float64 `json:"percentile_times"`
		Packets     []struct{ Seq int }
	}
	for _, udp := range []any{false, true, "yes", 1} {
		s.ask("ping", "far.site.test", map[string]any{"count": "5", "interval": 0.02, "timeout": "5", "udp": udp, "verbose": "True", "dns": anycast.String(), "size": 300, "hostile": []int{1}}).into(t, &p)
		if p.Receive != 5 || p.Size != 300 || len(p.Packets) != 5 || p.Jitter == nil || p.Deviation == nil || p.Percentiles["p50"] < 200 || p.Percentiles["p99"] < p.Percentiles["p50"] {
			t.Errorf("udp %v: got %+v", udp, p)
		}
	}
	for name, value := range map[string]any{"count": 1e9, "timeout": -1, "packet_size": 1 << 20, "udp": "perhaps"} {
		s.ask("ping", "www.site.test", map[string]any{name: value}).failsWith(t, 140)
	}
}
