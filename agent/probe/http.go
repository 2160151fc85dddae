package probe

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/natrix-os/natrix/agent/command"
	"github.com/natrix-os/natrix/agent/location"
	"golang.org/x/net/http/httpguts"
)

var httpInfo = command.Info{
	Name:       "http",
	Summary:    "One HTTP request, phase by phase",
	Positional: "operation",
	Weight:     2,
	Example: "natrix http get https://www.example.com/\n" +
		`natrix http -u guest:guest -H "content-type: application/json" -D '{"a":1}' put http://192.0.2.1/api`,
}

const (
	userAgent = "natrix"
	maxBody   = 64 << 20  // bytes read of one body: a test is not a download
	maxKept   = 256 << 10 // bytes of a body that are kept in the result
)

// HTTPParams are the parameters of a request.
type HTTPParams struct {
	Interface      string // link to send from, by name or by one of its addresses; "" is by route
	Operation      string // method: get, post, put, delete, head, patch or options
	Timeout        time.Duration
	ConnectTimeout time.Duration
	Redirects      bool // follow them
	MaxRedirects   int
	AuthType       string // basic
	AuthUser       string // user:password; "" is what the URL says, user:password@host
	Header         Header // more header fields
	Body           string
	DNS            string // name servers, separated by commas; "" is the system's
	Version        string // "1.1", "2" (also without TLS), or "" for what the server agrees to
	SaveHeader     bool   // keep the response's header in the result
	SaveBody       bool   // keep the first 256 KiB of the response's body in the result
}

// DefaultHTTP has the original's limits.
func DefaultHTTP() HTTPParams {
	return HTTPParams{Operation: "get", Timeout: 180 * time.Second, ConnectTimeout: 60 * time.Second, Redirects: true, MaxRedirects: 30, AuthType: "basic"}
}

// Flags declares the parameters for all doors. Some of the original's options
// set what is always so here: each request has a connection and a lookup of its own.
func (p *HTTPParams) Flags(f *command.Flags) {
	var ignored string
	f.Custom((*operationValue)(&p.Operation), "operation", "", "get, post, put, delete, head, patch or options")
	f.Text(&p.Interface, "interface", "i", "link to send from: its name, or one of its addresses")
	f.Seconds(&p.Timeout, "timeout", "t", "for everything together, in seconds")
	f.Seconds(&p.ConnectTimeout, "connect-timeout", "", "for name, connection and TLS, in seconds")
	f.Switch(&p.Redirects, "allow-redirects", "R", "follow redirects")
	f.Int(&p.MaxRedirects, "max-redirects", "r", "give up after so many", 0, 100)
	f.Custom((*authValue)(&p.AuthType), "auth-type", "a", "basic")
	f.Text(&p.AuthUser, "auth-user", "u", "user:password; default: what the URL says")
	f.Custom(&p.Header, "http-header", "H", `"Name: value", or a JSON object of several; may be repeated`)
	f.Text(&p.Body, "http-body", "D", "body to send")
	f.Text(&p.Body, "data", "d", "the same, as curl has it")
	f.Text(&p.DNS, "dns-servers", "", "name servers to resolve with, separated by commas")
	f.Custom((*versionValue)(&p.Version), "http-version", "", "1.1 or 2; default: what the server agrees to", "prototol")
	f.Switch(&p.SaveHeader, "save-response-header", "", "keep the response's header")
	f.Switch(&p.SaveBody, "save-response-body", "", "keep the response's body, at most 256 KiB of it")
	f.Text(&ignored, "dns-cache-timeout", "", "accepted; names are looked up for each request")
	f.Text(&ignored, "fresh-connect", "", "accepted; each request has its own connection")
	f.Lookup("fresh-connect").NoOptDefVal = "true"
	f.Hide("operation", "data", "dns-cache-timeout", "fresh-connect")
}

type operationValue string

func (v *operationValue) String() string { return string(*v) }
func (v *operationValue) Type() string   { return "method" }

func (v *operationValue) Set(s string) error {
	switch s = strings.ToLower(s); s {
	case "get", "post", "put", "delete", "head", "patch", "options":
		*v = operationValue(s)
		return nil
	}
	return fmt.Errorf("%q is not get, post, put, delete, head, patch or options", s)
}

type authValue string

func (v *authValue) String() string { return string(*v) }
func (v *authValue) Type() string   { return "type" }

func (v *authValue) Set(s string) error {
	if s = strings.ToLower(s); s != "basic" && s != "basic_auth" {
		return fmt.Errorf("%q is not basic", s)
	}
	*v = "basic"
	return nil
}

type versionValue string

func (v *versionValue) String() string { return string(*v) }
func (v *versionValue) Type() string   { return "version" }

func (v *versionValue) Set(s string) error {
	switch strings.TrimLeft(strings.ToUpper(s), "HTP/ ") {
	case "1.1":
		*v = "1.1"
	case "2", "2.0":
		*v = "2"
	default:
		return fmt.Errorf("%q is not 1.1 or 2", s)
	}
	return nil
}

// Header is header fields as they are given: repeated "Name: value", lines of
// them, or a JSON object.
type Header struct{ http.Header }

// String is empty: a default has no fields.
func (h *Header) String() string { return "" }

// Type names the syntax in the help.
func (h *Header) Type() string { return "header" }

// Set adds fields.
func (h *Header) Set(s string) error {
	if h.Header == nil {
		h.Header = make(http.Header)
	}
	if strings.HasPrefix(strings.TrimSpace(s), "{") {
		return h.setJSON(s)
	}
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		name, value, found := strings.Cut(line, ":")
		if !found {
			return fmt.Errorf("header field %q is not of the form Name: value", line)
		}
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if err := validField(name, value); err != nil {
			return err
		}
		h.Header.Add(name, value)
	}
	return nil
}

// setJSON takes the members of an object that have a text: numbers as they are
// written, and null as if it were not there.
func (h *Header) setJSON(s string) error {
	var fields map[string]any
	d := json.NewDecoder(strings.NewReader(s))
	d.UseNumber()
	if err := d.Decode(&fields); err != nil {
		return fmt.Errorf("header is not a JSON object: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("header is more than one JSON object")
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		switch fields[name].(type) {
		case nil:
			continue
		case map[string]any, []any:
			return fmt.Errorf("header field %q is neither text nor a number", name)
		}
		value := fmt.Sprint(fields[name])
		if err := validField(name, value); err != nil {
			return err
		}
		h.Header.Set(name, value)
	}
	return nil
}

// validField refuses what would break the request apart (RFC 9110, section 5).
// The value is not repeated: it can be a secret.
func validField(name, value string) error {
	if !httpguts.ValidHeaderFieldName(name) {
		return fmt.Errorf("%q cannot be the name of a header field", name)
	}
	if !httpguts.ValidHeaderFieldValue(value) || strings.EqualFold(name, "host") && !httpguts.ValidHostHeader(value) {
		return fmt.Errorf("header field %s has a value that cannot be sent", name)
	}
	return nil
}

// HTTPResult is what a request, with its redirects, came to. Any status is a
// result.
type HTTPResult struct {
	URL, LastURL   string
	Status         int
	Proto          string // of the response: HTTP/1.1, HTTP/2.0
	Redirects      int
	RedirectTime   time.Duration // from the beginning until the last request began
	Remote, Local  netip.AddrPort
	RemoteLocation location.Location
	LocalLocation  location.Location
	Phases         Phases // of all requests together
	HeaderSize     int    // bytes of the last response's header
	Upload         int64  // bytes of body sent
	Download       int64  // bytes of body received with the last response, which is read up to 64 MiB
	TLS            *tls.ConnectionState
	Header         string // of the last response; "" if it was not asked for
	Body           []byte // likewise, at most 256 KiB
}

// Phases are libcurl's, each from the end of the one before: together they are
// the whole time.
type Phases struct {
	Lookup   time.Duration // of the name
	Connect  time.Duration // TCP
	TLS      time.Duration // 0 without
	Request  time.Duration // until the request could be sent
	Response time.Duration // until the first byte came
	Transfer time.Duration // until the last one did
}

// Total is all phases together.
func (p Phases) Total() time.Duration {
	return p.Lookup + p.Connect + p.TLS + p.Request + p.Response + p.Transfer
}

func (p *Phases) add(q Phases) {
	p.Lookup += q.Lookup
	p.Connect += q.Connect
	p.TLS += q.TLS
	p.Request += q.Request
	p.Response += q.Response
	p.Transfer += q.Transfer
}

// HTTP makes a request and follows its redirects if it may.
func (p *Prober) HTTP(ctx context.Context, destination string, params HTTPParams) (*HTTPResult, error) {
	u, err := webURL(destination)
	if err != nil {
		return nil, err
	}
	via, err := pathOf(ctx, params.Interface)
	if err != nil {
		return nil, err
	}
	servers, err := serverList(params.DNS)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, params.Timeout)
	defer cancel()
	e := &exchange{via: via, servers: servers, params: params, method: strings.ToUpper(params.Operation), body: params.Body}
	r := &HTTPResult{URL: shown(u)}
	if err := e.follow(ctx, u, r); err != nil {
		return nil, fmt.Errorf("%s %s: %w", e.method, shown(u), err)
	}
	r.RemoteLocation, r.LocalLocation = p.Locations.Of(r.Remote.Addr()), p.Locations.Of(r.Local.Addr())
	return r, nil
}

// exchange is one request and those that its redirects lead to.
type exchange struct {
	via     path
	servers []string
	params  HTTPParams
	method  string
	body    string
	roots   *x509.CertPool // whom to believe; nil is the system's
}

// follow goes from one response to the next until one is not to be followed.
func (e *exchange) follow(ctx context.Context, u *url.URL, r *HTTPResult) error {
	e.via = e.via.asking(e.servers)
	first := origin(u)
	e.params.AuthUser = cmp.Or(e.params.AuthUser, credentials(u))
	for {
		r.RedirectTime = r.Phases.Total()
		response, err := e.once(ctx, u, origin(u) == first, r)
		if err != nil {
			return err
		}
		next := e.redirect(response)
		if next == nil {
			return nil
		}
		if r.Redirects++; r.Redirects > e.params.MaxRedirects {
			return fmt.Errorf("%w: %d", command.ErrRedirects, r.Redirects-1)
		}
		if next.Scheme != "http" && next.Scheme != "https" {
			return fmt.Errorf("redirect to %s: %w", next.Scheme, command.ErrUnsupported)
		}
		u = next
	}
}

// origin is whom a URL speaks to (RFC 6454, section 4).
func origin(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return u.Scheme + "://" + net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

// redirect is where a response leads, nil if it is not to be followed. As with
// libcurl a POST becomes a GET unless the status forbids it, and other methods stay.
func (e *exchange) redirect(response *http.Response) *url.URL {
	switch response.StatusCode {
	case 301, 302, 303, 307, 308:
	default:
		return nil
	}
	next, err := response.Location()
	if err != nil || !e.params.Redirects {
		return nil
	}
	if e.method == http.MethodPost && response.StatusCode < 307 {
		e.method, e.body = http.MethodGet, ""
	}
	return next
}

// once makes one request on a connection of its own and reads the response to
// its end. It is trusted with what was meant for the first origin alone.
func (e *exchange) once(ctx context.Context, u *url.URL, trusted bool, r *HTTPResult) (*http.Response, error) {
	c := new(clock)
	transport := e.transport(ctx, c)
	defer transport.CloseIdleConnections()
	request, err := e.request(httptrace.WithClientTrace(ctx, c.trace()), u, trusted)
	if err != nil {
		return nil, err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil, httpError(ctx, c.read(), err)
	}
	defer response.Body.Close()
	kept := new(limited)
	if e.params.SaveBody {
		kept.room = maxKept
	}
	n, err := io.Copy(kept, io.LimitReader(response.Body, maxBody))
	c.mark(&c.end)
	if err != nil {
		return nil, httpError(ctx, c.read(), err)
	}
	m := c.read()
	r.Phases.add(m.phases())
	r.LastURL, r.Status, r.Proto, r.TLS = shown(u), response.StatusCode, response.Proto, response.TLS
	r.Remote, r.Local = m.remote, m.local
	r.Upload, r.Download = int64(len(e.body)), n
	header := headerText(response)
	r.HeaderSize = len(header)
	if e.params.SaveHeader {
		r.Header = header
	}
	r.Body = kept.buf.Bytes()
	return response, nil
}

// limited keeps what fits and takes everything. The buffer is a field with a
// name: its ReadFrom would have io.Copy go round Write.
type limited struct {
	buf  bytes.Buffer
	room int // bytes that still fit
}

func (l *limited) Write(b []byte) (int, error) {
	n, err := l.buf.Write(b[:min(len(b), l.room)])
	l.room -= n
	return len(b), err
}

func (e *exchange) request(ctx context.Context, u *url.URL, trusted bool) (*http.Request, error) {
	if u.Path == "" {
		u.Path = "/"
	}
	request, err := http.NewRequestWithContext(ctx, e.method, withoutUser(u).String(), strings.NewReader(e.body))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", command.ErrURL, err)
	}
	if e.body == "" {
		request.Body, request.ContentLength = nil, 0
	} else {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded") // as libcurl does
	}
	request.Header.Set("User-Agent", userAgent)
	for name, values := range e.params.Header.Header {
		if !trusted && private(name) {
			continue
		}
		request.Header[http.CanonicalHeaderKey(name)] = values
		if strings.EqualFold(name, "host") {
			request.Host = values[0]
		}
	}
	auth := credentials(u)
	if trusted {
		auth = cmp.Or(e.params.AuthUser, auth)
	}
	if auth != "" {
		request.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(auth)))
	}
	return request, nil
}

// private tells the fields that libcurl, too, keeps from where redirects lead.
func private(name string) bool {
	return slices.Contains([]string{"Authorization", "Cookie", "Host"}, http.CanonicalHeaderKey(name))
}

// transport has one connection, made along the path with its phases timed. The
// context is that of the command: the transport's own does not end with it.
func (e *exchange) transport(ctx context.Context, c *clock) *http.Transport {
	t := &http.Transport{
		DisableCompression:  true, // sizes are those on the wire
		TLSHandshakeTimeout: e.params.ConnectTimeout,
		TLSClientConfig:     &tls.Config{RootCAs: e.roots},
		Protocols:           new(http.Protocols),
		DialContext: func(_ context.Context, _, address string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, e.params.ConnectTimeout)
			defer cancel()
			return e.dial(ctx, c, address)
		},
	}
	t.Protocols.SetHTTP1(e.params.Version != "2")
	t.Protocols.SetHTTP2(e.params.Version != "1.1")
	t.Protocols.SetUnencryptedHTTP2(e.params.Version == "2") // RFC 9113, section 3.3
	return t
}

// dial resolves a name and connects to the first of its addresses that answers.
func (e *exchange) dial(ctx context.Context, c *clock, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", command.ErrURL, err)
	}
	c.mark(&c.begin)
	addrs, err := e.via.lookup(ctx, host, e.servers)
	if err != nil {
		return nil, err
	}
	c.mark(&c.resolved)
	via := e.via.knowing(addrs...)
	c.mark(&c.dialled)
	for i, addr := range addrs {
		try, cancel := share(ctx, len(addrs)-i)
		var conn net.Conn
		conn, err = via.dial(try, "tcp", net.JoinHostPort(addr.String(), port))
		cancel()
		if err == nil {
			c.met(conn)
			return conn, nil
		}
	}
	return nil, fmt.Errorf("%w: %w", command.ErrConnect, err)
}

// clock notes when the phases of one request began and ended, and whom it was with. The
// transport dials in a goroutine of its own, which can outlast the request.
type clock struct {
	mu sync.Mutex
	marks
}

type marks struct {
	begin, resolved, dialled, connected, secured, ready, first, end time.Time

	remote, local netip.AddrPort
}

// mark sets a time to now.
func (c *clock) mark(t *time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*t = time.Now()
}

func (c *clock) met(conn net.Conn) {
	c.mark(&c.connected)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remote = conn.RemoteAddr().(*net.TCPAddr).AddrPort()
	c.local = conn.LocalAddr().(*net.TCPAddr).AddrPort()
}

func (c *clock) read() marks {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.marks
}

func (c *clock) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		TLSHandshakeDone:     func(tls.ConnectionState, error) { c.mark(&c.secured) },
		GotConn:              func(httptrace.GotConnInfo) { c.mark(&c.ready) },
		GotFirstResponseByte: func() { c.mark(&c.first) },
	}
}

func (m marks) phases() Phases {
	p := Phases{Lookup: m.resolved.Sub(m.begin), Connect: m.connected.Sub(m.dialled), Response: m.first.Sub(m.ready), Transfer: m.end.Sub(m.first)}
	if m.secured.IsZero() {
		p.Request = m.ready.Sub(m.connected)
	} else {
		p.TLS, p.Request = m.secured.Sub(m.connected), m.ready.Sub(m.secured)
	}
	return p
}

// httpError gives an error of a request its kind.
func httpError(ctx context.Context, m marks, err error) error {
	var certificate *tls.CertificateVerificationError
	var alert tls.AlertError
	var record tls.RecordHeaderError
	var timeout net.Error
	kind := command.ErrReceive
	switch {
	case errors.Is(err, command.ErrResolve):
		return err
	case ctx.Err() != nil, errors.As(err, &timeout) && timeout.Timeout():
		kind = command.ErrTimeout
	case errors.Is(err, command.ErrConnect), errors.Is(err, command.ErrURL):
		return err
	case errors.As(err, &certificate):
		kind = command.ErrCertificate
	case errors.As(err, &alert), errors.As(err, &record), !m.connected.IsZero() && m.ready.IsZero():
		kind = command.ErrTLS
	case errors.Is(err, io.ErrUnexpectedEOF):
		kind = command.ErrPartial
	case m.first.IsZero() && (errors.Is(err, io.EOF) || strings.Contains(err.Error(), "server closed")):
		kind = command.ErrEmptyReply
	case strings.Contains(err.Error(), "malformed"):
		kind = command.ErrWeirdReply
	}
	return fmt.Errorf("%w: %w", kind, err)
}

// headerText is a response's header as HTTP/1.1 writes it.
func headerText(r *http.Response) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s\r\n", r.Proto, r.Status)
	r.Header.Write(&b)
	b.WriteString("\r\n")
	return b.String()
}
