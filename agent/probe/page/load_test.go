package page

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"
	"time"
)

// names are the files that a page had, in alphabetical order.
func names(l *Load) string {
	var all []string
	for _, r := range l.Resources {
		u, _ := url.Parse(r.URL)
		all = append(all, path.Base(u.Path))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func TestFetch(t *testing.T) {
	for _, test := range []struct {
		name     string
		secure   bool
		protocol string
		least    time.Duration // that the delays add up to
	}{
		// document 100, a.css 300, b.css 200, then 12 images of 400 on 6 connections
		{"HTTP/1.1", false, "http/1.1", 1400 * time.Millisecond},
		{"HTTP/2", true, "h2", 1000 * time.Millisecond},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			u, o := serve(t, site, test.secure)
			l, err := Fetch(t.Context(), u, o)
			if err != nil {
				t.Fatal(err)
			}
			want := "a.css a.js b.css bg.svg d.js f.woff2 i0.svg i1.svg i10.svg i11.svg i2.svg i3.svg i4.svg i5.svg i6.svg i7.svg i8.svg i9.svg m.js print.css"
			if got := names(l); got != want {
				t.Errorf("resources\n got %s\nwant %s", got, want)
			}
			if l.Document.Protocol != test.protocol || l.Document.Status != 200 || l.Document.RedirectEnd == 0 || !strings.HasSuffix(l.Document.URL, "/home?d=100ms") {
				t.Errorf("document: %+v", l.Document)
			}
			if l.Total() < test.least || l.Total() > test.least+5*time.Second {
				t.Errorf("total %v, want %v and a little", l.Total(), test.least)
			}
			d := l.DOM
			if !slices.IsSorted([]time.Duration{0, d.Loading, d.Interactive, d.ContentLoadedStart, d.ContentLoadedEnd, d.Complete, d.LoadStart, d.LoadEnd}) {
				t.Errorf("milestones out of order: %+v", d)
			}
			for _, r := range append(l.Resources, l.Document) {
				inOrder(t, r)
			}
			sheet := l.Resources[slices.IndexFunc(l.Resources, func(r Resource) bool { return strings.Contains(r.URL, "a.css") })]
			if sheet.EncodedSize >= sheet.DecodedSize || sheet.TransferSize <= sheet.EncodedSize || sheet.Initiator != "link" {
				t.Errorf("sizes of a compressed sheet: %+v", sheet)
			}
		})
	}
}

// inOrder holds the times of a resource against each other.
func inOrder(t *testing.T, r Resource) {
	t.Helper()
	times := []time.Duration{r.Start, r.Fetch, r.LookupStart, r.LookupEnd, r.ConnectStart, r.ConnectEnd, r.RequestStart, r.ResponseStart, r.ResponseEnd}
	if !slices.IsSorted(times) || r.SecureStart != 0 && (r.SecureStart < r.ConnectStart || r.SecureStart > r.ConnectEnd) {
		t.Errorf("%s: times out of order: %v, secure %v", r.URL, times, r.SecureStart)
	}
}

func TestFetchConnections(t *testing.T) {
	u, o := serve(t, site, true)
	l, err := Fetch(t.Context(), u, o)
	if err != nil {
		t.Fatal(err)
	}
	// The document came by a redirect on the same connection.
	for _, r := range append(l.Resources, l.Document) {
		if r.SecureStart != 0 {
			t.Errorf("%s made a connection, though HTTP/2 had one", r.URL)
		}
	}
	o.KeepAlive = false
	u, o2 := serve(t, site, false)
	o2.KeepAlive = false
	if l, err = Fetch(t.Context(), u, o2); err != nil {
		t.Fatal(err)
	}
	for _, r := range l.Resources {
		if r.ConnectEnd == r.ConnectStart {
			t.Errorf("%s came on a connection used before", r.URL)
		}
	}
}

func TestFetchFailures(t *testing.T) {
	u, o := serve(t, site, false)
	t.Run("nobody there", func(t *testing.T) {
		gone, _ := url.Parse("http://127.0.0.1:1/")
		if l, err := Fetch(t.Context(), gone, o); err == nil {
			t.Errorf("got %+v", l)
		}
	})
	t.Run("unknown certificate", func(t *testing.T) {
		secure, _ := serve(t, site, true)
		if l, err := Fetch(t.Context(), secure, o); err == nil || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("got %+v, %v", l, err)
		}
		insecure := o
		insecure.Insecure = true
		if _, err := Fetch(t.Context(), secure, insecure); err != nil {
			t.Errorf("insecure: %v", err)
		}
	})
	t.Run("document that never comes", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if l, err := Fetch(ctx, u.JoinPath("stuck"), o); err == nil {
			t.Errorf("got %+v", l)
		}
	})
	t.Run("resource that never comes", func(t *testing.T) {
		page, o := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/" {
				<-r.Context().Done()
				return
			}
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, `<img src=/x><img src="http://127.0.0.1:1/refused">`)
		}, false)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		l, err := Fetch(ctx, page, o)
		if err != nil {
			t.Fatal(err)
		}
		if !l.Cut || l.DOM.LoadEnd != 0 || len(l.Resources) != 2 || l.Resources[0].Err == "" || !strings.Contains(l.Resources[1].Err, "refused") {
			t.Errorf("got %+v", l)
		}
	})
	t.Run("redirects without end", func(t *testing.T) {
		loop, o := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path+"x", 302) }, false)
		if l, err := Fetch(t.Context(), loop, o); err == nil || !strings.Contains(err.Error(), "redirects") {
			t.Errorf("got %+v, %v", l, err)
		}
	})
	t.Run("more than a page has", func(t *testing.T) {
		many, o := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/" {
				return
			}
			w.Header().Set("Content-Type", "text/html")
			for i := range 2 * maxFetches {
				fmt.Fprintf(w, "<img src=/%d>", i)
			}
		}, false)
		l, err := Fetch(t.Context(), many, o)
		if err != nil {
			t.Fatal(err)
		}
		if len(l.Resources) != maxFetches-1 || l.Skipped != maxFetches+1 {
			t.Errorf("%d resources, %d skipped", len(l.Resources), l.Skipped)
		}
	})
}

func TestFetchFrames(t *testing.T) {
	u, o := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<iframe src="%sx/"></iframe>`, r.URL.Path)
	}, false)
	l, err := Fetch(t.Context(), u, o)
	if err != nil {
		t.Fatal(err)
	}
	if len(l.Resources) != maxFrames {
		t.Errorf("got %d frames, want %d", len(l.Resources), maxFrames)
	}
}
