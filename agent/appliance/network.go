package appliance

import (
	"cmp"
	"context"
	"encoding/hex"
	"log/slog"
	"net/netip"
	"os"
	"sync"

	"github.com/natrix-os/natrix/agent/config"
	"github.com/natrix-os/natrix/agent/lease"
	"github.com/natrix-os/natrix/sysinfo/netif"
)

// Network is the life of the process that PID 1 keeps for the network: it names
// the machine, keeps the leases of its links, and keeps its clock right. It
// ends with ctx.
func Network(ctx context.Context, settings config.Appliance, log *slog.Logger) error {
	if err := nameByLink(ctx); err != nil {
		log.Error("name the host", "err", err)
	}
	host, err := os.Hostname()
	if err != nil {
		log.Error("read the host's name", "err", err)
	}
	offers := make(chan []string, 1)
	c := newTimekeeper(settings.NTP, log)
	var wait sync.WaitGroup
	defer wait.Wait()
	wait.Go(func() { c.run(ctx, offers) })
	configs := make(chan string, 1)
	restart := func() error { return Client{Path: Socket}.Restart(ctx, "agent") }
	wait.Go(func() { provision(ctx, configs, NetworkConfig, restart, log) })

	var first sync.Once
	return lease.Run(ctx, lease.Config{
		Dir:    lease.DefaultDir,
		Resolv: lease.DefaultResolv,
		Host:   host,
		DNS:    settings.DNS,
		Fixed:  fixed(settings.Address),
		Changed: func(l lease.Lease) {
			first.Do(func() { logPhase(log, "network", sinceBoot(), "link", l.Link, "addr", l.Addr.Addr()) })
			offer(offers, addressWords(l.NTP))
			if from := cmp.Or(settings.Config, l.Config); from != "" {
				offer(configs, from)
			}
		},
	}, log)
}

// fixed are the addresses by hand, with their routes.
func fixed(all []config.Address) []lease.Lease {
	var leases []lease.Lease
	for _, a := range all {
		l := lease.Lease{Link: a.Link, Addr: a.Addr, Gateway: a.Gateway}
		if a.Gateway.IsValid() {
			l.Routes = []lease.Route{{Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Via: a.Gateway}}
		}
		leases = append(leases, l)
	}
	return leases
}

// offer replaces what has not been taken yet.
func offer[T any](offers chan T, latest T) {
	for {
		select {
		case offers <- latest:
			return
		case <-offers:
		}
	}
}

func addressWords(addrs []netip.Addr) []string {
	var words []string
	for _, a := range addrs {
		words = append(words, a.String())
	}
	return words
}

// nameByLink names a machine that was given no name after its first link, as
// soon as it has one.
func nameByLink(ctx context.Context) error {
	if name, err := os.Hostname(); err != nil || name != anonymous {
		return err
	}
	for links, err := range netif.Watch(ctx) {
		if err != nil {
			return err
		}
		if mac := firstMAC(links); mac != nil {
			return nameHost(anonymous + "-" + hex.EncodeToString(mac[3:]))
		}
	}
	return nil
}

// firstMAC is nil while there is no Ethernet link.
func firstMAC(links []netif.Link) []byte {
	for _, l := range links {
		if l.Kind != netif.Loopback && l.Driver == "device" && len(l.MAC) == 6 {
			return l.MAC
		}
	}
	return nil
}
