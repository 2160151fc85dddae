// Package page loads web pages and says when everything happened: by itself,
// or by driving a browser that is installed. The times are those of the
// browsers' Navigation Timing and Resource Timing, under Go names.
package page

import (
	"context"
	"crypto/x509"
	"net"
	"net/netip"
	"net/url"
	"time"
)

// The viewport that pages are laid out for: media queries and image
// candidates are chosen by it.
const (
	Width  = 1280
	Height = 720
)

// Options say how a page is loaded.
type Options struct {
	Timeout   time.Duration // for the page; a browser has its own for starting
	Network   Network
	Through   bool           // browsers: go by Network, through a proxy on the loopback, rather than by themselves
	KeepAlive bool           // use connections again; browsers always do
	Cache     bool           // browsers: tell of a second visit, for which what may be kept has been
	Insecure  bool           // take any certificate
	Roots     *x509.CertPool // whom to believe; nil is the system's
	Snapshot  bool           // keep a picture of the page, or its source where nothing is drawn
}

// Network is the way to servers.
type Network struct {
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	Dial   func(ctx context.Context, addr netip.AddrPort) (net.Conn, error)
}

// Load is one page load. Durations count from Begin; zero is what did not happen.
type Load struct {
	Agent     string    // what loaded it: natrix, or the browser's name and version
	Begin     time.Time // navigationStart
	Document  Resource
	DOM       DOM
	Resources []Resource // in the order in which they were asked for
	Skipped   int        // references beyond the bounds of a load
	Cut       bool       // time was up before everything had arrived

	FirstPaint, FirstContentfulPaint time.Duration // browsers only

	Snapshot *Snapshot // nil if it was not asked for
}

// Total is the time until the load event was over; until the end for a load that was cut.
func (l *Load) Total() time.Duration {
	if l.DOM.LoadEnd > 0 {
		return l.DOM.LoadEnd
	}
	last := l.Document.ResponseEnd
	for _, r := range l.Resources {
		last = max(last, r.ResponseEnd)
	}
	return last
}

// DOM is what became of the document (PerformanceNavigationTiming).
type DOM struct {
	Loading, Interactive         time.Duration
	ContentLoadedStart           time.Duration
	ContentLoadedEnd             time.Duration
	Complete, LoadStart, LoadEnd time.Duration
}

// Resource is one thing fetched (PerformanceResourceTiming).
type Resource struct {
	URL       string // as asked for; of the document, where its redirects led
	Initiator string // what made it be fetched: link, script, img, css, iframe, ...
	Status    int    // 0 if it is not known
	Protocol  string // ALPN's name: http/1.1, h2, ...
	Type      string // media type
	Err       string // why it did not arrive; "" if it did

	Start, RedirectStart, RedirectEnd, Fetch time.Duration
	LookupStart, LookupEnd                   time.Duration
	ConnectStart, SecureStart, ConnectEnd    time.Duration
	RequestStart, ResponseStart, ResponseEnd time.Duration

	TransferSize int64 // bytes of header and body as they came
	EncodedSize  int64 // bytes of the body as it came
	DecodedSize  int64 // bytes of the body without its content coding
}

// Snapshot is a picture of the page, or its source.
type Snapshot struct {
	Type string // media type: image/jpeg, text/html
	Data []byte
}

// fetchable is a URL that can be fetched, without its fragment; nil if it cannot be.
func fetchable(base *url.URL, ref string) *url.URL {
	u, err := base.Parse(ref)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil
	}
	u.Fragment, u.RawFragment = "", ""
	return u
}
