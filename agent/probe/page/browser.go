package page

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	startTime = time.Minute      // for a browser to start, on a small machine too
	grace     = 30 * time.Second // for asking for what there is of the page
)

// A tab is where a browser shows the page.
type tab interface {
	navigate(context.Context, *url.URL) error // returns at the load event
	evaluate(ctx context.Context, expression string) (string, error)
	picture(context.Context) (*Snapshot, error)
	forget(context.Context) error                 // leaves the page and what was seen of it, but not the browser's cache
	seen() (requests []Resource, begin time.Time) // by the browser's network stack
	close()
}

// drive loads the page in a tab that open makes, which lives no longer than ctx.
func drive(ctx context.Context, u *url.URL, o Options, open func(context.Context, *proxy) (tab, string, error)) (*Load, error) {
	life, end := context.WithCancel(ctx)
	defer end()
	var by *proxy
	if o.Through {
		var err error
		if by, err = newProxy(life, o); err != nil {
			return nil, err
		}
		defer by.close()
	}
	late := time.AfterFunc(startTime, end)
	t, agent, err := open(life, by)
	if err != nil {
		return nil, err
	}
	defer t.close()
	late.Stop()

	if o.Cache {
		if err := visit(life, t, u, o.Timeout); err != nil {
			return nil, err
		}
	}
	loading, stop := context.WithTimeout(life, o.Timeout)
	defer stop()
	err = t.navigate(loading, u)
	cut := loading.Err() != nil
	if err != nil && (!cut || ctx.Err() != nil || errors.Is(err, errSilent)) {
		return nil, err
	}
	late.Reset(grace)
	defer late.Stop()
	answer, err := t.evaluate(life, fmt.Sprintf(collect, !cut))
	if err != nil {
		return nil, fmt.Errorf("ask the page for its times: %w", err)
	}
	var r report
	if err := json.Unmarshal([]byte(answer), &r); err != nil {
		return nil, fmt.Errorf("the page's times: %w", err)
	}
	requests, begin := t.seen()
	if r.Navigation.ResponseStart == 0 && (cut || len(requests) == 0) {
		return nil, fmt.Errorf("%w: %w", errSilent, context.DeadlineExceeded)
	}
	l := r.load(requests, begin)
	l.Agent, l.Cut = agent, cut
	if by != nil {
		by.tell(l)
	}
	if o.Snapshot {
		if l.Snapshot, err = t.picture(life); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// collect asks a page for its times, once its load event is over.
const collect = `(async () => {
	for (let i = 0; %t && i < 500 && !performance.timing.loadEventEnd; i++) await new Promise(r => setTimeout(r, 10));
	return JSON.stringify({
		origin: performance.timeOrigin,
		url: location.href,
		domLoading: performance.timing.domLoading - performance.timing.navigationStart,
		navigation: performance.getEntriesByType('navigation')[0] || {},
		resources: performance.getEntriesByType('resource'),
		paint: performance.getEntriesByType('paint'),
	});
})()`

var errSilent = errors.New("the page did not answer")

// visit loads the page for the sake of what the browser keeps of it.
func visit(ctx context.Context, t tab, u *url.URL, timeout time.Duration) error {
	ctx, stop := context.WithTimeout(ctx, timeout)
	defer stop()
	if err := t.navigate(ctx, u); err != nil {
		return fmt.Errorf("first visit: %w", err)
	}
	return t.forget(ctx)
}

// prepare runs before the page does: by default, no more than 250 resources have their times kept.
const prepare = `performance.setResourceTimingBufferSize(1000)`

// report is what a page says of itself: times in milliseconds since its origin.
type report struct {
	Origin     float64 // milliseconds since the epoch
	URL        string
	DOMLoading float64
	Navigation navigation
	Resources  []entry
	Paint      []struct {
		Name      string
		StartTime float64
	}
}

type navigation struct {
	entry
	DOMInteractive             float64
	DOMContentLoadedEventStart float64
	DOMContentLoadedEventEnd   float64
	DOMComplete                float64
	LoadEventStart             float64
	LoadEventEnd               float64
}

// entry is a PerformanceResourceTiming.
type entry struct {
	Name, InitiatorType, NextHopProtocol, ContentType string

	ResponseStatus                                    int
	StartTime, RedirectStart, RedirectEnd, FetchStart float64
	DomainLookupStart, DomainLookupEnd                float64
	ConnectStart, SecureConnectionStart, ConnectEnd   float64
	RequestStart, ResponseStart, ResponseEnd          float64
	TransferSize, EncodedBodySize, DecodedBodySize    float64
}

// after is a time of a page, whose scripts may have put anything there.
func after(ms float64) time.Duration {
	if !(ms > 0 && ms < 1e9) {
		return 0
	}
	return time.Duration(math.Round(ms*1000)) * time.Microsecond
}

func (e entry) resource() Resource {
	return Resource{
		URL: withoutFragment(e.Name), Initiator: e.InitiatorType, Status: e.ResponseStatus, Protocol: e.NextHopProtocol, Type: e.ContentType,
		Start: after(e.StartTime), RedirectStart: after(e.RedirectStart), RedirectEnd: after(e.RedirectEnd), Fetch: after(e.FetchStart),
		LookupStart: after(e.DomainLookupStart), LookupEnd: after(e.DomainLookupEnd),
		ConnectStart: after(e.ConnectStart), SecureStart: after(e.SecureConnectionStart), ConnectEnd: after(e.ConnectEnd),
		RequestStart: after(e.RequestStart), ResponseStart: after(e.ResponseStart), ResponseEnd: after(e.ResponseEnd),
		TransferSize: int64(e.TransferSize), EncodedSize: int64(e.EncodedBodySize), DecodedSize: int64(e.DecodedBodySize),
	}
}

func withoutFragment(ref string) string {
	ref, _, _ = strings.Cut(ref, "#")
	return ref
}

// load is the page's times, completed by what its network stack saw: scripts
// are not told of the status, of what failed, and of times of other origins.
func (r report) load(requests []Resource, begin time.Time) *Load {
	l := &Load{Begin: time.UnixMicro(int64(r.Origin * 1000)), Document: r.Navigation.resource()}
	shift := begin.Sub(l.Begin)
	l.DOM = DOM{
		Loading: after(r.DOMLoading), Interactive: after(r.Navigation.DOMInteractive),
		ContentLoadedStart: after(r.Navigation.DOMContentLoadedEventStart), ContentLoadedEnd: after(r.Navigation.DOMContentLoadedEventEnd),
		Complete: after(r.Navigation.DOMComplete), LoadStart: after(r.Navigation.LoadEventStart), LoadEnd: after(r.Navigation.LoadEventEnd),
	}
	for _, p := range r.Paint {
		switch p.Name {
		case "first-paint":
			l.FirstPaint = after(p.StartTime)
		case "first-contentful-paint":
			l.FirstContentfulPaint = after(p.StartTime)
		}
	}
	for _, e := range r.Resources {
		l.Resources = append(l.Resources, e.resource())
	}
	used := make([]bool, len(l.Resources))
	for i, request := range requests {
		request = request.shifted(shift)
		if i == 0 {
			l.Document.complete(request)
			l.Document.URL, l.Document.Initiator = withoutFragment(r.URL), "navigation"
			continue
		}
		same := slices.IndexFunc(l.Resources, func(r Resource) bool { return r.URL == request.URL })
		if same >= 0 && same < len(used) && !used[same] {
			used[same] = true
			l.Resources[same].complete(request)
		} else if same < 0 && len(l.Resources) < maxFetches {
			l.Resources = append(l.Resources, request)
		}
	}
	slices.SortStableFunc(l.Resources, func(a, b Resource) int { return cmp.Compare(a.Start, b.Start) })
	return l
}

func (r Resource) shifted(by time.Duration) Resource {
	for _, t := range []*time.Duration{
		&r.Start, &r.RedirectStart, &r.RedirectEnd, &r.Fetch, &r.LookupStart, &r.LookupEnd, &r.ConnectStart, &r.SecureStart, &r.ConnectEnd,
		&r.RequestStart, &r.ResponseStart, &r.ResponseEnd,
	} {
		if *t != 0 {
			*t = max(*t+by, 0)
		}
	}
	return r
}

// complete fills in what a page was not told.
func (r *Resource) complete(seen Resource) {
	if r.RequestStart == 0 { // of another origin, which does not allow the page to know
		r.LookupStart, r.LookupEnd = seen.LookupStart, seen.LookupEnd
		r.ConnectStart, r.SecureStart, r.ConnectEnd = seen.ConnectStart, seen.SecureStart, seen.ConnectEnd
		r.RequestStart, r.ResponseStart = seen.RequestStart, seen.ResponseStart
		r.TransferSize, r.EncodedSize = seen.TransferSize, seen.EncodedSize
		if r.ResponseEnd == 0 {
			r.ResponseEnd = seen.ResponseEnd
		}
		if r.DecodedSize == 0 {
			r.DecodedSize = seen.DecodedSize
		}
	}
	r.Status = cmp.Or(seen.Status, r.Status)
	r.Protocol = cmp.Or(r.Protocol, seen.Protocol)
	r.Type = cmp.Or(seen.Type, r.Type)
	r.Err = cmp.Or(r.Err, seen.Err)
}
