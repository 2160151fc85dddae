package appliance

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"time"

	"github.com/beevik/ntp"

	"github.com/natrix-os/natrix/agent/config"
	"github.com/natrix-os/natrix/agent/lease"
)

// pool is asked for the time where neither the settings nor a lease name a server.
var pool = []string{"0.pool.ntp.org", "1.pool.ntp.org", "2.pool.ntp.org", "3.pool.ntp.org"}

const (
	maxServers = 4                      // asked at once
	maxAnswer  = 5 * time.Second        // to wait for them
	maxSlew    = 128 * time.Millisecond // beyond it the clock is set (RFC 5905 section 11.2.1, STEPT)
	good       = 5 * time.Millisecond   // an offset with which the clock can be left alone for longer

	noLease  = 10 * time.Second // before asking without a lease: the network may need none
	minPoll  = 64 * time.Second
	maxPoll  = 1024 * time.Second
	minRetry = 2 * time.Second
	maxRetry = 10 * time.Minute
)

// TimeServers are those that the clock of an appliance is kept right by.
func TimeServers(settings config.Appliance, leases []lease.Lease) []string {
	k := timekeeper{settings: settings.NTP}
	var offered []string
	for _, l := range leases {
		offered = append(offered, addressWords(l.NTP)...)
	}
	return k.servers(offered)
}

// timekeeper keeps the clock right by asking NTP servers.
type timekeeper struct {
	settings []string  // servers that go before any others
	earliest time.Time // a clock is not set back behind it
	log      *slog.Logger

	query func(ctx context.Context, server string) (*ntp.Response, error)
	clock interface {
		step(offset time.Duration) error
		slew(offset, distance, interval time.Duration) error
	}
}

func newTimekeeper(servers []string, log *slog.Logger) *timekeeper {
	earliest, err := buildTime(built)
	if err != nil {
		log.Warn("time of the image", "err", err)
	}
	return &timekeeper{settings: servers, earliest: earliest, log: log, query: queryNTP, clock: kernelClock{}}
}

// run keeps the clock right until ctx ends. Each lease offers its servers, none
// if it has none; a lease is also the sign that asking has a chance now.
func (k *timekeeper) run(ctx context.Context, offers <-chan []string) {
	var offered []string
	right := false
	poll, retry := minPoll, minRetry
	for pause := noLease; ; {
		select {
		case servers := <-offers:
			if right && slices.Equal(servers, offered) {
				continue // a renewal
			}
			offered, retry = servers, minRetry
		case <-time.After(pause - pause/8 + rand.N(pause/4)):
		case <-ctx.Done():
			return
		}
		offset, err := k.once(ctx, k.servers(offered), poll)
		if ctx.Err() != nil {
			return
		}
		right = err == nil
		switch {
		case err != nil:
			k.log.Warn("clock", "err", err)
			pause, retry = retry, min(2*retry, maxRetry)
		case offset.Abs() < good:
			pause, poll, retry = poll, min(2*poll, maxPoll), minRetry
		default:
			pause, poll, retry = minPoll, minPoll, minRetry
		}
	}
}

// once measures and corrects the clock. It returns how far off it was.
func (k *timekeeper) once(ctx context.Context, servers []string, poll time.Duration) (time.Duration, error) {
	m, err := k.measure(ctx, servers)
	if err != nil {
		return 0, err
	}
	return m.ClockOffset, k.discipline(m, poll)
}

func (k *timekeeper) servers(offered []string) []string {
	for _, list := range [][]string{k.settings, offered} {
		if len(list) > 0 {
			return list[:min(len(list), maxServers)]
		}
	}
	return pool
}

// measure asks all servers at once and takes the answer in the middle, which
// one liar among three cannot move far.
func (k *timekeeper) measure(ctx context.Context, servers []string) (*ntp.Response, error) {
	type answer struct {
		*ntp.Response
		err error
	}
	ctx, cancel := context.WithTimeout(ctx, maxAnswer)
	defer cancel()
	answers := make(chan answer, len(servers))
	for _, s := range servers {
		go func() {
			r, err := k.query(ctx, s)
			if err != nil {
				err = fmt.Errorf("ask %s: %w", s, err)
			}
			answers <- answer{r, err}
		}()
	}
	var valid []*ntp.Response
	var failed error // one stands for all: as a rule it is the network
	for range servers {
		if a := <-answers; a.err != nil {
			failed = a.err
		} else {
			valid = append(valid, a.Response)
		}
	}
	if len(valid) == 0 {
		return nil, fmt.Errorf("no answer from %d time servers: %w", len(servers), failed)
	}
	slices.SortFunc(valid, func(a, b *ntp.Response) int { return cmp.Compare(a.ClockOffset, b.ClockOffset) })
	return valid[(len(valid)-1)/2], nil
}

// discipline sets a clock that is far off, and steers one that is near.
func (k *timekeeper) discipline(m *ntp.Response, poll time.Duration) error {
	if now := time.Now().Add(m.ClockOffset); now.Before(k.earliest) {
		return fmt.Errorf("the time is said to be %s, before this image was built", now.UTC().Format(time.RFC3339))
	}
	offset := m.ClockOffset
	if offset.Abs() > maxSlew {
		if err := k.clock.step(offset); err != nil {
			return fmt.Errorf("set the clock by %v: %w", offset, err)
		}
		k.log.Info("clock set", "offset", offset, "stratum", m.Stratum)
		offset = 0
	}
	if err := k.clock.slew(offset, m.RootDistance, poll); err != nil {
		return fmt.Errorf("steer the clock by %v: %w", offset, err)
	}
	k.log.Debug("clock steered", "offset", offset, "distance", m.RootDistance)
	return nil
}

// queryNTP returns an answer that is fit for setting a clock by.
func queryNTP(ctx context.Context, server string) (*ntp.Response, error) {
	r, err := ntp.QueryWithOptions(server, ntp.QueryOptions{
		Timeout: maxAnswer,
		Dialer: func(_, remote string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "udp", remote)
		},
	})
	if err != nil {
		return nil, err
	}
	return r, r.Validate()
}
