package page

import (
	"compress/gzip"
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"
)

// site is a page whose parts take as long as their addresses say: ?d=200ms.
//
//	/ ── 302 ── /home ── a.css ── b.css, bg.svg (used), no.svg (not used), f.woff2
//	                  ├─ a.js, d.js (deferred), m.js (async)
//	                  └─ 12 images, the last 100 ms after the beginning of the document
func site(w http.ResponseWriter, r *http.Request) {
	if d, err := time.ParseDuration(r.URL.Query().Get("d")); err == nil {
		select {
		case <-time.After(d):
		case <-r.Context().Done():
			return
		}
	}
	file := r.URL.Path
	switch {
	case file == "/":
		http.Redirect(w, r, "/home?d=100ms", http.StatusFound)
	case file == "/home":
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, `<!doctype html><html><head><title>site</title>
			<link rel=stylesheet href="/a.css?d=300ms"><link rel=stylesheet media=print href="/print.css">
			<script src="/a.js?d=200ms"></script><script defer src="/d.js?d=200ms"></script><script async src="/m.js?d=100ms"></script>
			</head><body class="x"><h1>hello</h1><noscript><img src="/never.svg"></noscript>`)
		w.(http.Flusher).Flush()
		time.Sleep(100 * time.Millisecond)
		for i := range 12 {
			fmt.Fprintf(w, `<img src="/i%d.svg?d=400ms" width=10 height=10>`, i)
		}
		fmt.Fprint(w, `<img loading=lazy src="/lazy.svg" style="margin-top:9000px"></body></html>`)
	case strings.HasSuffix(file, ".css"):
		w.Header().Set("Content-Type", "text/css")
		if file == "/a.css" {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			defer z.Close()
			fmt.Fprint(z, `@import "/b.css?d=200ms"; body { background: url(/bg.svg?d=300ms) } .absent { background: url(/no.svg) }
				@font-face { font-family: F; src: url(/f.woff2?d=100ms) format("woff2") } h1 { font: bold 20px/1.5 F, serif }`)
		}
	case strings.HasSuffix(file, ".js"):
		w.Header().Set("Content-Type", "text/javascript")
	case strings.HasSuffix(file, ".svg"):
		w.Header().Set("Content-Type", "image/svg+xml")
		fmt.Fprint(w, `<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"/>`)
	case file == "/half":
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, `<!doctype html><p>half<img src="/stuck">`)
	case file == "/stuck":
		<-r.Context().Done()
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// serve is the site by HTTP/1.1, or by HTTP/2 and TLS.
func serve(t testing.TB, h http.HandlerFunc, secure bool) (*url.URL, Options) {
	s := httptest.NewUnstartedServer(h)
	t.Cleanup(s.Close)
	o := Options{Timeout: time.Minute, Network: loopback, KeepAlive: true}
	if secure {
		s.EnableHTTP2 = true
		s.StartTLS()
		o.Roots = x509.NewCertPool()
		o.Roots.AddCert(s.Certificate())
	} else {
		s.Start()
	}
	u, err := url.Parse(s.URL + "/")
	if err != nil {
		t.Fatal(err)
	}
	return u, o
}

var loopback = Network{
	Lookup: func(_ context.Context, host string) ([]netip.Addr, error) {
		a, err := netip.ParseAddr(host)
		return []netip.Addr{a}, err
	},
	Dial: func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", to.String())
	},
}
