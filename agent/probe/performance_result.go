package probe

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/natrix-os/natrix/agent/probe/page"
)

// performanceWire is the data of the wire document.
type performanceWire struct {
	Timing    timingWire              `json:"timing"`
	Resources map[string]resourceWire `json:"resources"`

	URL     string `json:"url"`
	LastURL string `json:"last_url"`
	Browser string `json:"browser"`
	Skipped int    `json:"skipped_resources,omitempty"`
	Cut     bool   `json:"timed_out,omitempty"`

	Snapshot *snapshotWire   `json:"snapshot,omitempty"`
	HAR      json.RawMessage `json:"har,omitempty"`
	Captured
}

// snapshotWire is a picture, or source; one that is too large is not sent.
type snapshotWire struct {
	Type string `json:"type"`
	Size int    `json:"size"` // bytes
	Data []byte `json:"data,omitempty"`
}

// timingWire is PerformanceTiming: milliseconds since the epoch, 0 for what did
// not happen. Sizes are of the document, in bytes.
type timingWire struct {
	StatusCode         int     `json:"statusCode"`
	ResourceSize       int64   `json:"resourceSize"`
	NavigationStart    float64 `json:"navigationStart"`
	RedirectStart      float64 `json:"redirectStart"`
	RedirectEnd        float64 `json:"redirectEnd"`
	FetchStart         float64 `json:"fetchStart"`
	LookupStart        float64 `json:"domainLookupStart"`
	LookupEnd          float64 `json:"domainLookupEnd"`
	ConnectStart       float64 `json:"connectStart"`
	SecureStart        float64 `json:"secureConnectionStart"`
	ConnectEnd         float64 `json:"connectEnd"`
	RequestStart       float64 `json:"requestStart"`
	ResponseStart      float64 `json:"responseStart"`
	ResponseEnd        float64 `json:"responseEnd"`
	DOMLoading         float64 `json:"domLoading"`
	DOMInteractive     float64 `json:"domInteractive"`
	ContentLoadedStart float64 `json:"domContentLoadedEventStart"`
	ContentLoadedEnd   float64 `json:"domContentLoadedEventEnd"`
	DOMComplete        float64 `json:"domComplete"`
	LoadStart          float64 `json:"loadEventStart"`
	LoadEnd            float64 `json:"loadEventEnd"`

	Protocol             string  `json:"nextHopProtocol,omitempty"`
	EncodedSize          int64   `json:"encodedBodySize"`
	DecodedSize          int64   `json:"decodedBodySize"`
	FirstPaint           float64 `json:"firstPaint,omitempty"`
	FirstContentfulPaint float64 `json:"firstContentfulPaint,omitempty"`
}

// resourceWire is PerformanceResourceTiming: milliseconds since navigationStart,
// 0 for what did not happen, and bytes.
type resourceWire struct {
	StatusCode    int     `json:"statusCode"`
	Initiator     string  `json:"initiatorType"`
	Start         float64 `json:"startTime"`
	Fetch         float64 `json:"fetchStart"`
	RedirectStart float64 `json:"redirectStart"`
	RedirectEnd   float64 `json:"redirectEnd"`
	LookupStart   float64 `json:"domainLookupStart"`
	LookupEnd     float64 `json:"domainLookupEnd"`
	ConnectStart  float64 `json:"connectStart"`
	SecureStart   float64 `json:"secureConnectionStart"`
	ConnectEnd    float64 `json:"connectEnd"`
	RequestStart  float64 `json:"requestStart"`
	ResponseStart float64 `json:"responseStart"`
	ResponseEnd   float64 `json:"responseEnd"`
	TransferSize  int64   `json:"transferSize"`
	EncodedSize   int64   `json:"encodedBodySize"`
	DecodedSize   int64   `json:"decodedBodySize"`

	Duration float64 `json:"duration"`
	Protocol string  `json:"nextHopProtocol,omitempty"`
	Type     string  `json:"contentType,omitempty"`
	Err      string  `json:"error,omitempty"`
}

// resourcesWireOf is resources by URL. One that was fetched again has the number
// of times after its URL.
func resourcesWireOf(resources []page.Resource) map[string]resourceWire {
	all := make(map[string]resourceWire)
	for _, r := range resources {
		key := r.URL
		for times := 2; ; times++ {
			if _, taken := all[key]; !taken {
				break
			}
			key = r.URL + " (" + strconv.Itoa(times) + ")"
		}
		all[key] = resourceWireOf(r)
	}
	return all
}

func resourceWireOf(r page.Resource) resourceWire {
	return resourceWire{
		StatusCode: r.Status, Initiator: r.Initiator, Start: ms(r.Start), Fetch: ms(r.Fetch),
		RedirectStart: ms(r.RedirectStart), RedirectEnd: ms(r.RedirectEnd),
		LookupStart: ms(r.LookupStart), LookupEnd: ms(r.LookupEnd),
		ConnectStart: ms(r.ConnectStart), SecureStart: ms(r.SecureStart), ConnectEnd: ms(r.ConnectEnd),
		RequestStart: ms(r.RequestStart), ResponseStart: ms(r.ResponseStart), ResponseEnd: ms(r.ResponseEnd),
		TransferSize: r.TransferSize, EncodedSize: r.EncodedSize, DecodedSize: r.DecodedSize,
		Duration: ms(r.ResponseEnd - r.Start), Protocol: r.Protocol, Type: r.Type, Err: r.Err,
	}
}

// MarshalJSON writes the data of the wire document.
func (r *PerformanceResult) MarshalJSON() ([]byte, error) {
	begin := float64(r.Begin.UnixMicro()) / 1000
	always := func(d time.Duration) float64 { return math.Round((begin+ms(d))*1000) / 1000 }
	at := func(d time.Duration) float64 {
		if d <= 0 {
			return 0
		}
		return always(d)
	}
	d := r.Document
	redirected := 0.0 // often at the very beginning: only the end tells that from there having been none
	if d.RedirectEnd > 0 {
		redirected = always(d.RedirectStart)
	}
	snapshot, archive, err := r.attached()
	if err != nil {
		return nil, err
	}
	return json.Marshal(performanceWire{
		Snapshot: snapshot, HAR: archive, Captured: r.Captured,
		URL: r.URL, LastURL: d.URL, Browser: r.Agent, Skipped: r.Skipped, Cut: r.Cut, Resources: resourcesWireOf(r.Resources),
		Timing: timingWire{
			StatusCode: d.Status, ResourceSize: d.TransferSize, NavigationStart: always(0), RedirectStart: redirected,
			RedirectEnd: at(d.RedirectEnd), FetchStart: always(d.Fetch),
			LookupStart: at(d.LookupStart), LookupEnd: at(d.LookupEnd),
			ConnectStart: at(d.ConnectStart), SecureStart: at(d.SecureStart), ConnectEnd: at(d.ConnectEnd),
			RequestStart: at(d.RequestStart), ResponseStart: at(d.ResponseStart), ResponseEnd: at(d.ResponseEnd),
			DOMLoading: at(r.DOM.Loading), DOMInteractive: at(r.DOM.Interactive),
			ContentLoadedStart: at(r.DOM.ContentLoadedStart), ContentLoadedEnd: at(r.DOM.ContentLoadedEnd),
			DOMComplete: at(r.DOM.Complete), LoadStart: at(r.DOM.LoadStart), LoadEnd: at(r.DOM.LoadEnd),
			Protocol: d.Protocol, EncodedSize: d.EncodedSize, DecodedSize: d.DecodedSize,
			FirstPaint: at(r.FirstPaint), FirstContentfulPaint: at(r.FirstContentfulPaint),
		},
	})
}

// attached is what was to be kept in the result.
func (r *PerformanceResult) attached() (snapshot *snapshotWire, archive []byte, err error) {
	if s := r.Load.Snapshot; s != nil && r.snapshot {
		snapshot = &snapshotWire{Type: s.Type, Size: len(s.Data)}
		if len(s.Data) <= maxSnapshot {
			snapshot.Data = s.Data
		}
	}
	if r.har {
		archive, err = r.Load.HAR()
	}
	return snapshot, archive, err
}

// bars is the width of the waterfall.
const bars = 48

// WriteText prints the page's milestones and a waterfall of its resources.
func (r *PerformanceResult) WriteText(w io.Writer) {
	d := r.Document
	all := append([]page.Resource{d}, r.Resources...)
	var bytes int64
	end, failed := r.Total(), 0
	for _, one := range all {
		bytes += one.TransferSize
		end = max(end, one.ResponseEnd)
		if one.Err != "" || one.Status >= http.StatusBadRequest {
			failed++
		}
	}
	fmt.Fprintf(w, "%s %d  %s\n", strings.ToUpper(d.Protocol), d.Status, d.URL)
	fmt.Fprintf(w, "%-32s %-6s %4s %9s %8s  waiting · connecting ─ request ▒ response █\n", "", "type", "", "bytes", "ms")
	for _, one := range all {
		fmt.Fprintf(w, "%-32s %-6s %4s %9d %8.1f |%s|", elided(fileOf(one.URL), 32), kindOf(one), status(one), one.TransferSize, ms(one.ResponseEnd-one.Start), bar(one, end))
		if one.Err != "" {
			fmt.Fprintf(w, " %s", one.Err)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "\n%s: %d requests, %d bytes, %d failed", r.Agent, len(all), bytes, failed)
	if r.Skipped > 0 {
		fmt.Fprintf(w, ", %d more left out", r.Skipped)
	}
	fmt.Fprintln(w)
	fmt.Fprintf(w, "redirect %.1f  lookup %.1f  connect %.1f  tls %.1f  first byte %.1f  document %.1f",
		ms(d.RedirectEnd-d.RedirectStart), ms(d.LookupEnd-d.LookupStart), ms(d.ConnectEnd-d.ConnectStart), ms(tlsTime(d)), ms(d.ResponseStart), ms(d.ResponseEnd))
	if r.FirstContentfulPaint > 0 {
		fmt.Fprintf(w, "  painted %.1f", ms(r.FirstContentfulPaint))
	}
	fmt.Fprintf(w, "\ninteractive %.1f  content loaded %.1f  loaded %.1f ms\n", ms(r.DOM.Interactive), ms(r.DOM.ContentLoadedEnd), ms(r.DOM.LoadEnd))
	if r.Cut {
		fmt.Fprintln(w, "time was up before everything had arrived")
	}
	r.writeText(w)
}

func tlsTime(r page.Resource) time.Duration {
	if r.SecureStart == 0 {
		return 0
	}
	return r.ConnectEnd - r.SecureStart
}

// fileOf is what people call a resource: its file, and its host if there is none.
func fileOf(ref string) string {
	u, err := url.Parse(ref)
	if err != nil {
		return ref
	}
	name := u.Path[strings.LastIndexByte(u.Path, '/')+1:]
	if name == "" {
		name = u.Host + u.Path
	}
	if u.RawQuery != "" {
		name += "?" + u.RawQuery
	}
	return name
}

func elided(s string, width int) string {
	runes := []rune(s)
	if len(runes) <= width {
		return s
	}
	half := (width - 1) / 2
	return string(runes[:width-1-half]) + "…" + string(runes[len(runes)-half:])
}

func kindOf(r page.Resource) string {
	if r.Initiator == "navigation" {
		return "page"
	}
	return r.Initiator
}

func status(r page.Resource) string {
	if r.Status == 0 {
		return "-"
	}
	return strconv.Itoa(r.Status)
}

// bar is a resource's time as a part of the page's.
func bar(r page.Resource, end time.Duration) string {
	cell := func(d time.Duration) int {
		if end <= 0 {
			return 0
		}
		return min(int(int64(bars)*int64(d)/int64(end)), bars-1)
	}
	line := []rune(strings.Repeat(" ", bars))
	fill := func(from, to time.Duration, c rune) {
		for i := cell(from); i <= cell(max(from, to)); i++ {
			line[i] = c
		}
	}
	fill(r.Start, r.ResponseEnd, '·')
	if r.ConnectEnd > r.LookupStart {
		fill(r.LookupStart, r.ConnectEnd, '─')
	}
	if r.RequestStart > 0 && r.ResponseStart > 0 {
		fill(r.RequestStart, r.ResponseStart, '▒')
	}
	if r.ResponseStart > 0 {
		fill(r.ResponseStart, r.ResponseEnd, '█')
	}
	return string(line)
}
