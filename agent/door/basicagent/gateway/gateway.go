// Package gateway is the servers' end of BasicAgent, for operators and tests:
// it takes terminals in, sends requests on to many of them, and has a REST call
// for that. Several stand behind one list of addresses: what they must share,
// the certificate authority and the tokens, is in files.
package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/natrix-os/natrix/agent/door/basicagent/wire"
)

// Gateway takes terminals in. Its fields are set before Serve and left alone.
type Gateway struct {
	Authority *Authority
	Log       *slog.Logger
	Timing    wire.Timing
	Redirect  func(host string) string // where a terminal is sent on to, "" to keep it; nil keeps all
	Revoked   func(host string) bool   // whether a terminal is refused; nil refuses none

	mu    sync.Mutex
	hosts map[string]*host
}

// host is a terminal that is connected.
type host struct {
	conn *wire.Conn

	mu      sync.Mutex
	waiting map[string]chan []byte // answers, by the id that the gateway gave
	gone    chan struct{}
}

// Serve takes terminals in until ctx ends or the listener fails, which it
// closes.
func (g *Gateway) Serve(ctx context.Context, l net.Listener) error {
	if g.Timing == (wire.Timing{}) {
		g.Timing = wire.DefaultTiming()
	}
	settings, err := g.Authority.server()
	if err != nil {
		return err
	}
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	for {
		plain, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil { // no descriptors left, say
			g.Log.Warn("accept", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		running.Go(func() {
			defer plain.Close()
			defer context.AfterFunc(ctx, func() { plain.Close() })()
			if err := g.take(ctx, tls.Server(plain, settings)); err != nil && ctx.Err() == nil {
				g.Log.Info("terminal gone", "dst", plain.RemoteAddr(), "err", err)
			}
		})
	}
}

// take has a terminal from its handshake to its end.
func (g *Gateway) take(ctx context.Context, secure *tls.Conn) error {
	limited, cancel := context.WithTimeout(ctx, g.Timing.Init)
	err := secure.HandshakeContext(limited)
	cancel()
	if err != nil {
		return err
	}
	conn := wire.NewConn(secure, wire.FromAgent, g.Timing)
	line, err := conn.ReadLine(g.Timing.Init)
	if err != nil {
		return err
	}
	if _, err := wire.Object(line); err != nil {
		conn.Send(wire.Failed(err))
		return err
	}
	var first struct {
		Method, Hostname string
		Proto            int
		signing
	}
	if err := json.Unmarshal(line, &first); err != nil {
		return wire.Fail(wire.Malformed, "%v", err)
	}
	peers := secure.ConnectionState().PeerCertificates
	if first.Method == "enroll" && len(peers) == 0 {
		return g.answerSigning(conn, first.ID, g.enroll(first.Hostname, first.Token, first.CSR, secure.RemoteAddr()))
	}
	name, err := g.identify(peers, first.Method, first.Hostname, first.Proto)
	if err != nil {
		f := wire.AsFailure(err)
		conn.Send(wire.Greeting{Resp: "failed", Retcode: int(f.Code), Message: f.Code.String()})
		return err
	}
	if to := g.redirect(name); to != "" {
		return conn.Send(wire.Greeting{Method: "redirect", Server: to})
	}
	return g.keep(ctx, conn, name)
}

func (g *Gateway) redirect(name string) string {
	if g.Redirect == nil {
		return ""
	}
	return g.Redirect(name)
}

// identify is whom a certificate names. The terminal must say the same.
func (g *Gateway) identify(peers []*x509.Certificate, method, claimed string, proto int) (string, error) {
	if len(peers) == 0 || method != "init" {
		return "", wire.Fail(wire.NotAuthorized, "no certificate, or no init")
	}
	name := certified(peers[0])
	switch {
	case name == "" || name != strings.ToLower(claimed):
		return "", wire.Fail(wire.NotAuthorized, "the certificate is of %q, init says %.60q", name, claimed)
	case g.Revoked != nil && g.Revoked(name):
		return "", wire.Fail(wire.NotAuthorized, "%s is revoked", name)
	case proto > wire.Proto:
		return "", wire.Fail(wire.UnsupportedProto, "%d", proto)
	}
	return name, nil
}

// keep has a session: it gives answers to those who asked.
func (g *Gateway) keep(ctx context.Context, conn *wire.Conn, name string) error {
	h := &host{conn: conn, waiting: make(map[string]chan []byte), gone: make(chan struct{})}
	g.enter(name, h)
	defer g.leave(name, h)
	if err := conn.Send(wire.Greeting{Method: "accept", Proto: wire.Proto, Session: uuid.NewString(), Time: time.Now().Unix()}); err != nil {
		return err
	}
	g.Log.Info("terminal", "id", name, "dst", conn.RemoteAddr())
	var running sync.WaitGroup
	defer running.Wait()
	defer close(h.gone)
	running.Go(func() { conn.KeepAlive(h.gone, "gateway-ping-") })
	for {
		line, err := conn.ReadLine(g.Timing.Silence)
		if err != nil {
			return err
		}
		if err := g.hear(h, name, line); err != nil {
			return err
		}
	}
}

// hear takes a line of a terminal: an answer, a ping, or a wish for a new
// certificate.
func (g *Gateway) hear(h *host, name string, line []byte) error {
	var m struct {
		ID     string
		Method string
		CSR    string
	}
	if err := json.Unmarshal(line, &m); err != nil {
		return wire.Fail(wire.Malformed, "%v", err)
	}
	switch m.Method {
	case "":
		h.mu.Lock()
		waiting := h.waiting[m.ID]
		delete(h.waiting, m.ID)
		h.mu.Unlock()
		if waiting != nil {
			waiting <- line // there is room for the one
		}
		return nil
	case "ping":
		return h.conn.Send(wire.Answer{ID: m.ID, Resp: "success", Message: "pong"})
	case "renew":
		return g.answerSigning(h.conn, m.ID, func() (granted, error) { return g.Authority.sign(m.CSR, name) })
	}
	a := wire.Failed(wire.Fail(wire.UnknownMethod, ""))
	a.ID = m.ID
	return h.conn.Send(a)
}

// enter makes a terminal known; one of the same name is the earlier connection
// of the same terminal, and ends.
func (g *Gateway) enter(name string, h *host) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.hosts == nil {
		g.hosts = make(map[string]*host)
	}
	if before := g.hosts[name]; before != nil {
		before.conn.Close()
	}
	g.hosts[name] = h
}

func (g *Gateway) leave(name string, h *host) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.hosts[name] == h {
		delete(g.hosts, name)
	}
}

// Hosts are the terminals that are connected.
func (g *Gateway) Hosts() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	names := make([]string, 0, len(g.hosts))
	for name := range g.hosts {
		names = append(names, name)
	}
	return names
}

// Ask sends a request, with the id that it has, to one terminal. The answer is
// the terminal's line; the error is a *wire.Failure.
func (g *Gateway) Ask(ctx context.Context, name string, request map[string]json.RawMessage) ([]byte, error) {
	g.mu.Lock()
	h := g.hosts[name]
	g.mu.Unlock()
	if h == nil {
		return nil, wire.Fail(wire.NoSuchHost, "")
	}
	id, err := wire.Identifier(request["id"])
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	answer := make(chan []byte, 1)
	h.mu.Lock()
	_, busy := h.waiting[id]
	if !busy {
		h.waiting[id] = answer
	}
	h.mu.Unlock()
	if busy {
		return nil, wire.Fail(wire.InProgress, "")
	}
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.waiting[id] == answer {
			delete(h.waiting, id)
		}
	}()
	if err := h.conn.WriteLine(body); err != nil {
		return nil, wire.Fail(wire.HostOffline, "%v", err)
	}
	select {
	case line := <-answer:
		return line, nil
	case <-h.gone:
		return nil, wire.Fail(wire.HostOffline, "it went before it answered")
	case <-ctx.Done():
		return nil, wire.Fail(wire.HostLate, "")
	}
}
