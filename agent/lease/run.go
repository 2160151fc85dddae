package lease

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/natrix-os/natrix/sysinfo/netif"
)

// The places that the rest of the terminal looks at.
const (
	DefaultDir    = "/run/natrix/leases"
	DefaultResolv = "/etc/resolv.conf"
)

// Config says where leases go.
type Config struct {
	Dir     string       // one file per link, for [Read]; required
	Resolv  string       // name servers of all links; none is written if empty
	Host    string       // our name, told to servers; may be empty
	DNS     []netip.Addr // name servers instead of those of the leases; nil for none
	Fixed   []Lease      // of links that are given an address by hand and ask nobody: Link, Addr, Gateway and Routes count
	Changed func(Lease)  // called with each lease granted or renewed, once applied, from several goroutines; may be nil
}

// Run brings up every Ethernet-like link, now and whenever one is plugged in,
// and keeps its lease until ctx ends. What it applied stays applied then, so
// that a restart goes unnoticed: the next Run takes up the leases kept in Dir.
// It needs CAP_NET_ADMIN and CAP_NET_RAW.
func Run(ctx context.Context, config Config, log *slog.Logger) error {
	m := &manager{config: config, log: log, resolver: &resolver{path: config.Resolv, instead: config.DNS}, clients: make(map[int]*client)}
	defer m.stop()
	var adverts sync.WaitGroup
	defer adverts.Wait()
	adverts.Go(func() {
		again(ctx, log, func() error { return collectAdverts(ctx, m.resolver, log) })
	})
	again(ctx, log, func() error { return m.follow(ctx) })
	return nil
}

// again does f over until ctx ends; every end before that is an error.
func again(ctx context.Context, log *slog.Logger, f func() error) {
	for pause := time.Second; ctx.Err() == nil; pause = min(2*pause, maxPause) {
		if err := f(); err != nil {
			log.Warn("watch the network", "err", err)
			sleep(ctx, pause)
		}
	}
}

// manager has a client for each link.
type manager struct {
	config   Config
	log      *slog.Logger
	resolver *resolver
	clients  map[int]*client // by index of the link
}

func (m *manager) follow(ctx context.Context) error {
	for links, err := range netif.Watch(ctx) {
		if err != nil {
			return err
		}
		m.update(ctx, links)
	}
	return nil
}

// update starts clients for new links, ends those of links that are gone, and
// tells the others about their carrier.
func (m *manager) update(ctx context.Context, links []netif.Link) {
	present := make(map[int]bool)
	for _, l := range links {
		if !ours(l) {
			continue
		}
		present[l.Index] = true
		c := m.clients[l.Index]
		if c == nil {
			c = m.add(l)
		}
		if c.carrier != l.Carrier {
			if c.carrier = l.Carrier; c.carrier {
				c.become(ctx, c.serve)
			} else {
				m.log.Info("carrier lost", "link", l.Name)
				c.become(ctx, c.lose)
			}
		}
	}
	for index, c := range m.clients {
		if !present[index] {
			m.remove(index, c)
		}
	}
}

// ours tells whether a link is to have a lease: hardware that speaks Ethernet,
// and veth, which stands for it in containers and tests.
func ours(l netif.Link) bool {
	if l.Terminal() == "" || l.Kind == netif.Loopback {
		return false
	}
	return l.Driver == "device" || l.Driver == "veth"
}

// add brings a link up. Its lease from an earlier run, if it is still good, is
// still applied, and is confirmed when the carrier comes.
func (m *manager) add(l netif.Link) *client {
	log := m.log.With("link", l.Name)
	c := &client{
		index:    l.Index,
		exchange: exchange{link: l.Name, mac: l.MAC, host: m.config.Host},
		config:   m.config,
		resolver: m.resolver,
		log:      log,
		stop:     func() {},
	}
	if i := slices.IndexFunc(m.config.Fixed, func(f Lease) bool { return f.Link == l.Name }); i >= 0 {
		c.fixed = m.config.Fixed[i]
	}
	if old, err := load(recordFile(m.config.Dir, l.Name)); err == nil && time.Now().Before(old.Expires) {
		c.lease = old
		if !old.Server.IsValid() && !c.fixed.Addr.IsValid() {
			c.withdraw("no longer given by hand")
		}
		c.warn(c.publish())
	}
	c.warn(prepare(l.Name, l.Index))
	c.warn(up(l))
	m.clients[l.Index] = c
	log.Info("link", "mac", l.MAC.String(), "kind", l.Kind)
	return c
}

func up(l netif.Link) error {
	if l.Up {
		return nil
	}
	err := netlink.LinkSetUp(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: l.Index, Name: l.Name}})
	if err != nil {
		return fmt.Errorf("bring %s up: %w", l.Name, err)
	}
	return nil
}

func (m *manager) remove(index int, c *client) {
	c.stop()
	c.withdraw("link gone")
	c.warn(m.resolver.drop(index))
	delete(m.clients, index)
}

// stop ends all activities and waits for them.
func (m *manager) stop() {
	for _, c := range m.clients {
		c.stop()
	}
}
