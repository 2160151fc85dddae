package page

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const (
	socksVersion = 5
	maxProxied   = 256 // connections at once
	greetTime    = 10 * time.Second
)

// proxy is a SOCKS server on the loopback (RFC 1928, CONNECT without
// authentication) that resolves and dials by the options' network, so that a
// browser's connections leave by a link that it knows nothing of.
type proxy struct {
	client   *client // which dials
	listener net.Listener
	served   sync.WaitGroup
	slots    chan struct{}

	mu     sync.Mutex
	dialed []dialed
}

// dialed is one connection that was made for the browser.
type dialed struct {
	address             string
	resolved, connected time.Time
}

// newProxy serves until ctx ends; close waits for that.
func newProxy(ctx context.Context, o Options) (*proxy, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	p := &proxy{client: &client{Options: o}, listener: l, slots: make(chan struct{}, maxProxied)}
	context.AfterFunc(ctx, func() { l.Close() })
	p.served.Go(func() {
		defer cancel()
		p.accept(ctx)
	})
	return p, nil
}

func (p *proxy) port() int { return p.listener.Addr().(*net.TCPAddr).Port }

func (p *proxy) close() {
	p.listener.Close()
	p.served.Wait()
}

func (p *proxy) accept(ctx context.Context) {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return
		}
		select {
		case p.slots <- struct{}{}:
		default:
			conn.Close() // a browser has fewer
			continue
		}
		p.served.Go(func() {
			defer func() { <-p.slots }()
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { conn.Close() })()
			p.serve(ctx, conn)
		})
	}
}

// serve answers one connection of the browser. What goes wrong there shows in
// the browser.
func (p *proxy) serve(ctx context.Context, conn net.Conn) {
	conn.SetDeadline(time.Now().Add(greetTime))
	address, err := greet(conn)
	if err != nil {
		return
	}
	conn.SetDeadline(time.Time{})
	far, err := p.client.dial(ctx, address)
	if err != nil {
		conn.Write(refusal(err))
		return
	}
	defer far.Close()
	defer context.AfterFunc(ctx, func() { far.Close() })()
	p.mu.Lock()
	if len(p.dialed) < maxSeen {
		p.dialed = append(p.dialed, dialed{address, far.lookupEnd, far.connectEnd})
	}
	p.mu.Unlock()
	if _, err := conn.Write(socksReply(0)); err != nil {
		return
	}
	var back sync.WaitGroup
	back.Go(func() {
		io.Copy(conn, far.Conn)
		hangUp(conn)
	})
	io.Copy(far.Conn, conn)
	hangUp(far.Conn)
	back.Wait()
}

// hangUp ends one direction; the other may go on.
func hangUp(conn net.Conn) {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
		return
	}
	conn.Close()
}

// greet reads the greeting and the request (RFC 1928, sections 3 and 4), and
// is the address that is asked for.
func greet(conn io.ReadWriter) (string, error) {
	b := make([]byte, 256)
	if _, err := io.ReadFull(conn, b[:2]); err != nil {
		return "", err
	}
	if b[0] != socksVersion {
		return "", errors.New("not SOCKS 5")
	}
	if _, err := io.ReadFull(conn, b[:b[1]]); err != nil {
		return "", err
	}
	if _, err := conn.Write([]byte{socksVersion, 0}); err != nil {
		return "", err
	}
	if _, err := io.ReadFull(conn, b[:4]); err != nil {
		return "", err
	}
	if b[0] != socksVersion || b[1] != 1 {
		conn.Write(socksReply(7))
		return "", errors.New("not CONNECT")
	}
	host, err := socksHost(conn, b[3], b)
	if err != nil {
		return "", err
	}
	if _, err := io.ReadFull(conn, b[:2]); err != nil {
		return "", err
	}
	return net.JoinHostPort(host, strconv.Itoa(int(binary.BigEndian.Uint16(b)))), nil
}

// socksHost reads an address of a type (section 5).
func socksHost(r io.Reader, kind byte, b []byte) (string, error) {
	switch kind {
	case 1:
		b = b[:4]
	case 4:
		b = b[:16]
	case 3:
		if _, err := io.ReadFull(r, b[:1]); err != nil {
			return "", err
		}
		b = b[:b[0]]
		_, err := io.ReadFull(r, b)
		return string(b), err
	default:
		return "", errors.New("unknown type of address")
	}
	if _, err := io.ReadFull(r, b); err != nil {
		return "", err
	}
	addr, _ := netip.AddrFromSlice(b)
	return addr.Unmap().String(), nil
}

// socksReply tells the outcome (section 6); the address bound to means nothing
// to the browser.
func socksReply(code byte) []byte { return []byte{socksVersion, code, 0, 1, 0, 0, 0, 0, 0, 0} }

// refusal is the reply for a connection that could not be made: names that are
// not known and hosts that do not answer are all "host unreachable" but those
// that refuse.
func refusal(err error) []byte {
	if errors.Is(err, syscall.ECONNREFUSED) {
		return socksReply(5)
	}
	return socksReply(4)
}

// tell puts the lookups that the proxy made for the browser where the browser
// saw a connection being made that took so long.
func (p *proxy) tell(l *Load) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.split(&l.Document, l.Begin)
	for i := range l.Resources {
		p.split(&l.Resources[i], l.Begin)
	}
}

func (p *proxy) split(r *Resource, begin time.Time) {
	const slack = 2 * time.Millisecond // between the clocks of browser and proxy
	end := r.ConnectEnd
	if r.SecureStart > 0 {
		end = r.SecureStart
	}
	u, err := url.Parse(r.URL)
	if err != nil || r.ConnectStart == 0 {
		return
	}
	for _, d := range p.dialed {
		connected := d.connected.Sub(begin)
		if d.address != hostPort(u) || connected <= r.ConnectStart || connected > end+slack {
			continue
		}
		r.LookupStart = r.ConnectStart // or before: browsers connect ahead of need
		r.LookupEnd = min(max(d.resolved.Sub(begin), r.ConnectStart), end)
		r.ConnectStart = r.LookupEnd
		return
	}
}

// hostPort is what connections for a URL are made to.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}
