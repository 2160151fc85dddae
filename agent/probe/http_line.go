package probe

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/natrix-os/natrix/agent/command"
)

// line carries requests: a connection of one protocol version, made when the
// first request needs it.
type line struct {
	http.RoundTripper
	close func()
}

// lineFor is the line for the next request: that of the last one if requests
// are to share it, or a new one.
func (e *exchange) lineFor(ctx context.Context, u *url.URL) (*line, error) {
	if e.line != nil && !e.params.FreshConnect {
		return e.line, nil
	}
	e.hangUp()
	switch {
	case e.params.Version == "1.0":
		e.line = e.lineHTTP10(ctx)
	case e.params.Version == "3" && u.Scheme != "https":
		return nil, fmt.Errorf("%w: HTTP/3 is for https alone", command.ErrURL)
	case e.params.Version == "3":
		e.line = e.lineHTTP3(ctx)
	default:
		e.line = e.lineTCP(ctx)
	}
	return e.line, nil
}

// hangUp ends the line, if there is one.
func (e *exchange) hangUp() {
	if e.line != nil {
		e.line.close()
		e.line = nil
	}
}

// lineTCP is HTTP/1.1 and HTTP/2. The context is that of the command: the one
// that the transport dials with does not end with the request.
func (e *exchange) lineTCP(ctx context.Context) *line {
	t := &http.Transport{
		DisableCompression:  true, // sizes are those on the wire
		TLSHandshakeTimeout: e.params.ConnectTimeout,
		TLSClientConfig:     e.tls.Clone(),
		Protocols:           new(http.Protocols),
		DialContext: func(request context.Context, _, address string) (net.Conn, error) {
			return e.dial(ctx, clockOf(request), address)
		},
	}
	t.Protocols.SetHTTP1(e.params.Version != "2")
	t.Protocols.SetHTTP2(e.params.Version != "1.1")
	t.Protocols.SetUnencryptedHTTP2(e.params.Version == "2") // RFC 9113, section 3.3
	return &line{t, t.CloseIdleConnections}
}

// dial connects over TCP to the first address of a host that answers.
func (e *exchange) dial(ctx context.Context, c *clock, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, e.params.ConnectTimeout)
	defer cancel()
	var conn net.Conn
	err := e.reach(ctx, c, address, func(ctx context.Context, via path, at string) (err error) {
		conn, err = via.dial(ctx, "tcp", at)
		return err
	})
	if err != nil {
		return nil, err
	}
	c.mark(&c.connected)
	c.met(conn)
	return conn, nil
}

// reach tries the addresses of a host, one after the other, until one answers.
func (e *exchange) reach(ctx context.Context, c *clock, address string, try func(ctx context.Context, via path, at string) error) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%w: %w", command.ErrURL, err)
	}
	c.mark(&c.begin)
	addrs, err := e.addresses(ctx, host, port)
	if err != nil {
		return err
	}
	c.mark(&c.resolved)
	via := e.via.knowing(addrs...)
	c.mark(&c.dialled)
	for i, addr := range addrs {
		ctx, cancel := share(ctx, len(addrs)-i)
		err = try(ctx, via, net.JoinHostPort(addr.String(), port))
		cancel()
		if err == nil {
			return nil
		}
	}
	return fmt.Errorf("%w: %w", command.ErrConnect, err)
}

// answer is what the name servers said of a name.
type answer struct {
	addrs []netip.Addr
	at    time.Time
}

// addresses are those of a host: as the parameters pin them, as the command has
// already looked them up, or as the name servers say.
func (e *exchange) addresses(ctx context.Context, host, port string) ([]netip.Addr, error) {
	if pinned := e.params.Resolve[strings.ToLower(net.JoinHostPort(host, port))]; len(pinned) > 0 {
		return pinned, nil
	}
	if known, found := e.names[host]; found && time.Since(known.at) < e.params.DNSCache {
		return known.addrs, nil
	}
	addrs, err := e.via.lookup(ctx, host, e.servers)
	if err == nil {
		e.names[host] = answer{addrs, time.Now()}
	}
	return addrs, err
}

// Pins are addresses by host:port, in place of what name servers say: given as
// host:port:address,address, several of them apart by blanks.
type Pins map[string][]netip.Addr

// String is empty: a default has no pins.
func (p *Pins) String() string { return "" }

// Type names the syntax in the help.
func (p *Pins) Type() string { return "pin" }

// Set adds pins.
func (p *Pins) Set(s string) error {
	if *p == nil {
		*p = make(Pins)
	}
	for one := range strings.FieldsSeq(s) {
		part := strings.SplitN(one, ":", 3)
		if len(part) != 3 {
			return fmt.Errorf("%q is not of the form host:port:address", one)
		}
		host, err := ascii(part[0])
		if err != nil {
			return err
		}
		at := net.JoinHostPort(host, part[1])
		for text := range strings.SplitSeq(part[2], ",") {
			addr, err := netip.ParseAddr(strings.Trim(text, "[]"))
			if err != nil {
				return fmt.Errorf("%q: %q is not an address", one, text)
			}
			(*p)[at] = append((*p)[at], addr)
		}
	}
	return nil
}

// tlsFor is the TLS configuration for a host.
func (e *exchange) tlsFor(host string) *tls.Config {
	config := e.tls.Clone()
	config.ServerName = host
	return config
}
