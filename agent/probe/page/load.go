package page

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	maxFetches    = 500     // resources of a page
	maxSource     = 1 << 20 // bytes kept of a document
	maxSheet      = 4 << 20 // bytes read of a style sheet; what comes after is not looked at
	maxFrames     = 3       // documents within documents
	atOnceH2      = 64      // requests under way on a connection that can have many
	atOnceBlocked = 2       // requests under way beyond which those that can wait do, while the head is blocked
)

// accepts is what each kind of request says that it takes.
var accepts = map[kind]string{
	frame: "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
	sheet: "text/css,*/*;q=0.1",
	image: "image/avif,image/webp,image/svg+xml,image/*,*/*;q=0.8",
}

// Fetch loads a page without a browser: the document and what it refers to, in
// the order and with the connections that browsers use. No script runs and
// nothing is drawn, so the DOM's times are those at which browsers could have
// gone on at the latest: Loading when the first byte of the document came,
// Interactive when it and what blocks its parser had arrived, ContentLoaded
// when the deferred scripts had, Complete and Load when everything had.
// It fails if there is no document; a page whose time is up is cut.
func Fetch(ctx context.Context, u *url.URL, o Options) (*Load, error) {
	ctx, stop := context.WithTimeout(ctx, o.Timeout)
	defer stop()
	work, cancel := context.WithCancel(ctx)
	defer cancel()
	l := &loader{
		client: newClient(work, o), ctx: work, begin: time.Now(), events: make(chan func()),
		byURL: make(map[string]*fetch), open: make(map[string]int), h2: make(map[string]bool),
		doc: document{words: make(map[string]bool), runes: make(map[rune]bool)},
	}
	l.top = l.add(reference{url: u, initiator: "navigation", kind: frame, priority: high})
	l.run()
	l.workers.Wait()
	cancel() // before the connections go: those that are still being made end
	l.http.CloseIdleConnections()
	if l.top.err != nil && (l.top.status == 0 || ctx.Err() == nil) {
		return nil, l.top.err
	}
	return l.result(ctx), nil
}

// loader is one page load. Its state belongs to the goroutine in run; those
// that fetch hand it what to do there.
type loader struct {
	*client
	ctx     context.Context
	begin   time.Time
	events  chan func()
	workers sync.WaitGroup
	parsing sync.Mutex

	top     *fetch
	page    *url.URL // where the document is; nil until it answers
	all     []*fetch
	byURL   map[string]*fetch
	waiting []*fetch
	running int
	open    map[string]int  // requests under way, by origin
	h2      map[string]bool // origins that take many requests on one connection
	skipped int

	doc   document
	rules []rule // that have not applied yet
	faces []face // that have not been used yet
	named map[string]bool

	interactive, contentLoaded, complete time.Time
}

// fetch is one resource.
type fetch struct {
	fetched
	reference
	referer *url.URL
	depth   int // of documents around it
	begun   bool
	done    bool
	err     error
	source  *source // of the document, if it is to be kept
}

// source keeps the beginning of what is written to it.
type source struct{ kept []byte }

func (s *source) Write(b []byte) (int, error) {
	s.kept = append(s.kept, b[:min(len(b), maxSource-len(s.kept))]...)
	return len(b), nil
}

// run goes on until everything has been fetched. Fetches end with the context.
func (l *loader) run() {
	l.start()
	for l.running > 0 {
		(<-l.events)()
		l.style()
		l.mark()
		l.start()
	}
	l.mark()
}

// do hands the loader something to do.
func (l *loader) do(f func()) { l.events <- f }

// add takes a reference, unless it was there before.
func (l *loader) add(r reference) *fetch {
	r = l.upgraded(r)
	if r.url == nil {
		return nil
	}
	if known := l.byURL[r.url.String()]; known != nil {
		known.idle = known.idle && r.idle
		known.blocks = known.blocks || r.blocks
		known.deferred = known.deferred || r.deferred
		known.priority = max(known.priority, r.priority)
		if !known.begun {
			known.kind = max(known.kind, r.kind)
		}
		return nil
	}
	if len(l.all) == maxFetches {
		l.skipped++
		return nil
	}
	f := &fetch{reference: r}
	l.byURL[r.url.String()] = f
	l.all = append(l.all, f)
	l.waiting = append(l.waiting, f)
	return f
}

// upgraded treats what a secure page refers to insecurely as browsers do
// (Mixed Content, level 2): images are asked for securely, the rest is not.
func (l *loader) upgraded(r reference) reference {
	if l.page == nil || l.page.Scheme == "http" || r.url.Scheme == "https" {
		return r
	}
	if r.kind != image {
		r.url = nil
		return r
	}
	secure := *r.url
	secure.Scheme = "https"
	r.url = &secure
	return r
}

// start begins the fetches that may run, the urgent ones first.
func (l *loader) start() {
	slices.SortStableFunc(l.waiting, func(a, b *fetch) int { return int(b.priority - a.priority) })
	blocked := l.blocked()
	l.waiting = slices.DeleteFunc(l.waiting, func(f *fetch) bool {
		from := origin(f.reference.url)
		limit := perHost
		if l.h2[from] {
			limit = atOnceH2
		}
		if l.open[from] >= limit || blocked && f.priority == low && l.running >= atOnceBlocked {
			return false
		}
		f.begun = true
		l.running++
		l.open[from]++
		l.workers.Go(func() { l.fetch(f, from) })
		return true
	})
}

func origin(u *url.URL) string { return u.Scheme + "://" + u.Host }

// blocked reports whether nothing of the page can be drawn yet, because
// something in its head is on its way.
func (l *loader) blocked() bool {
	return slices.ContainsFunc(l.all, func(f *fetch) bool { return f.head && f.blocks && !f.done })
}

// fetch runs in a goroutine of its own.
func (l *loader) fetch(f *fetch, from string) {
	accept := accepts[f.kind]
	if accept == "" {
		accept = "*/*"
	}
	err := l.get(l.ctx, f.reference.url, accept, f.referer, &f.fetched, func(r *http.Response, body io.Reader) error {
		l.do(func() { l.answered(f, r) })
		return l.look(f, r, body)
	})
	l.do(func() {
		f.done, f.err = true, err
		l.running--
		l.open[from]--
	})
}

func (l *loader) answered(f *fetch, r *http.Response) {
	l.h2[origin(r.Request.URL)] = r.ProtoMajor == 2
	if f == l.top {
		l.page = r.Request.URL
	}
}

// look reads what can refer to more.
func (l *loader) look(f *fetch, r *http.Response, body io.Reader) error {
	base := r.Request.URL
	switch {
	case r.StatusCode >= 400 && f != l.top:
	case f.kind == frame && strings.Contains(r.Header.Get("Content-Type"), "html") && f.depth < maxFrames:
		return l.document(f, base, body)
	case f.kind == sheet:
		text, err := io.ReadAll(io.LimitReader(body, maxSheet))
		if err != nil {
			return err
		}
		l.parsing.Lock() // one after the other: what a parser makes of a sheet is larger than it
		found := parseStyles(text, base)
		l.parsing.Unlock()
		l.do(func() { l.styles(found, base, f.depth) })
	}
	return nil
}

// document reads a document. What is in one of several frames does not block
// the page's parser.
func (l *loader) document(f *fetch, base *url.URL, body io.Reader) error {
	inner := f != l.top
	words, runes := make(map[string]bool), make(map[rune]bool)
	var batch []reference
	pass := func() {
		refs, w, c := batch, words, runes
		batch, words, runes = nil, make(map[string]bool), make(map[rune]bool)
		l.do(func() {
			l.doc.note(w, c)
			for _, r := range refs {
				l.child(r, base, f.depth, inner)
			}
		})
	}
	if l.Snapshot && !inner {
		f.source = new(source)
		body = io.TeeReader(body, f.source)
	}
	s := &scanner{
		base:   base,
		found:  func(r reference) { batch = append(batch, r) },
		styled: func(found styles) { l.do(func() { l.styles(found, base, f.depth) }) },
		seen:   func(word string) { words[word] = true },
		text:   func(c rune) { runes[c] = true },
	}
	err := s.scan(passing(body, pass))
	pass()
	if err != nil {
		return fmt.Errorf("document: %w", err)
	}
	return nil
}

// passing calls pass before each read: what was found in the bytes so far need
// not wait for the next ones.
func passing(r io.Reader, pass func()) io.Reader {
	return readerFunc(func(b []byte) (int, error) {
		pass()
		return r.Read(b)
	})
}

// note adds what has been seen of a document.
func (d *document) note(words map[string]bool, runes map[rune]bool) {
	for w := range words {
		d.words[w] = true
	}
	for c := range runes {
		if len(d.runes) < maxRunes {
			d.runes[c] = true
		}
	}
}

func (l *loader) child(r reference, referer *url.URL, depth int, inner bool) {
	if inner {
		r.head, r.blocks, r.deferred = false, false, false
	}
	if f := l.add(r); f != nil {
		f.referer, f.depth = referer, depth
		if r.kind == frame {
			f.depth++
		}
	}
}

// styles takes what a style sheet refers to: further sheets at once, the rest
// when it turns out to be used.
func (l *loader) styles(found styles, referer *url.URL, depth int) {
	for _, u := range found.imports {
		l.child(reference{url: u, initiator: "css", kind: sheet, priority: high, blocks: true, head: true}, referer, depth, false)
	}
	l.rules = append(l.rules, found.rules[:min(len(found.rules), maxRules-len(l.rules))]...)
	l.faces = append(l.faces, found.faces[:min(len(found.faces), maxRules-len(l.faces))]...)
}

// style asks for the images and fonts of the rules that apply, once the page
// could be drawn.
func (l *loader) style() {
	if l.blocked() {
		return
	}
	if l.named == nil {
		l.named = make(map[string]bool)
	}
	l.rules = slices.DeleteFunc(l.rules, func(r rule) bool {
		if !r.applies(l.doc.words) {
			return false
		}
		for _, u := range r.images {
			l.child(reference{url: u, initiator: "css", kind: image}, l.page, 0, false)
		}
		for _, name := range r.families {
			l.named[name] = true
		}
		return true
	})
	l.faces = slices.DeleteFunc(l.faces, func(f face) bool {
		if !l.named[f.family] || !f.covers(l.doc.runes) {
			return false
		}
		l.child(reference{url: f.src, initiator: "css", kind: font, priority: high}, l.page, 0, false)
		return true
	})
}

// mark notes how far the document has come.
func (l *loader) mark() {
	pending := func(waits func(*fetch) bool) bool {
		return slices.ContainsFunc(l.all, func(f *fetch) bool { return !f.done && waits(f) })
	}
	now := time.Now()
	if l.interactive.IsZero() && l.top.done && !pending(func(f *fetch) bool { return f.blocks }) {
		l.interactive = now
	}
	if l.contentLoaded.IsZero() && !l.interactive.IsZero() && !pending(func(f *fetch) bool { return f.deferred }) {
		l.contentLoaded = now
	}
	switch loading := pending(func(f *fetch) bool { return !f.idle }); {
	case loading || l.contentLoaded.IsZero():
		l.complete = time.Time{} // also when a style that came to apply brought more
	case l.complete.IsZero():
		l.complete = now
	}
}

func (l *loader) result(ctx context.Context) *Load {
	since := func(t time.Time) time.Duration {
		if t.IsZero() {
			return 0
		}
		return t.Sub(l.begin)
	}
	r := &Load{Agent: "natrix", Begin: l.begin, Skipped: l.skipped, Cut: ctx.Err() != nil}
	r.Document = l.top.resource(l.begin, "navigation", l.top.last, l.top.err)
	for _, f := range l.all[1:] {
		if f.begun {
			r.Resources = append(r.Resources, f.resource(l.begin, f.initiator, f.reference.url, f.err))
		}
	}
	if l.top.source != nil {
		r.Snapshot = &Snapshot{Type: "text/html", Data: l.top.source.kept}
	}
	r.DOM.Loading = r.Document.ResponseStart
	if r.Cut {
		return r
	}
	r.DOM.Interactive, r.DOM.Complete = since(l.interactive), since(l.complete)
	r.DOM.ContentLoadedStart = since(l.contentLoaded)
	r.DOM.ContentLoadedEnd = r.DOM.ContentLoadedStart
	r.DOM.LoadStart, r.DOM.LoadEnd = r.DOM.Complete, r.DOM.Complete
	return r
}
