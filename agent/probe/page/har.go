package page

import (
	"encoding/json"
	"math"
	"net/url"
	"strings"
	"time"
)

// HAR is the load as an HTTP archive (HAR 1.2), as browsers' network panels and
// other viewers read it. Headers, cookies and contents are not kept.
func (l *Load) HAR() ([]byte, error) {
	name, version, _ := strings.Cut(l.Agent, " ")
	log := harLog{
		Version: "1.2", Creator: harCreator{"natrix", "1"}, Browser: harCreator{name, version},
		Pages: []harPage{{
			Started: stamp(l.Begin), ID: "page", Title: l.Document.URL,
			Timings: harPageTimings{milliseconds(l.DOM.ContentLoadedStart), milliseconds(l.DOM.LoadStart)},
		}},
	}
	for _, r := range append([]Resource{l.Document}, l.Resources...) {
		log.Entries = append(log.Entries, r.har(l.Begin))
	}
	return json.MarshalIndent(map[string]harLog{"log": log}, "", " ")
}

type harLog struct {
	Version string     `json:"version"`
	Creator harCreator `json:"creator"`
	Browser harCreator `json:"browser"`
	Pages   []harPage  `json:"pages"`
	Entries []harEntry `json:"entries"`
}

type harCreator struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

type harPage struct {
	Started string         `json:"startedDateTime"`
	ID      string         `json:"id"`
	Title   string         `json:"title"`
	Timings harPageTimings `json:"pageTimings"`
}

// harPageTimings is in milliseconds, -1 for what did not happen.
type harPageTimings struct {
	ContentLoad float64 `json:"onContentLoad"`
	Load        float64 `json:"onLoad"`
}

type harEntry struct {
	Page     string      `json:"pageref"`
	Started  string      `json:"startedDateTime"`
	Time     float64     `json:"time"` // milliseconds
	Request  harRequest  `json:"request"`
	Response harResponse `json:"response"`
	Cache    struct{}    `json:"cache"`
	Timings  harTimings  `json:"timings"`
	Type     string      `json:"_resourceType"`
	Err      string      `json:"_error,omitempty"`
}

type harPair struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type harRequest struct {
	Method     string    `json:"method"`
	URL        string    `json:"url"`
	Version    string    `json:"httpVersion"`
	Cookies    []harPair `json:"cookies"`
	Headers    []harPair `json:"headers"`
	Query      []harPair `json:"queryString"`
	HeaderSize int       `json:"headersSize"` // -1: not known
	BodySize   int       `json:"bodySize"`
}

type harResponse struct {
	Status     int        `json:"status"`
	Text       string     `json:"statusText"`
	Version    string     `json:"httpVersion"`
	Cookies    []harPair  `json:"cookies"`
	Headers    []harPair  `json:"headers"`
	Content    harContent `json:"content"`
	Redirect   string     `json:"redirectURL"`
	HeaderSize int64      `json:"headersSize"`
	BodySize   int64      `json:"bodySize"`
	Transfer   int64      `json:"_transferSize"`
}

type harContent struct {
	Size int64  `json:"size"`
	Type string `json:"mimeType"`
}

// harTimings is in milliseconds, -1 for what did not happen; connect includes ssl.
type harTimings struct {
	Blocked float64 `json:"blocked"`
	DNS     float64 `json:"dns"`
	Connect float64 `json:"connect"`
	Send    float64 `json:"send"`
	Wait    float64 `json:"wait"`
	Receive float64 `json:"receive"`
	SSL     float64 `json:"ssl"`
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z07:00") }

// milliseconds is -1 for what did not happen.
func milliseconds(d time.Duration) float64 {
	if d <= 0 {
		return -1
	}
	return math.Round(float64(d)/float64(time.Microsecond)) / 1000
}

func (r Resource) har(begin time.Time) harEntry {
	none := []harPair{}
	query := []harPair{}
	if u, err := url.Parse(r.URL); err == nil {
		for name, values := range u.Query() {
			for _, v := range values {
				query = append(query, harPair{name, v})
			}
		}
	}
	e := harEntry{
		Page: "page", Started: stamp(begin.Add(r.Start)), Type: r.Initiator, Err: r.Err,
		Request:  harRequest{"GET", r.URL, r.Protocol, none, none, query, -1, 0},
		Response: harResponse{r.Status, "", r.Protocol, none, none, harContent{r.DecodedSize, r.Type}, "", r.TransferSize - r.EncodedSize, r.EncodedSize, r.TransferSize},
		Timings:  r.phases(),
	}
	t := e.Timings
	for _, part := range []float64{t.Blocked, t.DNS, t.Connect, t.Send, t.Wait, t.Receive} {
		e.Time += max(part, 0)
	}
	e.Time = math.Round(e.Time*1000) / 1000
	return e
}

// phases divides the time of a resource so that the parts add up to it.
func (r Resource) phases() harTimings {
	t := harTimings{Send: 0, Wait: 0, Receive: 0, SSL: -1}
	if r.SecureStart > 0 {
		t.SSL = milliseconds(r.ConnectEnd - r.SecureStart)
	}
	t.DNS, t.Connect = milliseconds(r.LookupEnd-r.LookupStart), milliseconds(r.ConnectEnd-r.ConnectStart)
	if r.ResponseStart == 0 {
		t.Blocked = milliseconds(r.ResponseEnd - r.Start - max(r.LookupEnd-r.LookupStart, 0) - max(r.ConnectEnd-r.ConnectStart, 0))
		return t
	}
	t.Wait, t.Receive = max(milliseconds(r.ResponseStart-r.RequestStart), 0), max(milliseconds(r.ResponseEnd-r.ResponseStart), 0)
	t.Blocked = milliseconds(r.RequestStart - r.Start - max(r.LookupEnd-r.LookupStart, 0) - max(r.ConnectEnd-r.ConnectStart, 0))
	return t
}
