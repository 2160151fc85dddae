package page

import (
	"cmp"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	perHost       = 6         // connections to a host, as browsers have them for HTTP/1.1
	maxRedirects  = 20        // of one resource, as in the Fetch standard
	perStream     = 256 << 10 // bytes of a body that HTTP/2 has under way, as one can be read slowly
	perConnection = 2 << 20
	maxBytes      = 64 << 20         // of all bodies of a page together
	dialTimeout   = 30 * time.Second // for name, connection and TLS
	userAgent     = "Mozilla/5.0 (compatible; natrix)"
)

// errRoom is why a body is not read to its end.
var errRoom = fmt.Errorf("the page is larger than %d MiB", maxBytes>>20)

// client fetches the resources of one page: its connections, its cookies, and
// the bytes that are left to it.
type client struct {
	Options
	http *http.Client
	room atomic.Int64
}

func newClient(ctx context.Context, o Options) *client {
	c := &client{Options: o}
	c.room.Store(maxBytes)
	jar, _ := cookiejar.New(nil) // never an error
	transport := &http.Transport{
		// The transport's own context does not end with the load.
		DialContext:         func(_ context.Context, _, address string) (net.Conn, error) { return c.dial(ctx, address) },
		DialTLSContext:      func(_ context.Context, _, address string) (net.Conn, error) { return c.dialTLS(ctx, address) },
		DisableCompression:  true, // sizes are those on the wire
		DisableKeepAlives:   !o.KeepAlive,
		MaxConnsPerHost:     perHost,
		MaxIdleConnsPerHost: perHost,
		Protocols:           new(http.Protocols),
		HTTP2:               &http.HTTP2Config{MaxReceiveBufferPerConnection: perConnection, MaxReceiveBufferPerStream: perStream},
	}
	transport.Protocols.SetHTTP1(true)
	transport.Protocols.SetHTTP2(true)
	c.http = &http.Client{
		Transport:     transport,
		Jar:           jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c
}

// conn is a connection that knows how it came about.
type conn struct {
	net.Conn
	lookupStart, lookupEnd, connectStart, secureStart, connectEnd time.Time

	taken atomic.Bool // by a request: further ones found it ready
}

func (c *client) dial(ctx context.Context, address string) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	made := &conn{lookupStart: time.Now()}
	addrs, err := c.Network.Lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	made.lookupEnd = time.Now()
	made.connectStart = made.lookupEnd
	for i, addr := range addrs {
		var to netip.AddrPort
		if to, err = netip.ParseAddrPort(net.JoinHostPort(addr.String(), port)); err != nil {
			return nil, err
		}
		deadline, _ := ctx.Deadline()
		try, cancel := context.WithTimeout(ctx, time.Until(deadline)/time.Duration(len(addrs)-i))
		made.Conn, err = c.Network.Dial(try, to)
		cancel()
		if err == nil {
			made.connectEnd = time.Now()
			return made, nil
		}
	}
	return nil, err
}

func (c *client) dialTLS(ctx context.Context, address string) (net.Conn, error) {
	made, err := c.dial(ctx, address)
	if err != nil {
		return nil, err
	}
	made.secureStart = made.connectEnd
	host, _, _ := net.SplitHostPort(address)
	secure := tls.Client(made, &tls.Config{
		ServerName: host, RootCAs: c.Roots, InsecureSkipVerify: c.Insecure,
		NextProtos: []string{"h2", "http/1.1"},
	})
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if err := secure.HandshakeContext(ctx); err != nil {
		made.Close()
		return nil, err
	}
	made.connectEnd = time.Now()
	return secure, nil
}

// marks are the times of one fetch.
type marks struct {
	start, redirectStart, redirectEnd, fetch                      time.Time
	lookupStart, lookupEnd, connectStart, secureStart, connectEnd time.Time
	requestStart, responseStart, responseEnd                      time.Time
}

// fetched is one fetch.
type fetched struct {
	mu sync.Mutex // the transport's trace comes from other goroutines
	marks

	last     *url.URL // where redirects led
	status   int
	protocol string
	media    string
	header   int64
	encoded  int64
	decoded  int64
}

// get fetches a URL, follows its redirects, and gives the body to sink.
func (c *client) get(ctx context.Context, u *url.URL, accept string, referer *url.URL, f *fetched, sink func(*http.Response, io.Reader) error) error {
	f.start = time.Now()
	f.last = u
	for hop := 0; ; hop++ {
		next, err := c.once(ctx, f, accept, referer, sink)
		if err != nil || next == nil {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.responseEnd = time.Now()
			return err
		}
		if hop == maxRedirects {
			return fmt.Errorf("more than %d redirects", maxRedirects)
		}
		f.redirected(next)
	}
}

// redirected begins the next request. The time of redirects is told also where
// they lead to another origin, which browsers hide from pages.
func (f *fetched) redirected(to *url.URL) {
	f.mu.Lock()
	defer f.mu.Unlock()
	start := f.redirectStart
	if start.IsZero() {
		start = f.start
	}
	now := time.Now()
	f.marks = marks{start: f.start, redirectStart: start, redirectEnd: now, fetch: now}
	f.last = to
}

// once makes one request; next is where its response redirects to.
func (c *client) once(ctx context.Context, f *fetched, accept string, referer *url.URL, sink func(*http.Response, io.Reader) error) (next *url.URL, err error) {
	f.mu.Lock()
	f.fetch = time.Now()
	f.mu.Unlock()
	request, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, f.trace()), http.MethodGet, f.last.String(), nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("User-Agent", userAgent)
	request.Header.Set("Accept", accept)
	request.Header.Set("Accept-Encoding", "gzip")
	request.Header.Set("Cache-Control", "no-cache")
	if referer != nil {
		request.Header.Set("Referer", referer.String())
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, plain(err)
	}
	defer response.Body.Close()
	f.answered(response)
	if 300 < response.StatusCode && response.StatusCode < 400 {
		if to, err := response.Location(); err == nil {
			io.Copy(io.Discard, c.limit(response.Body, new(int64))) // so that the connection can be used again
			return fetchable(f.last, to.String()), nil
		}
	}
	return nil, c.read(response, f, sink)
}

// plain is what an error says beyond the URL, which the caller knows.
func plain(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}

func (f *fetched) answered(r *http.Response) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status, f.media = r.StatusCode, r.Header.Get("Content-Type")
	f.media, _, _ = strings.Cut(f.media, ";")
	f.protocol = map[int]string{2: "h2"}[r.ProtoMajor]
	f.protocol = cmp.Or(f.protocol, strings.ToLower(r.Proto))
	f.header = int64(len(r.Proto) + len(r.Status) + len("  \r\n\r\n"))
	for name, values := range r.Header {
		for _, v := range values {
			f.header += int64(len(name) + len(v) + len(": \r\n"))
		}
	}
}

// read gives the body, without its content coding, to sink, and counts it.
func (c *client) read(response *http.Response, f *fetched, sink func(*http.Response, io.Reader) error) error {
	body := c.limit(response.Body, &f.encoded)
	if strings.EqualFold(response.Header.Get("Content-Encoding"), "gzip") {
		unzipped, err := gzip.NewReader(body)
		if err != nil {
			return fmt.Errorf("content coding: %w", err)
		}
		body = unzipped
	}
	body = io.TeeReader(body, (*counter)(&f.decoded))
	if err := sink(response, body); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, body)
	return err
}

type counter int64

func (c *counter) Write(b []byte) (int, error) { *c += counter(len(b)); return len(b), nil }

// limit counts what is read, and ends when the page's room does.
func (c *client) limit(r io.Reader, count *int64) io.Reader {
	return readerFunc(func(b []byte) (int, error) {
		n, err := r.Read(b)
		*count += int64(n)
		if c.room.Add(-int64(n)) < 0 {
			return n, errRoom
		}
		return n, err
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

func (f *fetched) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.met(info.Conn)
			f.requestStart = time.Now()
		},
		GotFirstResponseByte: func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.responseStart = time.Now()
		},
	}
}

// met notes how the connection came about: for the first request on it as it
// was, for others as if it had taken no time. What had happened before the
// request was made is not its own.
func (f *fetched) met(used net.Conn) {
	if secure, ok := used.(*tls.Conn); ok {
		used = secure.NetConn()
	}
	made, ok := used.(*conn)
	if !ok || made.taken.Swap(true) || made.connectEnd.Before(f.fetch) {
		f.lookupStart, f.lookupEnd, f.connectStart, f.connectEnd = f.fetch, f.fetch, f.fetch, f.fetch
		return
	}
	f.lookupStart, f.lookupEnd = later(made.lookupStart, f.fetch), later(made.lookupEnd, f.fetch)
	f.connectStart, f.connectEnd = later(made.connectStart, f.fetch), made.connectEnd
	if !made.secureStart.IsZero() {
		f.secureStart = later(made.secureStart, f.fetch)
	}
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// resource is the fetch as times since the beginning of the page load.
func (f *fetched) resource(begin time.Time, initiator string, asked *url.URL, err error) Resource {
	f.mu.Lock()
	defer f.mu.Unlock()
	since := func(t time.Time) time.Duration {
		if t.IsZero() {
			return 0
		}
		return t.Sub(begin)
	}
	r := Resource{
		URL: shown(asked), Initiator: initiator, Status: f.status, Protocol: f.protocol, Type: f.media,
		Start: since(f.start), RedirectStart: since(f.redirectStart), RedirectEnd: since(f.redirectEnd), Fetch: since(f.fetch),
		LookupStart: since(f.lookupStart), LookupEnd: since(f.lookupEnd),
		ConnectStart: since(f.connectStart), SecureStart: since(f.secureStart), ConnectEnd: since(f.connectEnd),
		RequestStart: since(f.requestStart), ResponseStart: since(f.responseStart), ResponseEnd: since(f.responseEnd),
		EncodedSize: f.encoded, DecodedSize: f.decoded, TransferSize: f.header + f.encoded,
	}
	if err != nil {
		r.Err = err.Error()
	}
	return r
}

// shown is a URL as others may see it: without a password.
func shown(u *url.URL) string {
	bare := *u
	bare.User = nil
	return bare.String()
}
