// Package pxe boots the neighbours on one link over the network: it tells them
// by DHCP what to load, and gives it to them by TFTP and HTTP. Beside a DHCP
// server it is a proxy, which gives out no addresses; on a cable of its own it
// can give those out as well.
package pxe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/insomniacslk/dhcp/dhcpv4/server4"
	"github.com/natrix-os/natrix/sysinfo/netif"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Config says what is served, to whom. Link and Dir are required.
type Config struct {
	Link      string // the one link that neighbours are served on; it has an IPv4 address
	Dir       string // what make image puts into build/image/amd64/pxe
	Addresses Range  // addresses to give out; zero: another DHCP server does that
	Ini       []byte // configuration of the neighbours, like natrix.ini; nil for none
	Words     string // further words for their kernel command line
	HTTPPort  int    // default 80
}

// Range is addresses from First to Last, both included.
type Range struct{ First, Last netip.Addr }

// maxRange bounds what there is to remember of the neighbours.
const maxRange = 1024

// ParseRange reads addresses such as 192.0.2.10-192.0.2.50.
func ParseRange(text string) (Range, error) {
	from, to, _ := strings.Cut(text, "-")
	first, err := netip.ParseAddr(strings.TrimSpace(from))
	last, err2 := netip.ParseAddr(strings.TrimSpace(to))
	if err != nil || err2 != nil || !first.Is4() || !last.Is4() || last.Less(first) {
		return Range{}, fmt.Errorf("%q: want the first and the last address, such as 192.0.2.10-192.0.2.50", text)
	}
	if n := number(last) - number(first); n >= maxRange {
		return Range{}, fmt.Errorf("%q are %d addresses, want %d at most", text, n+1, maxRange)
	}
	return Range{first, last}, nil
}

// IsZero reports whether there are no addresses.
func (r Range) IsZero() bool { return r == Range{} }

// server is the service on its link.
type server struct {
	addr  netip.Prefix // of the link
	base  string       // URL below which the files are, with a slash
	files *files
	pool  *pool // nil for a proxy
	log   *slog.Logger
}

// ErrOtherServer is that addresses cannot be given out beside another server.
var ErrOtherServer = errors.New("a DHCP server answers on this link already: leave the addresses to it")

// Run serves until ctx ends, and then returns nil. It logs whom it serves what.
func Run(ctx context.Context, c Config, log *slog.Logger) error {
	s, err := newServer(ctx, c, log)
	if err != nil {
		return err
	}
	defer s.files.Close()
	listeners, err := s.listen(c)
	if err != nil {
		return err
	}
	mode := "proxy"
	if s.pool != nil {
		mode = "addresses"
	}
	log.Info("serving", "link", c.Link, "addr", s.addr, "mode", mode, "url", s.base)
	g, ctx := errgroup.WithContext(ctx)
	for _, l := range listeners {
		g.Go(func() error {
			if err := l.serve(); ctx.Err() == nil {
				return fmt.Errorf("%s: %w", l.name, err)
			}
			return nil
		})
		g.Go(func() error { <-ctx.Done(); l.close(); return nil })
	}
	return g.Wait()
}

func newServer(ctx context.Context, c Config, log *slog.Logger) (*server, error) {
	addr, err := address(c.Link)
	if err != nil {
		return nil, err
	}
	s := &server{addr: addr, base: fmt.Sprintf("http://%s/", addr.Addr()), log: log}
	if c.HTTPPort != 0 && c.HTTPPort != 80 {
		s.base = fmt.Sprintf("http://%s:%d/", addr.Addr(), c.HTTPPort)
	}
	if !c.Addresses.IsZero() {
		if s.pool, err = newPool(c.Addresses, addr); err != nil {
			return nil, err
		}
		if err := alone(ctx, c.Link); err != nil {
			return nil, err
		}
	}
	words := c.Words
	if c.Ini != nil {
		words = strings.TrimSpace("natrix.config=" + s.base + iniFile + " " + words)
	}
	s.files, err = openFiles(c.Dir, words, c.Ini)
	return s, err
}

// address is the IPv4 address of a link that can be served on.
func address(link string) (netip.Prefix, error) {
	links, err := netif.Links()
	if err != nil {
		return netip.Prefix{}, err
	}
	for _, l := range links {
		if l.Name != link {
			continue
		}
		if !l.Addr4().IsValid() {
			return netip.Prefix{}, fmt.Errorf("%s has no IPv4 address: give it one, such as ip address add 192.0.2.1/24 dev %s", link, link)
		}
		return l.Addr4(), nil
	}
	return netip.Prefix{}, fmt.Errorf("there is no link %s", link)
}

// alone returns an error if anybody else gives out addresses.
func alone(ctx context.Context, link string) error {
	client, err := nclient4.New(link, nclient4.WithTimeout(time.Second), nclient4.WithRetry(3))
	if err != nil {
		return fmt.Errorf("look for a DHCP server on %s: %w", link, err)
	}
	defer client.Close()
	offer, err := client.DiscoverOffer(ctx)
	switch {
	case err == nil:
		return fmt.Errorf("%s on %s: %w", offer.ServerIdentifier(), link, ErrOtherServer)
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, nclient4.ErrNoResponse):
		return nil
	}
	return fmt.Errorf("look for a DHCP server on %s: %w", link, err)
}

// listener is one of the ports that are served; close ends serve.
type listener struct {
	name  string
	serve func() error
	close func()
}

// Ports of RFC 2131, RFC 1350, and the PXE specification 2.1, section 2.2.
const (
	bootPort = 4011
	tftpPort = 69
)

// listen opens all ports, each bound to the link: what comes in by another is
// never seen.
func (s *server) listen(c Config) (all []listener, err error) {
	defer func() {
		if err != nil {
			for _, l := range all {
				l.close()
			}
		}
	}()
	for port, handler := range map[int]server4.Handler{dhcpv4.ServerPort: s.handleDHCP, bootPort: s.handleBoot} {
		d, err := server4.NewServer(c.Link, &net.UDPAddr{Port: port}, handler)
		if err != nil {
			return all, fmt.Errorf("DHCP: %w", err)
		}
		all = append(all, listener{fmt.Sprintf("DHCP, port %d", port), d.Serve, func() { d.Close() }})
	}
	bound := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var failed error
		err := raw.Control(func(fd uintptr) { failed = unix.BindToDevice(int(fd), c.Link) })
		return errors.Join(err, failed)
	}}
	udp, err := bound.ListenPacket(context.Background(), "udp4", fmt.Sprintf(":%d", tftpPort))
	if err != nil {
		return all, fmt.Errorf("TFTP: %w", err)
	}
	all = append(all, s.tftp(udp))
	port := c.HTTPPort
	if port == 0 {
		port = 80
	}
	tcp, err := bound.Listen(context.Background(), "tcp4", fmt.Sprintf("%s:%d", s.addr.Addr(), port))
	if err != nil {
		return all, fmt.Errorf("HTTP: %w; --http-port chooses another", err)
	}
	return append(all, s.http(tcp)), nil
}
