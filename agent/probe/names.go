package probe

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/natrix-os/natrix/agent/packet"
)

const (
	reverseLimit  = 3 * time.Second // for all names together
	reverseAtOnce = 16
)

// describe adds names and places to hops. A name that cannot be had in time is
// the address.
func (p *Prober) describe(ctx context.Context, hops []Hop, params TracerouteParams) {
	names := make(map[netip.Addr]string)
	for _, h := range hops {
		for _, k := range h.Probes {
			if k.Reply.Kind != packet.NoReply {
				names[k.Reply.From] = k.Reply.From.String()
			}
		}
		for _, b := range h.Branches {
			names[b.Addr] = b.Addr.String()
		}
	}
	if !params.Numeric {
		reverse(ctx, params.Way.resolver(ctx), names)
	}
	for _, h := range hops {
		for i := range h.Probes {
			k := &h.Probes[i]
			if k.Reply.Kind != packet.NoReply {
				k.Name, k.Location = names[k.Reply.From], p.Locations.Of(k.Reply.From)
			}
		}
		for i := range h.Branches {
			h.Branches[i].Name = names[h.Branches[i].Addr]
		}
	}
}

// resolver asks the name servers of a way that was good for the destination.
func (w Way) resolver(ctx context.Context) *net.Resolver {
	via, _ := pathOf(ctx, w.Interface)
	servers, _ := serverList(w.DNS)
	return via.resolver(servers)
}

// reverse replaces the addresses in names by the names they have.
func reverse(ctx context.Context, resolver *net.Resolver, names map[netip.Addr]string) {
	ctx, cancel := context.WithTimeout(ctx, reverseLimit)
	defer cancel()
	var mu sync.Mutex
	var lookups sync.WaitGroup
	slots := make(chan struct{}, reverseAtOnce)
	addrs := make([]netip.Addr, 0, len(names))
	for addr := range names {
		addrs = append(addrs, addr)
	}
	for _, addr := range addrs {
		slots <- struct{}{}
		lookups.Go(func() {
			defer func() { <-slots }()
			if name, found := nameOf(ctx, resolver, addr); found {
				mu.Lock()
				defer mu.Unlock()
				names[addr] = name
			}
		})
	}
	lookups.Wait()
}

// nameOf is the first name of an address.
func nameOf(ctx context.Context, resolver *net.Resolver, addr netip.Addr) (string, bool) {
	found, err := resolver.LookupAddr(ctx, addr.WithZone("").String())
	if err != nil || len(found) == 0 {
		return "", false
	}
	return strings.TrimSuffix(found[0], "."), true
}

// namer looks up names while other things go on.
type namer struct {
	resolver *net.Resolver
	slots    chan struct{}
	lookups  sync.WaitGroup

	mu    sync.Mutex
	names map[netip.Addr]string // "" while it is not known
}

func newNamer(resolver *net.Resolver) *namer {
	return &namer{resolver: resolver, slots: make(chan struct{}, reverseAtOnce), names: make(map[netip.Addr]string)}
}

// ask has the name of an address looked up, the first time, until ctx ends.
func (n *namer) ask(ctx context.Context, addr netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, asked := n.names[addr]; asked {
		return
	}
	n.names[addr] = ""
	n.lookups.Go(func() {
		select {
		case n.slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		defer func() { <-n.slots }()
		if name, found := nameOf(ctx, n.resolver, addr); found {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.names[addr] = name
		}
	})
}

// of is the name of an address; "" if it is not known.
func (n *namer) of(addr netip.Addr) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.names[addr]
}

// wait returns when all lookups have ended.
func (n *namer) wait() { n.lookups.Wait() }
