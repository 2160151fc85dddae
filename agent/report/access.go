package report

import (
	"context"
	"net"
	"net/netip"
	"net/url"
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

// access sets the three flags of n, which has an address.
func (r *Reporter) access(ctx context.Context, n *Network) {
	ctx, cancel := context.WithTimeout(ctx, accessLimit)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { n.Intranet = r.reachesAny(ctx, n, r.config.Intranet) })
	wg.Go(func() { n.Corporate = r.reachesAny(ctx, n, r.config.Corporate) })
	wg.Go(func() { n.Internet = r.reachesAny(ctx, n, r.config.Internet) })
	wg.Wait()
}

// reachesAny asks all targets at once and is done with the first that answers.
func (r *Reporter) reachesAny(ctx context.Context, n *Network, targets []string) bool {
	if len(targets) == 0 {
		return true
	}
	if !n.Link.Up || !n.Link.Carrier {
		return false
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	reached := make(chan bool, len(targets))
	for _, target := range targets {
		go func() { reached <- r.reaches(ctx, n, target) }()
	}
	any := false
	for range targets { // to the last, so that none is left behind
		if <-reached {
			any = true
			cancel()
		}
	}
	return any
}

// reaches tries the addresses of a target that the link has a source for.
func (r *Reporter) reaches(ctx context.Context, n *Network, target string) bool {
	for _, dst := range resolve(ctx, host(target)) {
		src := n.Local.Addr()
		if dst.Is4() != src.Is4() {
			if src = n.Link.Addr6().Addr(); dst.Is4() || !src.IsValid() {
				continue
			}
		}
		if r.answers(ctx, n.Link.Name, src, dst) {
			return true
		}
	}
	return false
}

// answers sends echo requests from src by the link until one is answered.
func (r *Reporter) answers(ctx context.Context, link string, src, dst netip.Addr) bool {
	if r.config.Pinger == nil {
		_, err := netif.Select(link, dst)
		return err == nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	replies := make(chan bool, echoes)
	for i := range echoes {
		go func() {
			if wait(ctx, time.Duration(i)*echoSpacing) != nil {
				replies <- false
				return
			}
			reply, err := r.config.Pinger.Do(ctx, packet.Request{Dst: dst, Src: src, Link: link, Timeout: echoTimeout})
			replies <- err == nil && reply.Kind.FromDestination()
		}()
	}
	answered := false
	for range echoes {
		if <-replies {
			answered = true
			cancel()
		}
	}
	return answered
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
