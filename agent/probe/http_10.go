package probe

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"time"

	"github.com/natrix-os/natrix/agent/command"
)

// lineHTTP10 is HTTP/1.0 (RFC 1945), of which net/http has the reading half: a
// connection is for one request and ends with the response.
func (e *exchange) lineHTTP10(ctx context.Context) *line {
	var conn net.Conn
	hangUp := func() {
		if conn != nil {
			conn.Close()
			conn = nil
		}
	}
	roundTrip := func(request *http.Request) (*http.Response, error) {
		hangUp()
		opened, err := e.open(ctx, request)
		if err != nil {
			return nil, err
		}
		conn = opened
		// Not closed, which would tell a server over TLS to come to an end, and
		// what it then says would be a response in time.
		stop := context.AfterFunc(ctx, func() { opened.SetDeadline(time.Unix(1, 0)) })
		response, err := converse(conn, request)
		if err != nil {
			stop()
			return nil, err
		}
		response.Body = &ending{response.Body, stop}
		if secure, ok := conn.(*tls.Conn); ok {
			state := secure.ConnectionState()
			response.TLS = &state
		}
		return response, nil
	}
	return &line{roundTripper(roundTrip), hangUp}
}

// roundTripper is a function that does what its name says.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// ending is a body that calls a function when it is closed.
type ending struct {
	io.ReadCloser
	stop func() bool
}

func (e *ending) Close() error {
	e.stop()
	return e.ReadCloser.Close()
}

// open connects to the server of a request, with TLS if its scheme says so.
func (e *exchange) open(ctx context.Context, request *http.Request) (net.Conn, error) {
	u := request.URL
	conn, err := e.dial(ctx, clockOf(request.Context()), hostPort(u))
	if err != nil || u.Scheme != "https" {
		return conn, err
	}
	ctx, cancel := context.WithTimeout(ctx, e.params.ConnectTimeout)
	defer cancel()
	secure := tls.Client(conn, e.tlsFor(u.Hostname()))
	err = secure.HandshakeContext(ctx)
	httptrace.ContextClientTrace(request.Context()).TLSHandshakeDone(secure.ConnectionState(), err)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return secure, nil
}

// hostPort is where the server of a URL listens.
func hostPort(u *url.URL) string {
	_, at, _ := strings.Cut(origin(u), "://")
	return at
}

// converse sends a request and reads the response's header.
func converse(conn net.Conn, request *http.Request) (*http.Response, error) {
	trace := httptrace.ContextClientTrace(request.Context())
	trace.GotConn(httptrace.GotConnInfo{Conn: conn})
	message, err := http10(request)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write(message); err != nil {
		return nil, fmt.Errorf("%w: %w", command.ErrSend, err)
	}
	r := bufio.NewReader(conn)
	if _, err := r.Peek(1); err != nil {
		return nil, err
	}
	trace.GotFirstResponseByte()
	return http.ReadResponse(r, request)
}

// http10 is a request as it is sent. It names the host, which is newer than the
// protocol but which no server does without.
func http10(request *http.Request) ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.0\r\nHost: %s\r\n", request.Method, request.URL.RequestURI(), request.Host)
	header := request.Header.Clone()
	header.Del("Host")
	header.Del("Content-Length")
	if request.ContentLength > 0 || request.Method == http.MethodPost || request.Method == http.MethodPut {
		header.Set("Content-Length", fmt.Sprint(request.ContentLength))
	}
	header.Write(&b)
	b.WriteString("\r\n")
	if request.Body == nil {
		return b.Bytes(), nil
	}
	_, err := io.Copy(&b, request.Body)
	return b.Bytes(), err
}
