// Package rtstat is the live door: the state of the terminal, pushed to whoever
// looks, in the protocol of Rt-Stat 0.3 over WebSocket and plain TCP, on a page
// of its own, and to Prometheus.
//
// A push is what the protocol demands (cpu_stat, meminfo, processes, uptime) and
// keys of our own, which other clients do not look at. Beyond the protocol a
// client may say history, for the last five minutes, and run and cancel, for
// commands of the core, as far as they are granted.
package rtstat

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/natrix-os/natrix/agent/command"
	"github.com/natrix-os/natrix/agent/config"
	"github.com/natrix-os/natrix/sysinfo"
	"github.com/natrix-os/natrix/sysinfo/netif"
	"golang.org/x/sync/errgroup"
)

const (
	handshakeTime = 10 * time.Second // for a request, of HTTP or for WebSocket
	idleTime      = time.Minute      // of a connection of HTTP between two requests
	headerMost    = 8 << 10          // bytes of a request's header
	strangersMost = 256              // connections that are not clients (yet)
	strangersEach = 64               // likewise, of one address
)

// Server is the live door. Its fields are set before Run and left alone after it.
type Server struct {
	Config  config.Live
	Core    command.Set // what the page may run is Config's part of it
	Sampler *sysinfo.Sampler
	Machine sysinfo.Machine
	Recent  *Recent      // results to be shown; nil for those of the page alone
	State   func() State // how the terminal stands with its server; nil if it has none
	Version string
	Log     *slog.Logger

	hub      *hub
	gate     *gate
	gateways gateways
	modules  map[string]module
	machine  string // what it is
}

// Run reads the modules of /probe and listens where the configuration says until ctx ends, and then returns nil
// once every client has left.
func (s *Server) Run(ctx context.Context) error {
	modules, err := readModules(s.Config.Modules)
	if err != nil {
		return err
	}
	s.modules = modules
	page, raw, err := s.listen(ctx)
	if err != nil {
		return err
	}
	return s.Serve(ctx, page, raw)
}

// listen opens what is configured; what is not is nil.
func (s *Server) listen(ctx context.Context) (page, raw net.Listener, err error) {
	var l net.ListenConfig
	if s.Config.Listen != "" {
		if page, err = l.Listen(ctx, "tcp", s.Config.Listen); err != nil {
			return nil, nil, err
		}
	}
	if s.Config.Raw != "" {
		if raw, err = l.Listen(ctx, "tcp", s.Config.Raw); err != nil {
			if page != nil {
				page.Close()
			}
			return nil, nil, err
		}
	}
	return page, raw, nil
}

// Serve is Run on listeners that are there, which it closes: page for WebSocket
// and HTTP, raw for the protocol over plain TCP. Either may be nil.
func (s *Server) Serve(ctx context.Context, page, raw net.Listener) error {
	s.begin()
	return s.serveOn(ctx, page, raw)
}

func (s *Server) serveOn(ctx context.Context, page, raw net.Listener) error {
	g, ctx := errgroup.WithContext(ctx)
	var background sync.WaitGroup
	defer background.Wait()
	background.Go(func() { s.hub.run(ctx) })
	background.Go(func() { s.watchGateways(ctx) })
	if raw != nil {
		s.Log.Info("listening", "addr", raw.Addr(), "transport", "raw")
		defer context.AfterFunc(ctx, func() { raw.Close() })()
		g.Go(func() error { return s.serveRaw(ctx, raw) })
	}
	if page != nil {
		g.Go(func() error { return s.servePage(ctx, page) })
	}
	g.Go(func() error { <-ctx.Done(); return nil })
	return g.Wait()
}

// begin makes what Serve needs.
func (s *Server) begin() {
	if s.Recent == nil {
		s.Recent = new(Recent)
	}
	id, _ := s.Machine.Identity() // a machine without a name is one all the same
	s.machine = id.Product
	s.gate = newGate(s.Config.Token, s.Config.Clients)
	s.hub = newHub(s.Sampler, s.sources(), s.Log)
	s.hub.describe = s.describe
}

// describe is what a page wants to know once.
func (s *Server) describe() description {
	hostname, _ := os.Hostname() // "" is shown as the address
	d := description{Version: s.Version, Hostname: hostname, Machine: s.machine, Commands: s.granted(), Links: []string{}}
	links, err := netif.Links()
	if err != nil {
		s.Log.Debug("list links", "err", err)
	}
	for _, l := range links {
		d.Links = append(d.Links, l.Name)
	}
	return d
}

// servePage serves WebSocket and HTTP, with TLS if there is a certificate.
func (s *Server) servePage(ctx context.Context, l net.Listener) error {
	transport := "http"
	if s.Config.Certificate != "" {
		pair, err := tls.LoadX509KeyPair(s.Config.Certificate, cmp.Or(s.Config.Key, s.Config.Certificate))
		if err != nil {
			l.Close()
			return fmt.Errorf("certificate of the live door: %w", err)
		}
		// A WebSocket begins with a request of HTTP/1.1.
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1"}})
		transport = "https"
	}
	s.Log.Info("listening", "addr", l.Addr(), "transport", transport)
	strangers := strangers{each: make(map[netip.Addr]int)}
	var clients sync.WaitGroup // the server does not wait for connections that it handed over
	h := &http.Server{
		Handler:           s.handler(&clients),
		ReadHeaderTimeout: handshakeTime,
		ReadTimeout:       handshakeTime,
		WriteTimeout:      scrapeMost + writeTime, // a client that takes over the connection has its own
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    headerMost,
		ErrorLog:          slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnState:         strangers.note,
	}
	ended := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() { ended <- h.Close() })
	err := h.Serve(l)
	if !stop() {
		<-ended
	}
	clients.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// strangers counts the connections that are not clients, and closes those that
// are too many: they hold no place that max-clients counts.
type strangers struct {
	mu   sync.Mutex
	all  int
	each map[netip.Addr]int
}

func (s *strangers) note(c net.Conn, state http.ConnState) {
	from := sender(c.RemoteAddr().String())
	s.mu.Lock()
	defer s.mu.Unlock()
	switch state {
	case http.StateNew:
		s.all++
		s.each[from]++
		if s.all > strangersMost || s.each[from] > strangersEach {
			c.Close()
		}
	case http.StateHijacked, http.StateClosed:
		s.all--
		if s.each[from]--; s.each[from] <= 0 {
			delete(s.each, from)
		}
	}
}

// sender is the address of a peer; zero if that is none.
func sender(hostport string) netip.Addr {
	a, _ := netip.ParseAddrPort(hostport)
	return a.Addr().Unmap().WithZone("")
}
