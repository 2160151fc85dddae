package page

import (
	"bytes"
	"encoding/json"
	"io"
	"net/url"
	"strings"
	"testing"
	"time"
)

var home = &url.URL{Scheme: "https", Host: "www.example.com", Path: "/dir/page"}

// refs are what a document refers to, one line each.
func refs(t testing.TB, document string) []reference {
	t.Helper()
	var all []reference
	s := &scanner{
		base: home, found: func(r reference) { all = append(all, r) },
		styled: func(f styles) {
			for _, u := range f.imports {
				all = append(all, reference{url: u, initiator: "css", kind: sheet})
			}
			for _, r := range f.rules {
				for _, u := range r.images {
					all = append(all, reference{url: u, initiator: "css", kind: image})
				}
			}
		},
		seen: func(string) {}, text: func(rune) {},
	}
	if err := s.scan(strings.NewReader(document)); err != nil {
		t.Fatal(err)
	}
	return all
}

func FuzzDocument(f *testing.F) {
	f.Add(`<base href="/b/"><link rel=stylesheet href=a.css media="(max-width: 600px)"><script async src=//cdn.example.net/a.js></script>`)
	f.Add(`<picture><source type=image/webp srcset="a.webp 1x, b.webp 2x"><img src=c.png srcset="d.png 100w, e.png 2000w" sizes="(min-width: 100px) 50vw, 10em"></picture>`)
	f.Add(`<style>@import "x.css"; body{background:url( "y.png" )}</style><p style="background:url(z.png)">ü<noscript><img src=n.png></noscript>`)
	f.Add(`<iframe src="f.html"></iframe><template><img src=t.png></template><object data=o></object><input type=image src=i><video poster=p src=v>`)
	f.Add(`<img srcset=",, ,a.png,b.png 1.5x,"><link rel="preload" as=image imagesrcset="p.png 2x"><script type=module src=m.js></script>`)
	f.Fuzz(func(t *testing.T, document string) {
		s := &scanner{
			base: home,
			found: func(r reference) {
				if r.url == nil || r.url.Host == "" || r.url.Scheme != "http" && r.url.Scheme != "https" || r.initiator == "" || r.url.Fragment != "" {
					t.Errorf("a reference that cannot be fetched: %+v", r)
				}
			},
			styled: func(styles) {}, seen: func(string) {}, text: func(rune) {},
		}
		if err := s.scan(strings.NewReader(document)); err != nil && len(document) < maxToken {
			t.Errorf("%v", err)
		}
	})
}

func FuzzStyles(f *testing.F) {
	f.Add(`@charset "utf-8"; @import url(a.css) screen; @import 'b.css' print; @media print { a { background: url(p.png) } }`, false)
	f.Add(`@font-face { font-family: "My Font"; src: url(f.eot); src: url(f.woff2) format("woff2"), url(f.woff); unicode-range: U+0-7F, U+4?? }`, false)
	f.Add(`a.b#c > d:not(.e)[f=g]::before, h:hover { background: url("\41 b\).png") no-repeat, url(data:image/png;base64,AAAA); font: bold 1em/2 X, "Y Z" }`, false)
	f.Add(`background:url(x.png);font-family:A`, true)
	f.Add(`}}}{{{;;@@url(`, false)
	f.Fuzz(func(t *testing.T, text string, inline bool) {
		found := parseCSS([]byte(text), home, inline)
		for _, r := range found.rules {
			if len(r.images)+len(r.families) == 0 || len(r.selectors) == 0 {
				t.Errorf("a rule that refers to nothing: %+v", r)
			}
			r.applies(map[string]bool{"a": true})
		}
		for _, c := range found.faces {
			if c.src == nil || c.family == "" {
				t.Errorf("a font without a source: %+v", c)
			}
			c.covers(map[rune]bool{'ü': true})
		}
	})
}

// What browsers say comes from pages too.
func FuzzReport(f *testing.F) {
	f.Add([]byte(`{"origin":1795220757729.3,"url":"http://x/#a","domLoading":5,"navigation":{"name":"http://x/","responseStart":3.5},"resources":[{"name":"http://x/a","startTime":1,"responseEnd":2}],"paint":[{"name":"first-paint","startTime":9}]}`))
	f.Add([]byte(`{"origin":1e308,"navigation":{"responseStart":-1},"resources":[{"startTime":1e300}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var r report
		if json.Unmarshal(text, &r) != nil {
			return
		}
		l := r.load([]Resource{{URL: "http://x/"}, {URL: "http://x/a", ResponseEnd: 1}}, time.UnixMilli(1795220757729))
		if l.Total() < 0 || l.Document.ResponseStart < 0 {
			t.Errorf("negative times: %+v", l)
		}
	})
}

func FuzzEvents(f *testing.F) {
	f.Add("Network.requestWillBeSent", []byte(`{"requestId":"1","request":{"url":"http://x/"},"timestamp":1,"wallTime":2,"type":"Document"}`), true)
	f.Add("Network.responseReceived", []byte(`{"requestId":"1","response":{"status":200,"timing":{"requestTime":1,"dnsStart":-1}}}`), true)
	f.Add("network.responseCompleted", []byte(`{"request":{"request":"1","url":"http://x/","timings":{"timeOrigin":1,"requestTime":2}},"response":{"status":200}}`), false)
	f.Fuzz(func(t *testing.T, method string, params []byte, devtools bool) {
		var b tab
		if devtools {
			c := newChromeTab()
			c.event("Network.requestWillBeSent", []byte(`{"requestId":"1","request":{"url":"http://x/"},"timestamp":1,"wallTime":2,"type":"Document"}`))
			c.event(method, params)
			b = c
		} else {
			c := newFirefoxTab()
			c.event(method, params)
			b = c
		}
		all, _ := b.seen()
		for _, r := range all {
			if r.URL == "" || r.Start < 0 || r.ResponseEnd < 0 {
				t.Errorf("got %+v", r)
			}
		}
	})
}

func FuzzProxy(f *testing.F) {
	f.Add([]byte("\x05\x01\x00\x05\x01\x00\x03\x0bexample.com\x00\x50"))
	f.Add([]byte("\x05\x02\x00\x02\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50"))
	f.Fuzz(func(t *testing.T, b []byte) {
		address, err := greet(struct {
			io.Reader
			io.Writer
		}{bytes.NewReader(b), io.Discard})
		if err == nil && !strings.Contains(address, ":") {
			t.Errorf("got %q", address)
		}
	})
}
