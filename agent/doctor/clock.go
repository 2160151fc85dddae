package doctor

import (
	"context"
	"net"
	"strings"
	"time"

	"github.com/beevik/ntp"
)

const (
	maxServers  = 4           // time servers that are asked
	maxWrong    = time.Minute // that certificates and the server's times put up with
	clockLayout = "2006-01-02 15:04:05 UTC"
)

// examineClock asks all time servers at the same time and believes the first.
func (p *patient) examineClock(ctx context.Context) Finding {
	now := p.now()
	shown := now.UTC().Format(clockLayout)
	if now.Before(p.Built) {
		return found(ClockUnset, shown)
	}
	servers := p.NTP[:min(len(p.NTP), maxServers)]
	if len(servers) == 0 {
		return found(ClockKept, shown)
	}
	server, offset, err := p.firstTime(ctx, servers)
	switch {
	case err != nil:
		return found(ClockUnchecked, shown, strings.Join(servers, ", "))
	case offset.Abs() > maxWrong:
		return found(ClockWrong, shown, offset.Abs().Round(time.Second), server)
	}
	return found(ClockFine, shown, max(offset.Abs().Round(time.Millisecond), time.Millisecond), server)
}

func (p *patient) firstTime(ctx context.Context, servers []string) (server string, offset time.Duration, err error) {
	type reading struct {
		server string
		offset time.Duration
		err    error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	readings := make(chan reading, len(servers))
	for _, s := range servers {
		go func() {
			offset, err := p.time(ctx, s)
			readings <- reading{s, offset, err}
		}()
	}
	for range servers {
		r := <-readings
		if r.err == nil {
			return r.server, r.offset, nil
		}
		err = r.err
	}
	return "", 0, err
}

// askTime measures how far the clock is off.
func askTime(ctx context.Context, server string) (time.Duration, error) {
	r, err := ntp.QueryWithOptions(server, ntp.QueryOptions{
		Timeout: 2 * patience,
		Dialer: func(_, remote string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, "udp", remote)
			if err != nil {
				return nil, err
			}
			context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
			return conn, nil
		},
	})
	if err == nil {
		err = r.Validate()
	}
	if err != nil {
		return 0, err
	}
	return r.ClockOffset, nil
}
