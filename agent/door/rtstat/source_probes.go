package rtstat

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/natrix-os/natrix/agent/command"
	"github.com/natrix-os/natrix/sysinfo"
)

const (
	outcomesKept   = 500             // in the history
	outcomesFor    = 5 * time.Minute // likewise
	outcomesPushed = 20              // the latest; a client that sees a gap asks for the history
	outcomesSecond = 20              // noted in a second at most: a page shows no more
	textMost       = 256             // bytes of a name or a reason
)

// outcome is a result as the page draws it. Times are milliseconds.
type outcome struct {
	ID      uint64             `json:"id"` // counted from 1
	Time    int64              `json:"t"`  // when it was sent, ms since 1970
	Command string             `json:"cmd"`
	Target  string             `json:"dst"`
	Link    string             `json:"link,omitempty"`
	Error   string             `json:"err,omitempty"`
	Value   *float64           `json:"ms,omitempty"`   // what it took; nil if nothing was answered
	Loss    *float64           `json:"loss,omitempty"` // share of packets
	Jitter  *float64           `json:"jitter,omitempty"`
	Phases  map[string]float64 `json:"phases,omitempty"` // of a request
	Path    []string           `json:"path,omitempty"`   // addresses of the hops; "" for a silent one
}

// Recent is the latest results of the terminal, whoever asked for them. The
// zero value holds none.
type Recent struct {
	mu       sync.Mutex
	outcomes []outcome
	count    uint64
	second   int64
	noted    int // in this second
}

// Add notes a result.
func (r *Recent) Add(result command.Result) {
	if !r.take(result.Answered.Unix()) {
		return
	}
	o := summary(result)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count++
	o.ID = r.count
	if len(r.outcomes) >= outcomesKept {
		r.outcomes = slices.Delete(r.outcomes, 0, len(r.outcomes)-outcomesKept+1)
	}
	r.outcomes = append(r.outcomes, o)
}

// take reports whether there is room for one more in this second.
func (r *Recent) take(second int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if second != r.second {
		r.second, r.noted = second, 0
	}
	r.noted++
	return r.noted <= outcomesSecond
}

// last are the latest n outcomes of the last minutes.
func (r *Recent) last(n int) []outcome {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := max(0, len(r.outcomes)-n)
	old := time.Now().Add(-outcomesFor).UnixMilli()
	for first < len(r.outcomes) && r.outcomes[first].Time < old {
		first++
	}
	return append([]outcome{}, r.outcomes[first:]...)
}

func (s *Server) probes() source {
	return source{name: "probes", every: time.Second, read: func(context.Context, sysinfo.Sample) (any, error) {
		return s.Recent.last(outcomesPushed), nil
	}}
}

// measured is what the wire documents of the probes have of interest here.
type measured struct {
	Avg      *float64 `json:"avg_time"`
	Jitter   *float64 `json:"jitter_time"`
	Sent     float64  `json:"packet_send"`
	Lost     float64  `json:"packet_loss"`
	DNS      *float64 `json:"ptime"`
	Total    *float64 `json:"total_time"`
	Lookup   float64  `json:"period_nslookup"`
	Connect  float64  `json:"period_tcp_connect"`
	TLS      float64  `json:"period_ssl_connect"`
	Request  float64  `json:"period_request"`
	Response float64  `json:"period_response"`
	Transfer float64  `json:"period_transfer"`
}

// hop is one of the routers of a traceroute.
type hop struct {
	Routes []struct {
		IP   string  `json:"ip"`
		Time float64 `json:"response_times"`
	} `json:"routes"`
}

func summary(r command.Result) outcome {
	o := outcome{Time: r.Sent.UnixMilli(), Command: r.Command.Name, Target: clip(r.Command.Target()), Link: r.Command.Link}
	if r.Err != nil {
		o.Error = clip(r.Err.Error())
		return o
	}
	body, err := json.Marshal(r.Data)
	if err != nil {
		o.Error = clip(err.Error())
		return o
	}
	var hops []hop
	if json.Unmarshal(body, &hops) == nil {
		o.walk(hops)
		return o
	}
	var m measured
	if json.Unmarshal(body, &m) == nil {
		o.fill(m)
	}
	return o
}

// walk takes what the hops of a path tell: who they are, and how far the last is.
func (o *outcome) walk(hops []hop) {
	for _, h := range hops {
		ip := ""
		for _, r := range h.Routes {
			if strings.ContainsAny(r.IP, ".:") {
				ip = r.IP
				o.Value = &r.Time
				break
			}
		}
		o.Path = append(o.Path, clip(ip))
	}
}

func (o *outcome) fill(m measured) {
	switch {
	case m.Sent > 0:
		loss := m.Lost / m.Sent
		o.Loss, o.Jitter = &loss, m.Jitter
		if m.Avg != nil && *m.Avg >= 0 {
			o.Value = m.Avg
		}
	case m.Total != nil:
		o.Value = m.Total
		o.Phases = map[string]float64{
			"lookup": m.Lookup, "connect": m.Connect, "tls": m.TLS,
			"request": m.Request, "response": m.Response, "transfer": m.Transfer,
		}
	default:
		o.Value = m.DNS
	}
}

func clip(s string) string {
	if len(s) > textMost {
		return strings.ToValidUTF8(s[:textMost], "") + "…"
	}
	return s
}
