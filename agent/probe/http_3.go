package probe

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// lineHTTP3 is HTTP/3 (RFC 9114). Its connection counts as made with the first
// packet of the server and as secured at the end of the handshake, as with libcurl.
func (e *exchange) lineHTTP3(ctx context.Context) *line {
	var (
		mu      sync.Mutex
		sockets []*quicSocket
	)
	t := &http3.Transport{
		DisableCompression: true,
		TLSClientConfig:    e.tls.Clone(),
		QUICConfig: &quic.Config{
			HandshakeIdleTimeout: e.params.ConnectTimeout,
			MaxIdleTimeout:       e.params.Timeout,
			KeepAlivePeriod:      10 * time.Second, // a server that thinks for long is not idle
		},
		Dial: func(request context.Context, address string, config *tls.Config, settings *quic.Config) (*quic.Conn, error) {
			s, err := e.dialQUIC(ctx, clockOf(request), address, config, settings)
			if err != nil {
				return nil, err
			}
			mu.Lock()
			defer mu.Unlock()
			sockets = append(sockets, s)
			return s.session, nil
		},
	}
	return &line{t, func() {
		t.Close() // waits for what is being dialled
		mu.Lock()
		defer mu.Unlock()
		for _, s := range sockets {
			s.close()
		}
	}}
}

// dialQUIC makes a connection with the first address of a host that answers.
func (e *exchange) dialQUIC(ctx context.Context, c *clock, address string, config *tls.Config, settings *quic.Config) (*quicSocket, error) {
	ctx, cancel := context.WithTimeout(ctx, e.params.ConnectTimeout)
	defer cancel()
	var s *quicSocket
	err := e.reach(ctx, c, address, func(ctx context.Context, via path, at string) error {
		conn, err := via.dial(ctx, "udp", at)
		if err != nil {
			return err
		}
		s, err = shake(ctx, c, conn.(*net.UDPConn), config, settings)
		return err
	})
	if err != nil {
		return nil, err
	}
	c.mark(&c.secured)
	c.met(s.transport.Conn.(*dialledUDP))
	return s, nil
}

// quicSocket is a QUIC connection and the socket that is its alone.
type quicSocket struct {
	transport *quic.Transport
	session   *quic.Conn
}

// shake does the handshake over a socket, which it owns.
func shake(ctx context.Context, c *clock, conn *net.UDPConn, config *tls.Config, settings *quic.Config) (*quicSocket, error) {
	s := &quicSocket{transport: &quic.Transport{Conn: &dialledUDP{conn, func() { c.once(&c.connected) }}}}
	var err error
	if s.session, err = s.transport.Dial(ctx, conn.RemoteAddr(), config, settings); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *quicSocket) close() {
	s.transport.Close()
	s.transport.Conn.Close()
}

// dialledUDP is a UDP socket with one peer as the packet socket that QUIC wants.
// Only such a socket hears that the peer's port is closed.
type dialledUDP struct {
	conn    *net.UDPConn
	arrived func() // called for every packet
}

func (d *dialledUDP) ReadFrom(b []byte) (int, net.Addr, error) {
	n, err := d.conn.Read(b)
	if err == nil {
		d.arrived()
	}
	return n, d.conn.RemoteAddr(), err
}

func (d *dialledUDP) WriteTo(b []byte, _ net.Addr) (int, error) { return d.conn.Write(b) }
func (d *dialledUDP) Close() error                              { return d.conn.Close() }
func (d *dialledUDP) LocalAddr() net.Addr                       { return d.conn.LocalAddr() }
func (d *dialledUDP) RemoteAddr() net.Addr                      { return d.conn.RemoteAddr() }
func (d *dialledUDP) SetDeadline(t time.Time) error             { return d.conn.SetDeadline(t) }
func (d *dialledUDP) SetReadDeadline(t time.Time) error         { return d.conn.SetReadDeadline(t) }
func (d *dialledUDP) SetWriteDeadline(t time.Time) error        { return d.conn.SetWriteDeadline(t) }
func (d *dialledUDP) SetReadBuffer(n int) error                 { return d.conn.SetReadBuffer(n) }
func (d *dialledUDP) SetWriteBuffer(n int) error                { return d.conn.SetWriteBuffer(n) }
