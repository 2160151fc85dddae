package probe

import (
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"
)

// MTRResult is the path with the statistics of its hubs.
type MTRResult struct {
	Captured
	Source      string // name of this machine
	Destination string // as asked for
	Addr        netip.Addr
	Start       time.Time
	Size        int // bytes of a packet with its IP header
	TOS         int
	Hubs        []Hub
}

// Rounds is how many packets were sent to the hub that got the most.
func (r *MTRResult) Rounds() int {
	most := 0
	for _, h := range r.Hubs {
		most = max(most, h.Sent)
	}
	return most
}

// mtrWire is the document of mtr --json, version 0.95, with further columns
// and keys after those that its readers know. Times are milliseconds.
type mtrWire struct {
	Report mtrReport `json:"report"`
	Captured
}

type mtrReport struct {
	MTR  mtrHead  `json:"mtr"`
	Hubs []mtrHub `json:"hubs"`
}

type mtrHead struct {
	Source  string `json:"src"`
	Dest    string `json:"dst"`
	TOS     int    `json:"tos"`
	Tests   int    `json:"tests"`
	Size    string `json:"psize"`
	Pattern string `json:"bitpattern"`
}

type mtrHub struct {
	Count int     `json:"count"`
	Host  string  `json:"host"`
	Loss  float64 `json:"Loss%"`
	Sent  int     `json:"Snt"`
	Last  float64 `json:"Last"`
	Avg   float64 `json:"Avg"`
	Best  float64 `json:"Best"`
	Worst float64 `json:"Wrst"`
	StDev float64 `json:"StDev"`

	Jitter     float64      `json:"Jttr"`
	JitterAvg  float64      `json:"Javg"`
	JitterMax  float64      `json:"Jmax"`
	JitterRTP  float64      `json:"Jint"`
	Addrs      []netip.Addr `json:"ips,omitempty"`
	Duplicates int          `json:"duplicates,omitempty"`
	Annotation string       `json:"annotation,omitempty"`
	MPLS       []mpls       `json:"mpls,omitempty"`
}

// MarshalJSON writes the document of mtr --json.
func (r *MTRResult) MarshalJSON() ([]byte, error) {
	w := mtrWire{Captured: r.Captured, Report: mtrReport{
		MTR:  mtrHead{Source: r.Source, Dest: r.Destination, TOS: r.TOS, Tests: r.Rounds(), Size: fmt.Sprint(r.Size), Pattern: "0x00"},
		Hubs: make([]mtrHub, 0, len(r.Hubs)),
	}}
	for _, h := range r.Hubs {
		hub := mtrHub{
			Count: h.TTL, Host: h.host(), Loss: percent(h.Loss()), Sent: h.Sent,
			Last: ms(h.Last), Avg: ms(h.Avg), Best: ms(h.Best), Worst: ms(h.Worst), StDev: ms(h.Deviation),
			Jitter: ms(h.Jitter), JitterAvg: ms(h.JitterAvg), JitterMax: ms(h.JitterMax), JitterRTP: ms(h.JitterRTP),
			Addrs: h.Addrs, Duplicates: h.Duplicates, Annotation: h.Annotation,
		}
		for _, l := range h.MPLS {
			hub.MPLS = append(hub.MPLS, mpls{l.Label, l.TC, l.TTL})
		}
		w.Report.Hubs = append(w.Report.Hubs, hub)
	}
	return json.Marshal(w)
}

// percent is a share in percent, to the thousandth.
func percent(share float64) float64 { return float64(int(share*100000+0.5)) / 1000 }

// host is what mtr calls a hub: its name, or ??? if it never answered.
func (h Hub) host() string {
	if h.Name == "" {
		return "???"
	}
	return h.Name
}

// WriteText prints the report of mtr --report-wide: names are not cut.
func (r *MTRResult) WriteText(w io.Writer) {
	defer r.Captured.writeText(w)
	width := len("HOST: ") + len(r.Source)
	for _, h := range r.Hubs {
		width = max(width, reportIndent+len(h.host()))
	}
	width = max(width, 33)
	fmt.Fprintf(w, "Start: %s\n", r.Start.Format("2006-01-02T15:04:05-0700"))
	fmt.Fprintf(w, "%-*s%s\n", width, "HOST: "+r.Source, headOf(lossColumns))
	for _, h := range r.Hubs {
		fmt.Fprintf(w, "%-*s%s%s\n", width, fmt.Sprintf("%3d.|-- %s", h.TTL, h.host()), h.columns(lossColumns), prefixed(" ", h.Annotation))
		for _, other := range h.Addrs[min(1, len(h.Addrs)):] {
			fmt.Fprintf(w, "    |  `|-- %v\n", other)
		}
		for _, l := range labelLines(h) {
			fmt.Fprintf(w, "    |  +-- %s\n", l)
		}
	}
}

// reportIndent is what stands before the name of a hub in a report.
const reportIndent = len("  1.|-- ")

// column is one figure of a hub.
type column struct {
	head  string
	width int
	value func(Hub) string
}

// milliseconds is mtr's form, with one digit more where that would leave only one.
func milliseconds(d time.Duration) string {
	if d > 0 && d < 10*time.Millisecond {
		return fmt.Sprintf("%.2f", ms(d))
	}
	return fmt.Sprintf("%.1f", ms(d))
}

// lossColumns are those of mtr's reports and of its first display mode.
var lossColumns = []column{
	{"Loss%", 6, func(h Hub) string { return fmt.Sprintf("%.1f%%", 100*h.Loss()) }},
	{"Snt", 6, func(h Hub) string { return fmt.Sprint(h.Sent) }},
	{"Last", 7, func(h Hub) string { return milliseconds(h.Last) }},
	{"Avg", 6, func(h Hub) string { return milliseconds(h.Avg) }},
	{"Best", 6, func(h Hub) string { return milliseconds(h.Best) }},
	{"Wrst", 6, func(h Hub) string { return milliseconds(h.Worst) }},
	{"StDev", 6, func(h Hub) string { return milliseconds(h.Deviation) }},
}

// jitterColumns are those of the second display mode.
var jitterColumns = []column{
	{"Loss%", 6, lossColumns[0].value},
	{"Drop", 6, func(h Hub) string { return fmt.Sprint(h.Sent - h.pending - h.Received) }},
	{"Rcv", 6, func(h Hub) string { return fmt.Sprint(h.Received) }},
	{"Jttr", 7, func(h Hub) string { return milliseconds(h.Jitter) }},
	{"Javg", 6, func(h Hub) string { return milliseconds(h.JitterAvg) }},
	{"Jmax", 6, func(h Hub) string { return milliseconds(h.JitterMax) }},
	{"Jint", 6, func(h Hub) string { return milliseconds(h.JitterRTP) }},
}

func headOf(columns []column) string {
	var b strings.Builder
	for _, c := range columns {
		fmt.Fprintf(&b, "%*s", c.width, c.head)
	}
	return b.String()
}

func (h Hub) columns(columns []column) string {
	var b strings.Builder
	for _, c := range columns {
		fmt.Fprintf(&b, "%*s", c.width, c.value(h))
	}
	return b.String()
}

// labelLines are the MPLS labels of a hub in mtr's words.
func labelLines(h Hub) []string {
	var lines []string
	for _, l := range h.MPLS {
		lines = append(lines, fmt.Sprintf("[MPLS: Lbl %d TC %d S %d TTL %d]", l.Label, l.TC, bit(l.Bottom), l.TTL))
	}
	return lines
}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}
