package probe

import (
	"context"
	"crypto/tls"
	"net"
	"net/http/httptrace"
	"net/netip"
	"sync"
	"time"
)

// Phases are libcurl's, each from the end of the one before: together they are
// the whole time. What a connection that is used again does not need takes no time.
type Phases struct {
	Lookup   time.Duration // of the name
	Connect  time.Duration // TCP, or to the first packet of a QUIC server
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

// clock notes when the phases of one request began and ended, and whom it was
// with. Transports dial in goroutines of their own, which can outlast the request.
type clock struct {
	mu sync.Mutex
	marks
}

type marks struct {
	begin, resolved, dialled, connected, secured, ready, first, end time.Time

	remote, local netip.AddrPort
}

type clockKey struct{}

// withClock is a context for a request that the clock is to time.
func withClock(ctx context.Context, c *clock) context.Context {
	return context.WithValue(httptrace.WithClientTrace(ctx, c.trace()), clockKey{}, c)
}

// clockOf is the clock of a request's context.
func clockOf(ctx context.Context) *clock { return ctx.Value(clockKey{}).(*clock) }

// mark sets a time to now.
func (c *clock) mark(t *time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*t = time.Now()
}

// once sets a time to now if it has not been set yet.
func (c *clock) once(t *time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.IsZero() {
		*t = time.Now()
	}
}

// met notes the two ends of a connection.
func (c *clock) met(conn interface {
	LocalAddr() net.Addr
	RemoteAddr() net.Addr
}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remote, c.local = addrPort(conn.RemoteAddr()), addrPort(conn.LocalAddr())
}

func addrPort(a net.Addr) netip.AddrPort {
	return a.(interface{ AddrPort() netip.AddrPort }).AddrPort()
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
		GotFirstResponseByte: func() { c.once(&c.first) },
	}
}

func (m marks) phases() Phases {
	p := Phases{Response: m.first.Sub(m.ready), Transfer: m.end.Sub(m.first)}
	if m.connected.IsZero() {
		p.Request = m.ready.Sub(m.begin)
		return p
	}
	p.Lookup, p.Connect, p.Request = m.resolved.Sub(m.begin), m.connected.Sub(m.dialled), m.ready.Sub(m.connected)
	if !m.secured.IsZero() {
		p.TLS, p.Request = m.secured.Sub(m.connected), m.ready.Sub(m.secured)
	}
	return p
}
