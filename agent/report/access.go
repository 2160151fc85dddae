package report

import (
	"context"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/natrix-os/natrix/agent/packet"
	"github.com/natrix-os/natrix/sysinfo/netif"
)

// A check of one target: echo requests, of which one must be answered.
const (
	echoes      = 3
	echoSpacing = 500 * time.Millisecond // so that a short outage does not take them all
	echoTimeout = time.Second
	accessLimit = 4 * time.Second // for all checks, names included
)

// addresses finds the addresses of targets, each once per report.
type addresses map[string]func() []netip.Addr

// resolveLater prepares to resolve all targets as soon as a link needs them.
func (r *Reporter) resolveLater(ctx context.Context) addresses {
	a := make(addresses)
	for _, target := range slices.Concat(r.config.Intranet, r.config.Corporate, r.config.Internet) {
		a[target] = sync.OnceValue(func() []netip.Addr { return resolve(ctx, host(target)) })
	}
	return a
}

// access sets the three flags of n, which has an address.
func (r *Reporter) access(ctx context.Context, n *Network, a addresses) {
	var wg sync.WaitGroup
	wg.Go(func() { n.Intranet = r.reachesAny(ctx, n, r.config.Intranet, a) })
	wg.Go(func() { n.Corporate = r.reachesAny(ctx, n, r.config.Corporate, a) })
	wg.Go(func() { n.Internet = r.reachesAny(ctx, n, r.config.Internet, a) })
	wg.Wait()
}

// reachesAny asks all targets at once and is done with the first that answers.
func (r *Reporter) reachesAny(ctx context.Context, n *Network, targets []string, a addresses) bool {
	if len(targets) == 0 {
		return true
	}
	if !n.Link.Up || !n.Link.Carrier {
		return false
	}
	return anyOf(ctx, len(targets), func(ctx context.Context, i int) bool {
		return r.reaches(ctx, n, a[targets[i]]())
	})
}

// reaches tries the first address of each family that the link has a source for.
func (r *Reporter) reaches(ctx context.Context, n *Network, target []netip.Addr) bool {
	sources := [2]netip.Addr{n.Link.Addr4().Addr(), n.Link.Addr6().Addr()}
	if n.Local.Addr().Is4() {
		sources[0] = n.Local.Addr()
	}
	return anyOf(ctx, len(sources), func(ctx context.Context, i int) bool {
		src := sources[i]
		first := slices.IndexFunc(target, func(a netip.Addr) bool { return src.IsValid() && a.Is4() == src.Is4() })
		return first >= 0 && r.answers(ctx, n.Link.Name, src, target[first])
	})
}

// answers sends echo requests from src by the link until one is answered.
func (r *Reporter) answers(ctx context.Context, link string, src, dst netip.Addr) bool {
	if r.config.Pinger == nil {
		_, err := netif.Select(link, dst)
		return err == nil
	}
	return anyOf(ctx, echoes, func(ctx context.Context, i int) bool {
		if wait(ctx, time.Duration(i)*echoSpacing) != nil {
			return false
		}
		reply, err := r.config.Pinger.Do(ctx, packet.Request{Dst: dst, Src: src, Link: link, Timeout: echoTimeout})
		return err == nil && reply.Kind.FromDestination()
	})
}

// anyOf makes n tries at once and tells whether one came true. The first that
// does ends the others; none is left behind.
func anyOf(ctx context.Context, n int, try func(context.Context, int) bool) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan bool, n)
	for i := range n {
		go func() { results <- try(ctx, i) }()
	}
	found := false
	for range n {
		if <-results {
			found = true
			cancel()
		}
	}
	return found
}

// host takes the host out of a target as people write them into a list of
// web sites: example.com, example.com:8080, http://example.com/path, 2001:db8::1.
func host(target string) string {
	if a, err := netip.ParseAddr(strings.Trim(target, "[]")); err == nil {
		return a.String()
	}
	if !strings.Contains(target, "://") {
		target = "http://" + target
	}
	u, err := url.Parse(target)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// resolve returns the addresses of a host, none if there are none to be had.
func resolve(ctx context.Context, host string) []netip.Addr {
	if host == "" {
		return nil
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil
	}
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	return addrs
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
