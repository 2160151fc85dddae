package probe

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/miekg/dns"
	"github.com/natrix-os/natrix/agent/command"
)

const (
	// A UDP query is repeated, because one lost packet is no answer about a name server.
	dnsTries = 3
	// The size that gets through everywhere without fragments (DNS flag day 2020).
	dnsPayload = 1232
)

// certificates is whom to believe; nil is the system's choice.
type certificates = *x509.CertPool

// exchange has the query answered: without EDNS if the name server does not
// know it, with its cookie if it insists on one, and by TCP if the answer does
// not fit.
func (q inquiry) exchange(ctx context.Context, server dnsServer, a *DNSAttempt) (*dns.Msg, error) {
	answer, err := q.transfer(ctx, server, q.query, a)
	if err == nil && answer.Rcode == dns.RcodeFormatError && q.query.IsEdns0() != nil {
		plain := q.query.Copy() // RFC 6891, section 6.2.2
		plain.Extra = nil
		answer, err = q.transfer(ctx, server, plain, a)
	}
	if err == nil && answer.Rcode == dns.RcodeBadCookie {
		if again := withCookie(q.query, answer); again != nil { // RFC 7873, section 5.3
			answer, err = q.transfer(ctx, server, again, a)
		}
	}
	if err == nil && answer.Truncated && server.network == "udp" {
		server.network = "tcp"
		return q.transfer(ctx, server, q.query, a)
	}
	return answer, err
}

// transfer sends a query and waits for its answer: by UDP several times, if
// need be.
func (q inquiry) transfer(ctx context.Context, server dnsServer, query *dns.Msg, a *DNSAttempt) (answer *dns.Msg, err error) {
	if server.network != "udp" {
		return q.once(ctx, server, query, a)
	}
	for i := range dnsTries {
		try, cancel := share(ctx, dnsTries-i)
		answer, err = q.once(try, server, query, a)
		cancel()
		if err == nil || !errors.Is(err, command.ErrTimeout) {
			break
		}
	}
	return answer, err
}

// once sends a query once and notes how long the answer took.
func (q inquiry) once(ctx context.Context, server dnsServer, query *dns.Msg, a *DNSAttempt) (*dns.Msg, error) {
	a.Tries++
	a.Network = server.network
	begin := time.Now()
	conn, err := q.connect(ctx, server, a)
	if err != nil {
		return nil, timedOut(ctx, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	if server.network == "udp" {
		begin = time.Now() // nothing has been sent so far
	}
	var answer *dns.Msg
	if server.network == "https" {
		answer, err = post(ctx, conn, server, query)
	} else {
		answer, err = queryOver(ctx, conn, query)
	}
	if err != nil {
		return nil, timedOut(ctx, err)
	}
	a.Time = time.Since(begin)
	return answer, nil
}

// connect dials a name server along the path, and encrypts what is to be.
func (q inquiry) connect(ctx context.Context, server dnsServer, a *DNSAttempt) (net.Conn, error) {
	network := "tcp"
	if server.network == "udp" {
		network = "udp"
	}
	begin := time.Now()
	conn, err := q.via.dial(ctx, network, server.addr.String())
	if err != nil || network == "udp" {
		return conn, err
	}
	connected := time.Now()
	a.Connect, a.TLS = connected.Sub(begin), 0
	if server.network == "tcp" {
		return conn, nil
	}
	protocols := map[string][]string{"tls": {"dot"}, "https": {"h2", "http/1.1"}}[server.network]
	encrypted := tls.Client(conn, &tls.Config{ServerName: server.host, RootCAs: q.roots, NextProtos: protocols})
	if err := encrypted.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("TLS handshake: %w", err)
	}
	a.TLS = time.Since(connected)
	return encrypted, nil
}

// queryOver sends a query on a connection of its own and reads the answer.
func queryOver(ctx context.Context, conn net.Conn, query *dns.Msg) (*dns.Msg, error) {
	client := dns.Client{}
	if deadline, ok := ctx.Deadline(); ok {
		client.Timeout = time.Until(deadline)
	}
	answer, _, err := client.ExchangeWithConnContext(ctx, query, &dns.Conn{Conn: conn})
	return answer, err
}

// mediaType is that of a DNS message (RFC 8484, section 6).
const mediaType = "application/dns-message"

// post sends a query as the body of a request. Its identifier is 0, as caches
// want it (RFC 8484, section 4.1).
func post(ctx context.Context, conn net.Conn, server dnsServer, query *dns.Msg) (*dns.Msg, error) {
	query = query.Copy()
	query.Id = 0
	body, err := query.Pack()
	if err != nil {
		return nil, err
	}
	url := "https://" + net.JoinHostPort(server.host, strconv.Itoa(int(server.port))) + server.path
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", mediaType)
	request.Header.Set("Accept", mediaType)
	request.Header.Set("User-Agent", userAgent)
	transport := &http.Transport{
		ForceAttemptHTTP2: true,
		DialTLSContext:    func(context.Context, string, string) (net.Conn, error) { return conn, nil },
	}
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if kind := response.Header.Get("Content-Type"); response.StatusCode != http.StatusOK || kind != mediaType {
		return nil, fmt.Errorf("HTTP %d with %q, not with a DNS message", response.StatusCode, kind)
	}
	message, err := io.ReadAll(io.LimitReader(response.Body, dns.MaxMsgSize))
	if err != nil {
		return nil, err
	}
	answer := new(dns.Msg)
	if err := answer.Unpack(message); err != nil {
		return nil, err
	}
	return answer, nil
}

// timedOut gives an error its kind: it took too long, or there is nobody there.
func timedOut(ctx context.Context, err error) error {
	var timeout net.Error
	if ctx.Err() != nil || errors.As(err, &timeout) && timeout.Timeout() {
		return command.ErrTimeout
	}
	return fmt.Errorf("%w: %w: %w", command.ErrNoRecord, errServer, err)
}
