package lease

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

const (
	// grace is how long a lease outlives the carrier of its link. Connections
	// survive a cable that is plugged over, and a switch that restarts a port.
	grace = 10 * time.Second

	firstPause = 2 * time.Second // between rounds of discovery, doubled each time
	maxPause   = time.Minute

	forever = 100 * 365 * 24 * time.Hour // that an address by hand lasts

	minResend = time.Minute // between renewals (RFC 2131 section 4.4.5)
)

// client keeps the lease of one link. It does one thing at a time: become ends
// what it does before it starts something else, so what follows needs no lock.
type client struct {
	index    int
	exchange exchange
	config   Config
	resolver *resolver
	log      *slog.Logger

	fixed Lease // given by hand, and held without asking; its Addr is not valid if there is none
	lease Lease // applied to the link; its Addr is not valid if there is none

	carrier bool   // what become was last told, for the manager alone
	stop    func() // ends the current activity and waits for it
}

// become ends the present activity and starts another one.
func (c *client) become(ctx context.Context, activity func(context.Context)) {
	c.stop()
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		activity(ctx)
	}()
	c.stop = func() { cancel(); <-done }
}

// serve is the activity of a link with a carrier.
func (c *client) serve(ctx context.Context) {
	if !c.fixed.Addr.IsValid() {
		c.keep(ctx)
		return
	}
	c.fixed.Acquired, c.fixed.Expires = time.Now(), time.Now().Add(forever)
	c.use(c.fixed)
	<-ctx.Done()
}

// keep is the activity of a link without an address by hand: it gets a lease and renews it,
// until ctx ends.
func (c *client) keep(ctx context.Context) {
	held := c.lease.Addr.IsValid() && c.confirm(ctx)
	for ctx.Err() == nil {
		if !held {
			held = c.discover(ctx)
		} else {
			held = c.renew(ctx)
		}
	}
}

// lose is the activity of a link without a carrier.
func (c *client) lose(ctx context.Context) {
	if !c.fixed.Addr.IsValid() && sleep(ctx, grace) {
		c.withdraw("carrier lost")
		c.warn(c.resolver.drop(c.index))
	}
}

// confirm tells whether the lease from before the carrier was lost is still
// good. Without an answer it stays applied, but a new one is asked for: most
// servers are silent about a lease they do not know.
func (c *client) confirm(ctx context.Context) bool {
	l, err := c.exchange.confirm(ctx, c.lease)
	return c.take(ctx, l, err)
}

// discover gets a new lease, however long it takes. An old one stays applied
// until it expires or is replaced: without any server it may still be good.
func (c *client) discover(ctx context.Context) bool {
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		l, err := c.exchange.discover(ctx, c.lease.Addr.Addr())
		if c.take(ctx, l, err) {
			return true
		}
		if !sleep(ctx, jitter(pause)) {
			return false
		}
		if c.lease.Addr.IsValid() && !time.Now().Before(c.lease.Expires) {
			c.withdraw("expired")
		}
	}
}

// renew waits until the lease is to be renewed and renews it, by its server
// until T2 and by any server then. It tells whether there still is a lease.
func (c *client) renew(ctx context.Context) bool {
	next := c.lease.Renew
	for sleep(ctx, time.Until(next)) {
		now, limit, ask := time.Now(), c.lease.Expires, c.exchange.rebind
		if !now.Before(c.lease.Expires) {
			c.withdraw("expired")
			return false
		}
		if now.Before(c.lease.Rebind) && c.lease.Server.IsValid() {
			limit, ask = c.lease.Rebind, c.exchange.renew
		}
		// An answer after the limit would be too late for this question.
		attempt, cancel := context.WithDeadline(ctx, limit)
		l, err := ask(attempt, c.lease)
		cancel()
		if c.take(ctx, l, err) {
			return true
		}
		if errors.Is(err, errRefused) {
			return false
		}
		next = resend(time.Now(), limit)
	}
	return true
}

// resend is halfway to the limit, but not within a minute (RFC 2131 section 4.4.5).
func resend(now, limit time.Time) time.Time {
	next := now.Add(max(limit.Sub(now)/2, minResend))
	if next.After(limit) {
		return limit
	}
	return next
}

// take applies the outcome of an exchange and tells whether there is a lease now.
func (c *client) take(ctx context.Context, l Lease, err error) bool {
	switch {
	case err == nil:
		c.use(l)
		return true
	case ctx.Err() != nil:
		return false
	case errors.Is(err, errRefused):
		c.log.Warn("lease refused", "err", err)
		c.withdraw("refused")
		return false
	default:
		c.log.Warn("no lease", "err", err)
		return false
	}
}

// use applies a lease. What fails of it is logged and the rest is used: half a
// network is better than none.
func (c *client) use(l Lease) {
	old := c.lease
	if old.Addr.IsValid() && old.Addr != l.Addr {
		c.withdraw("replaced")
	}
	c.lease = l
	c.warn(c.publish()) // first: who sees the route asks the name servers at once
	c.warn(apply(c.index, l))
	c.warn(save(c.config.Dir, l))
	if old.Addr == l.Addr && old.Server == l.Server {
		c.log.Debug("lease renewed", "addr", l.Addr, "server", l.Server, "expires", l.Expires)
	} else {
		c.log.Info("lease", "addr", l.Addr, "gateway", l.Gateway, "server", l.Server, "dns", l.DNS, "expires", l.Expires)
	}
	if c.config.Changed != nil {
		c.config.Changed(l)
	}
}

// publish tells the resolver of the lease's name servers.
func (c *client) publish() error {
	l := c.lease
	return c.resolver.set(source{index: c.index}, names{link: l.Link, servers: l.DNS, search: l.Search})
}

// withdraw takes the lease back from the kernel, resolv.conf and the record.
func (c *client) withdraw(why string) {
	if !c.lease.Addr.IsValid() {
		return
	}
	c.log.Info("lease withdrawn", "addr", c.lease.Addr, "why", why)
	c.warn(unapply(c.index, c.lease))
	c.warn(c.resolver.set(source{index: c.index}, names{}))
	c.warn(forget(c.config.Dir, c.exchange.link))
	c.lease = Lease{}
}

func (c *client) warn(err error) {
	if err != nil {
		c.log.Warn("lease", "err", err)
	}
}

// sleep waits for d. It is false if ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
