package rtstat

import (
	"context"
	"encoding/json"
	"net/netip"
	"sync"
	"time"

	"github.com/natrix-os/natrix/agent/command"
	"github.com/natrix-os/natrix/sysinfo"
	"github.com/natrix-os/natrix/sysinfo/netif"
)

// linkState is a link of the machine.
type linkState struct {
	Up         bool           `json:"up"`
	Carrier    bool           `json:"carrier"`
	Kind       netif.Kind     `json:"kind"`
	Addrs      []netip.Prefix `json:"addrs"`
	RxRate     float64        `json:"rx_rate"` // bytes in a second
	TxRate     float64        `json:"tx_rate"`
	RxBytes    uint64         `json:"rx_bytes"` // since the link was made
	TxBytes    uint64         `json:"tx_bytes"`
	Errors     uint64         `json:"errors"`
	Dropped    uint64         `json:"dropped"`
	Speed      int            `json:"speed_mbit,omitempty"`
	Duplex     string         `json:"duplex,omitempty"`
	Signal     int            `json:"signal_dbm,omitempty"`
	Gateway    *netip.Addr    `json:"gateway,omitempty"`
	GatewayRTT *float64       `json:"gateway_rtt,omitempty"` // ms; below 0 if it did not answer
}

// traffic is what rates are counted from.
type traffic struct {
	at       time.Time
	counters map[string]netif.Counters
}

// net tells of all links but the loopback.
func (s *Server) net() source {
	var before traffic
	return source{name: "net", every: time.Second, read: func(context.Context, sysinfo.Sample) (any, error) {
		links, err := netif.Links()
		now := traffic{time.Now(), make(map[string]netif.Counters)}
		states := make(map[string]linkState)
		for _, l := range links {
			if l.Kind == netif.Loopback {
				continue
			}
			now.counters[l.Name] = l.Counters
			states[l.Name] = s.state(l, before.rates(l, now.at))
		}
		before = now
		return states, err
	}}
}

// rates are bytes in a second, received and sent, since the earlier reading.
func (t traffic) rates(l netif.Link, now time.Time) [2]float64 {
	was, known := t.counters[l.Name]
	over := now.Sub(t.at).Seconds()
	if !known || over <= 0 || l.Counters.RxBytes < was.RxBytes || l.Counters.TxBytes < was.TxBytes {
		return [2]float64{} // new, or made anew
	}
	return [2]float64{
		hundredths(float64(l.Counters.RxBytes-was.RxBytes) / over),
		hundredths(float64(l.Counters.TxBytes-was.TxBytes) / over),
	}
}

func (s *Server) state(l netif.Link, rates [2]float64) linkState {
	c := l.Counters
	state := linkState{
		Up: l.Up, Carrier: l.Carrier, Kind: l.Kind, Addrs: append([]netip.Prefix{}, l.Addrs...),
		RxRate: rates[0], TxRate: rates[1], RxBytes: c.RxBytes, TxBytes: c.TxBytes,
		Errors: c.RxErrors + c.TxErrors, Dropped: c.RxDropped + c.TxDropped,
		Speed: l.SpeedMbit, Duplex: l.Duplex, Signal: l.SignalDBm,
	}
	if gateway := gatewayOf(l); gateway.IsValid() {
		state.Gateway = &gateway
		if rtt, known := s.gateways.rtt(l.Name, gateway); known {
			state.GatewayRTT = &rtt
		}
	}
	return state
}

func gatewayOf(l netif.Link) netip.Addr {
	if l.Gateway4.IsValid() {
		return l.Gateway4
	}
	return l.Gateway6
}

// gateways knows how far the gateways of the links are.
type gateways struct {
	mu   sync.Mutex
	rtts map[string]gatewayRTT
}

type gatewayRTT struct {
	addr netip.Addr
	ms   float64
}

func (g *gateways) rtt(link string, addr netip.Addr) (ms float64, known bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	r, known := g.rtts[link]
	return r.ms, known && r.addr == addr
}

func (g *gateways) note(link string, addr netip.Addr, ms float64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.rtts == nil {
		g.rtts = make(map[string]gatewayRTT)
	}
	g.rtts[link] = gatewayRTT{addr, ms}
}

const pingGateways = 5 * time.Second

// watchGateways has the core ping the gateways while somebody looks.
func (s *Server) watchGateways(ctx context.Context) {
	tick := time.NewTicker(pingGateways)
	defer tick.Stop()
	for {
		if s.hub.watched() {
			s.pingGateways(ctx)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (s *Server) pingGateways(ctx context.Context) {
	links, err := netif.Links()
	if err != nil {
		s.Log.Debug("list links", "err", err)
	}
	var running sync.WaitGroup
	defer running.Wait()
	for _, l := range links {
		gateway := gatewayOf(l)
		if !gateway.IsValid() || !l.Carrier {
			continue
		}
		running.Go(func() {
			r := s.Core.Execute(ctx, command.Command{
				Name: "ping", Destination: gateway.String(), Link: l.Name, Received: time.Now(),
				Params: map[string]string{"count": "1", "timeout": "2"},
			})
			s.gateways.note(l.Name, gateway, average1(r))
		})
	}
}

// average1 is the round-trip time of a ping in ms, -1 if nothing was answered.
func average1(r command.Result) float64 {
	var data struct {
		Avg float64 `json:"avg_time"`
	}
	data.Avg = -1
	if r.Err == nil {
		if body, err := json.Marshal(r.Data); err == nil {
			json.Unmarshal(body, &data) // what it does not hold stays -1
		}
	}
	return data.Avg
}
