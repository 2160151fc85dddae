package page

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// browsers are those that pages can be loaded in, by the name that NATRIX_MUST
// has for them.
var browsers = map[string]struct {
	programs []string
	load     func(context.Context, *url.URL, Options) (*Load, error)
}{
	"chromium": {chromes, Chrome},
	"firefox":  {firefoxes, Firefox},
}

// need skips with -short, and without the browser unless NATRIX_MUST names it:
// then it fails.
func need(t *testing.T, name string) {
	t.Helper()
	must := strings.Contains(os.Getenv("NATRIX_MUST"), name)
	switch {
	case testing.Short() && !must:
		t.Skip("needs " + name)
	case installed(browsers[name].programs) == "" && must:
		t.Fatalf("%s is not installed", name)
	case installed(browsers[name].programs) == "":
		t.Skipf("%s is not installed", name)
	}
}

// littered fails if a browser left anything in the directory for temporary files.
func littered(t *testing.T) {
	t.Helper()
	dir, err := os.MkdirTemp("", "natrix-test-") // unlike t.TempDir, for a browser's user to pass through
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", dir)
	t.Cleanup(func() {
		left, _ := filepath.Glob(filepath.Join(dir, "*"))
		if len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		os.RemoveAll(dir)
	})
}

// The second visit asks for nothing that was to be kept, and tells of it all the same.
func TestBrowsersCache(t *testing.T) {
	littered(t)
	for name, browser := range browsers {
		t.Run(name, func(t *testing.T) {
			need(t, name)
			t.Parallel()
			var pages, sheets atomic.Int32
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch r.URL.Path {
				case "/":
					pages.Add(1)
					w.Header().Set("Cache-Control", "no-store")
					w.Header().Set("Content-Type", "text/html")
					fmt.Fprint(w, `<link rel=stylesheet href=kept.css>`)
				case "/kept.css":
					sheets.Add(1)
					w.Header().Set("Cache-Control", "max-age=3600")
					w.Header().Set("Content-Type", "text/css")
					fmt.Fprint(w, `p { color: red }`)
				default:
					w.WriteHeader(http.StatusNotFound)
				}
			}))
			defer s.Close()
			u, err := url.Parse(s.URL)
			if err != nil {
				t.Fatal(err)
			}
			l, err := browser.load(t.Context(), u, Options{Timeout: time.Minute, Cache: true})
			if err != nil {
				t.Fatal(err)
			}
			if pages.Load() != 2 || sheets.Load() != 1 {
				t.Errorf("the page was asked for %d times, its sheet %d times, want 2 and 1", pages.Load(), sheets.Load())
			}
			if !slices.Contains(strings.Fields(names(l)), "kept.css") || l.Document.Status != 200 || l.DOM.LoadEnd == 0 {
				t.Errorf("got %+v", l)
			}
		})
	}
}

func TestBrowsers(t *testing.T) {
	littered(t)
	for name, browser := range browsers {
		t.Run(name, func(t *testing.T) {
			need(t, name)
			t.Parallel()
			u, o := serve(t, site, true)
			o.Insecure, o.Snapshot = true, true
			l, err := browser.load(t.Context(), u, o)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Fields(names(l))
			for _, want := range strings.Fields("a.css a.js b.css bg.svg d.js f.woff2 i0.svg i11.svg m.js") {
				if !slices.Contains(got, want) {
					t.Errorf("%s is missing in %v", want, got)
				}
			}
			if slices.Contains(got, "no.svg") || slices.Contains(got, "never.svg") {
				t.Errorf("what is not used was fetched: %v", got)
			}
			d := l.Document
			if d.Status != 200 || d.Protocol != "h2" || d.Initiator != "navigation" || !strings.HasSuffix(d.URL, "/home?d=100ms") || d.TransferSize == 0 {
				t.Errorf("document: %+v", d)
			}
			inOrder(t, d)
			if d.ResponseStart < 100*time.Millisecond || d.RedirectEnd == 0 {
				t.Errorf("the document took %v, redirected until %v", d.ResponseStart, d.RedirectEnd)
			}
			dom := l.DOM
			if !slices.IsSorted([]time.Duration{0, dom.Loading, dom.Interactive, dom.ContentLoadedStart, dom.ContentLoadedEnd, dom.Complete, dom.LoadStart, dom.LoadEnd}) {
				t.Errorf("milestones out of order: %+v", dom)
			}
			if l.Total() < time.Second || l.FirstContentfulPaint == 0 || l.Cut {
				t.Errorf("total %v, painted %v, cut %v", l.Total(), l.FirstContentfulPaint, l.Cut)
			}
			image := l.Resources[slices.IndexFunc(l.Resources, func(r Resource) bool { return strings.Contains(r.URL, "i0.svg") })]
			if image.Status != 200 || image.Initiator != "img" || image.Type != "image/svg+xml" || image.ResponseEnd-image.RequestStart < 400*time.Millisecond {
				t.Errorf("image: %+v", image)
			}
			if l.Snapshot == nil || !strings.HasPrefix(string(l.Snapshot.Data), "\xff\xd8\xff") {
				t.Error("no picture")
			}
			if !strings.Contains(strings.ToLower(l.Agent), strings.TrimSuffix(name, "ium")) {
				t.Errorf("agent %q", l.Agent)
			}
		})
	}
}

func TestBrowserFailures(t *testing.T) {
	littered(t)
	for name, browser := range browsers {
		t.Run(name+", nobody there", func(t *testing.T) {
			need(t, name)
			t.Parallel()
			s := httptest.NewServer(nil)
			gone, _ := url.Parse(s.URL)
			s.Close()
			if l, err := browser.load(t.Context(), gone, Options{Timeout: time.Minute}); err == nil || !strings.Contains(err.Error(), "CONNECTION_REFUSED") {
				t.Errorf("got %+v, %v", l, err)
			}
		})
		t.Run(name+", a server that says nothing", func(t *testing.T) {
			need(t, name)
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0") // the kernel takes connections, and nobody reads them
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			mute := &url.URL{Scheme: "http", Host: l.Addr().String(), Path: "/"}
			if got, err := browser.load(t.Context(), mute, Options{Timeout: 2 * time.Second}); !errors.Is(err, errSilent) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %+v, %v, want %v", got, err, errSilent)
			}
		})
		t.Run(name+", an image that never comes", func(t *testing.T) {
			need(t, name)
			t.Parallel()
			stuck, o := serve(t, site, false)
			stuck = stuck.JoinPath("half")
			o.Timeout = 5 * time.Second
			l, err := browser.load(t.Context(), stuck, o)
			if err != nil {
				t.Fatal(err)
			}
			if !l.Cut || l.DOM.LoadEnd != 0 || l.Document.Status != 200 {
				t.Errorf("got %+v", l)
			}
		})
	}
}

// A browser that goes through Network knows names that only Network knows.
func TestBrowsersThroughNetwork(t *testing.T) {
	littered(t)
	for name, browser := range browsers {
		t.Run(name, func(t *testing.T) {
			need(t, name)
			t.Parallel()
			u, o := serve(t, site, false)
			local := u.Host
			u.Host = "site.invalid"
			o.Through = true
			o.Network.Lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
				if host != "site.invalid" {
					return nil, errors.New("no such name")
				}
				time.Sleep(300 * time.Millisecond)
				return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil
			}
			o.Network.Dial = func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
				if to.String() != "192.0.2.1:80" {
					return nil, errors.New("not there")
				}
				return new(net.Dialer).DialContext(ctx, "tcp", local)
			}
			l, err := browser.load(t.Context(), u.JoinPath("home"), o)
			if err != nil {
				t.Fatal(err)
			}
			d := l.Document
			// How much of the lookup is the document's depends on how far ahead the browser connects.
			if d.Status != 200 || d.RequestStart < 100*time.Millisecond || len(l.Resources) < 15 {
				t.Errorf("%d resources: %+v", len(l.Resources), d)
			}
			inOrder(t, d)
			elsewhere, _ := url.Parse("http://elsewhere.invalid/")
			if l, err := browser.load(t.Context(), elsewhere, o); err == nil {
				t.Errorf("an unknown name: got %+v", l)
			}
		})
	}
}

func TestNoBrowser(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for name, browser := range browsers {
		u, _ := url.Parse("http://127.0.0.1:1/")
		if l, err := browser.load(t.Context(), u, Options{Timeout: time.Minute}); err == nil || !strings.Contains(err.Error(), "apt-get install "+name) {
			t.Errorf("got %+v, %v", l, err)
		}
	}
}

// The page load without a browser is within 15 % of Chromium's: the quickest of
// at least three, and of more while they differ, since a busy machine only adds.
func TestFetchAgainstChromium(t *testing.T) {
	need(t, "chromium")
	littered(t)
	for _, secure := range []bool{false, true} {
		h := site
		if secure {
			h = slower(site) // HTTP/2 is quick: let the delays count for more than the browser's own work
		}
		u, o := serve(t, h, secure)
		o.Insecure = true
		var own, theirs []time.Duration
		for runs := 1; ; runs++ {
			a, err := Fetch(t.Context(), u, o)
			if err != nil {
				t.Fatal(err)
			}
			b, err := Chrome(t.Context(), u, o)
			if err != nil {
				t.Fatal(err)
			}
			own, theirs = append(own, a.Total()), append(theirs, b.Total())
			ratio := float64(slices.Min(own)) / float64(slices.Min(theirs))
			if runs >= 3 && 0.85 <= ratio && ratio <= 1.15 {
				t.Logf("secure %v: %v, Chromium %v, ratio %.3f", secure, own, theirs, ratio)
				break
			}
			if runs == 7 {
				t.Errorf("secure %v: %v, Chromium %v, ratio %.3f", secure, own, theirs, ratio)
				break
			}
		}
	}
}

// slower doubles the delays of a site.
func slower(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if d, err := time.ParseDuration(r.URL.Query().Get("d")); err == nil {
			time.Sleep(d)
		}
		h(w, r)
	}
}
