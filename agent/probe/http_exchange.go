package probe

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/icholy/digest"
	"github.com/natrix-os/natrix/agent/command"
)

const userAgent = "natrix"

// exchange is one request and those that its redirects and challenges lead to.
type exchange struct {
	via       path
	servers   []string
	params    HTTPParams
	method    string
	body      string
	tls       *tls.Config
	jar       http.CookieJar
	names     map[string]answer // what was looked up, by name
	challenge *digest.Challenge // what the last origin wants to know; nil until it has asked
	asked     int               // challenges of that origin
	answered  int               // requests that answered the last one
	line      *line             // the connection, if requests share it
}

func newExchange(ctx context.Context, params HTTPParams) (*exchange, error) {
	via, err := pathOf(ctx, params.Interface)
	if err != nil {
		return nil, err
	}
	via.family = params.Family
	servers, err := serverList(params.DNS)
	if err != nil {
		return nil, err
	}
	config, err := tlsConfig(ctx, params)
	if err != nil {
		return nil, err
	}
	if err := validAuth(params); err != nil {
		return nil, err
	}
	return &exchange{
		via: via.asking(servers), servers: servers, params: params, tls: config,
		method: strings.ToUpper(params.Operation), body: params.Body, names: make(map[string]answer),
	}, nil
}

// follow goes from one response to the next until one is not to be followed.
func (e *exchange) follow(ctx context.Context, u *url.URL, r *HTTPResult) error {
	defer e.hangUp()
	e.jar = e.newJar(u)
	first := u
	for {
		trusted := origin(u) == origin(first)
		auth := e.authFor(u, first)
		response, err := e.once(ctx, u, trusted, auth, r)
		if err != nil {
			return err
		}
		e.keepCookies(response, u)
		if e.challenged(response, auth) {
			continue
		}
		next := e.redirect(response)
		if next == nil {
			return nil
		}
		if r.Redirects++; r.Redirects > e.params.MaxRedirects {
			return fmt.Errorf("%w: %d", command.ErrRedirects, r.Redirects-1)
		}
		if next.Scheme != "http" && next.Scheme != "https" {
			return fmt.Errorf("redirect: %w: %s (want http or https)", command.ErrScheme, next.Scheme)
		}
		r.RedirectTime = r.Phases.Total()
		if origin(next) != origin(u) {
			e.challenge, e.asked = nil, 0
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

// once makes one request and reads the response to its end. It is trusted with
// what was meant for the first origin alone.
func (e *exchange) once(ctx context.Context, u *url.URL, trusted bool, auth credential, r *HTTPResult) (*http.Response, error) {
	c := new(clock)
	request, err := e.request(withClock(ctx, c), u, trusted, auth)
	if err != nil {
		return nil, err
	}
	line, err := e.lineFor(ctx, u)
	if err != nil {
		return nil, err
	}
	c.mark(&c.begin)
	response, err := line.RoundTrip(request)
	if err != nil {
		return nil, httpError(ctx, c.read(), err)
	}
	defer response.Body.Close()
	body, n, err := readBody(response, e.params.SaveBody)
	c.mark(&c.end)
	if err != nil {
		return nil, httpError(ctx, c.read(), err)
	}
	m := c.read()
	if m.remote.IsValid() { // else the connection is that of the request before
		r.Remote, r.Local = m.remote, m.local
	}
	r.Phases.add(m.phases())
	r.LastURL, r.Status, r.Proto = shown(u), response.StatusCode, response.Proto
	r.TLS = e.session(response.TLS, u.Hostname(), time.Now())
	r.Upload, r.Download, r.CutOff = int64(len(e.body)), n, n == maxBody
	header := headerText(response)
	r.HeaderSize += len(header)
	if e.params.SaveHeader {
		r.Header = header
	}
	r.Body = body
	return response, nil
}

// headerText is a response's header as HTTP/1.1 writes it.
func headerText(r *http.Response) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s\r\n", r.Proto, r.Status)
	r.Header.Write(&b)
	b.WriteString("\r\n")
	return b.String()
}
