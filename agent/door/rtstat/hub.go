package rtstat

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/natrix-os/natrix/sysinfo"
)

const (
	beat    = time.Second            // between two points of the history
	kept    = 300                    // points: five minutes
	current = 200 * time.Millisecond // clients that push within that share a moment
)

// moment is the state of the machine as all clients get it: what differs is
// CPU usage, which each of them has counted since its own last push.
type moment struct {
	at     time.Time
	sample sysinfo.Sample
	shared []byte // all parts of a push but cpu_stat, each with a comma before it, escaped
}

// part is what a source said last.
type part struct {
	at    time.Time
	value any
	body  []byte
}

// hub takes moments for the clients, and remembers one for each second.
type hub struct {
	sampler *sysinfo.Sampler
	sources []source
	log     *slog.Logger

	turn     chan struct{} // holds one token; who has it takes a moment
	describe func() description

	last   *moment
	parts  map[string]part
	before sysinfo.Stat // as of the last point
	noted  time.Time    // likewise

	mu          sync.Mutex
	points      []point
	base        sysinfo.Stat // as of the point before the last
	subscribers int
	woken       bool // somebody looks again: what was read while nobody did is not for them
}

// point is one second of the history.
type point struct {
	Time   int64                 `json:"t"` // ms since 1970
	CPU    []float64             `json:"cpu"`
	Memory float64               `json:"mem"`  // share in use
	Swap   float64               `json:"swap"` // likewise; 0 without any
	Load   float64               `json:"la"`
	Heat   float64               `json:"temp,omitempty"`
	Net    map[string][2]float64 `json:"net,omitempty"` // bytes in a second, received and sent
	RTT    map[string]float64    `json:"rtt,omitempty"` // of the link's gateway, ms; below 0 if it did not answer
}

func newHub(sampler *sysinfo.Sampler, sources []source, log *slog.Logger) *hub {
	h := &hub{sampler: sampler, sources: sources, log: log, turn: make(chan struct{}, 1), parts: make(map[string]part)}
	h.turn <- struct{}{}
	return h
}

// subscribe counts somebody who looks, until the returned function is called.
func (h *hub) subscribe() (unsubscribe func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.subscribers++
	h.woken = h.woken || h.subscribers == 1
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.subscribers--
	}
}

// watched reports whether anybody looks.
func (h *hub) watched() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.subscribers > 0
}

// wakes reports, once, that somebody has begun to look.
func (h *hub) wakes() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	woken := h.woken
	h.woken = false
	return woken
}

// now is the present moment. It has to be treated as constant.
func (h *hub) now(ctx context.Context) (*moment, error) {
	select {
	case <-h.turn:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { h.turn <- struct{}{} }()
	if h.wakes() {
		h.last = nil
		delete(h.parts, "processes")
	}
	if h.last != nil && time.Since(h.last.at) < current {
		return h.last, nil
	}
	sample, err := h.sampler.Sample(ctx)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		h.log.Debug("sample has gaps", "err", err)
	}
	m := &moment{at: time.Now(), sample: sample}
	for _, s := range h.sources {
		m.shared = append(m.shared, h.ask(ctx, s, sample)...)
	}
	h.last = m
	return m, nil
}

// ask is what a source says, or said not long ago, ready to be sent.
func (h *hub) ask(ctx context.Context, s source, sample sysinfo.Sample) []byte {
	p, known := h.parts[s.name]
	if known && time.Since(p.at) < s.every-current/2 {
		return p.body
	}
	value, err := s.read(ctx, sample)
	if err != nil {
		h.log.Debug("source has gaps", "source", s.name, "err", err)
	}
	p = part{at: time.Now(), value: value}
	if value != nil {
		body, err := json.Marshal(value)
		if err != nil {
			h.log.Warn("source cannot be written", "source", s.name, "err", err)
			body = []byte("null")
		}
		p.body = enclose(`,"`+s.name+`":`, escapeJSON(body), "")
	}
	h.parts[s.name] = p
	return p.body
}

// value is what a source said last, nil if it said nothing.
func (h *hub) value(ctx context.Context, name string) any {
	select {
	case <-h.turn:
	case <-ctx.Done():
		return nil
	}
	defer func() { h.turn <- struct{}{} }()
	return h.parts[name].value
}

// run takes a point every second until ctx ends.
func (h *hub) run(ctx context.Context) {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		now, err := h.now(ctx)
		if err == nil {
			h.remember(ctx, now)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (h *hub) remember(ctx context.Context, now *moment) {
	if now.sample.Time.Equal(h.noted) {
		return
	}
	h.noted = now.sample.Time
	p := point{Time: now.sample.Time.UnixMilli(), CPU: []float64{}, Load: now.sample.Load.One}
	if h.before.Cores != nil {
		for _, c := range now.sample.Stat.CoreUsages(h.before) {
			p.CPU = append(p.CPU, hundredths(c.Busy+c.IOWait))
		}
	}
	base := h.before
	h.before = now.sample.Stat
	m := now.sample.Memory
	p.Memory, p.Swap = share(m.Used(), m.Total), share(m.SwapUsed(), m.SwapTotal)
	for _, t := range now.sample.Temperatures {
		p.Heat = max(p.Heat, t.Celsius)
	}
	if links, ok := h.value(ctx, "net").(map[string]linkState); ok {
		p.Net, p.RTT = make(map[string][2]float64), make(map[string]float64)
		for name, l := range links {
			p.Net[name] = [2]float64{l.RxRate, l.TxRate}
			if l.GatewayRTT != nil {
				p.RTT[name] = *l.GatewayRTT
			}
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.base = base
	if len(h.points) >= kept {
		h.points = h.points[:copy(h.points, h.points[len(h.points)-kept+1:])]
	}
	h.points = append(h.points, p)
}

// earlier is what usage is counted from for somebody who has just come: at
// least a second ago, if there is that much history.
func (h *hub) earlier() sysinfo.Stat {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.base
}

// description is what does not change from second to second.
type description struct {
	Version  string   `json:"version"`
	Hostname string   `json:"hostname"`
	Machine  string   `json:"machine"`
	Commands []string `json:"commands"` // that may be run from the page
	Links    []string `json:"links"`    // that they may leave by
}

// chronicle is the history, as clients get it.
type chronicle struct {
	description
	Now    int64     `json:"now"` // ms since 1970, by the terminal's clock
	Points []point   `json:"points"`
	Probes []outcome `json:"probes"`
}

func (h *hub) history() chronicle {
	c := chronicle{description: h.describe(), Now: time.Now().UnixMilli()}
	h.mu.Lock()
	defer h.mu.Unlock()
	c.Points = append([]point{}, h.points...)
	return c
}

// snapshot is a push as a document, with CPU usage over the last second or more.
func (h *hub) snapshot(ctx context.Context) (map[string]any, error) {
	now, err := h.now(ctx)
	if err != nil {
		return nil, err
	}
	all := map[string]any{"cpu": now.sample.Usage, "time": now.sample.Time}
	for _, s := range h.sources {
		if v := h.value(ctx, s.name); v != nil {
			all[s.name] = v
		}
	}
	if len(all) == 2 {
		return nil, errors.New("nothing is known yet")
	}
	return all, nil
}

func share(part, whole uint64) float64 {
	if whole == 0 {
		return 0
	}
	return hundredths(float64(part) / float64(whole))
}
