package lease

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// advert is one option of a router advertisement with the name servers of a link.
type advert struct {
	index    int // of the link
	servers  []netip.Addr
	lifetime time.Duration // 0: these servers are no longer to be used
}

// collectAdverts keeps the resolver told of the name servers that routers
// advertise, until ctx ends. The kernel reads the advertisements itself and
// passes on the options that it has no use for.
func collectAdverts(ctx context.Context, r *resolver, log *slog.Logger) error {
	sock, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_ND_USEROPT)
	if err != nil {
		return fmt.Errorf("subscribe to router advertisements: %w", err)
	}
	adverts, ended := make(chan advert), make(chan error, 1)
	go func() { ended <- receiveAdverts(ctx, sock, adverts) }()
	defer func() {
		sock.Close()
		if ended != nil {
			<-ended
		}
	}()

	links := make(map[int][]server)
	publish := func(index int) {
		if err := r.set(source{index, true}, names{link: linkName(index), servers: addresses(links[index])}); err != nil {
			log.Warn("name servers", "err", err)
		}
	}
	for {
		select {
		case a := <-adverts:
			links[a.index] = learn(links[a.index], a, time.Now())
			publish(a.index)
		case <-time.After(untilNextEnd(links, time.Now())):
			for index, servers := range links {
				if left := expire(servers, time.Now()); len(left) < len(servers) {
					links[index] = left
					publish(index)
				}
			}
		case err := <-ended:
			ended = nil
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

// receiveAdverts returns nil when the socket is closed.
func receiveAdverts(ctx context.Context, sock *nl.NetlinkSocket, adverts chan<- advert) error {
	for {
		messages, from, err := sock.Receive()
		if errors.Is(err, os.ErrClosed) {
			return nil
		}
		if errors.Is(err, unix.ENOBUFS) {
			continue // the routers will say it again
		}
		if err != nil {
			return fmt.Errorf("receive router advertisements: %w", err)
		}
		if from.Pid != nl.PidKernel {
			continue
		}
		for _, m := range messages {
			a, ok := parseAdvert(m.Data)
			if m.Header.Type != unix.RTM_NEWNDUSEROPT || !ok {
				continue
			}
			select {
			case adverts <- a:
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// parseAdvert reads struct nduseroptmsg (linux/rtnetlink.h) and the RDNSS
// option in it (RFC 8106 section 5.1). It is false for any other option.
func parseAdvert(b []byte) (advert, bool) {
	const (
		header              = 16
		routerAdvertisement = 134
		rdnss               = 25
	)
	if len(b) < header+8 || b[0] != unix.AF_INET6 || b[8] != routerAdvertisement {
		return advert{}, false
	}
	option := b[header:]
	size := 8 * int(option[1])
	if option[0] != rdnss || size < 24 || size > len(option) || size > int(binary.NativeEndian.Uint16(b[2:])) {
		return advert{}, false
	}
	a := advert{
		index:    int(int32(binary.NativeEndian.Uint32(b[4:]))),
		lifetime: time.Duration(binary.BigEndian.Uint32(option[4:])) * time.Second,
	}
	for addr := range slices.Chunk(option[8:size-(size-8)%16], 16) {
		if s := netip.AddrFrom16([16]byte(addr)); !s.IsUnspecified() && !s.IsMulticast() && !s.Is4In6() {
			a.servers = append(a.servers, s)
		}
	}
	return a, len(a.servers) > 0
}

// server is a name server and when its advertisement ends.
type server struct {
	addr netip.Addr
	end  time.Time
}

// learn returns servers with those of a added or prolonged. They stay in the
// order in which they were first advertised, so that resolv.conf stays the same.
func learn(servers []server, a advert, now time.Time) []server {
	for _, addr := range a.servers {
		s := server{addr, now.Add(a.lifetime)}
		if i := slices.IndexFunc(servers, func(s server) bool { return s.addr == addr }); i >= 0 {
			servers[i] = s
		} else {
			servers = append(servers, s)
		}
	}
	return expire(servers, now)
}

func expire(servers []server, now time.Time) []server {
	return slices.DeleteFunc(slices.Clone(servers), func(s server) bool { return !now.Before(s.end) })
}

// untilNextEnd is a day if there is nothing to wait for.
func untilNextEnd(links map[int][]server, now time.Time) time.Duration {
	wait := 24 * time.Hour
	for _, servers := range links {
		for _, s := range servers {
			wait = min(wait, s.end.Sub(now))
		}
	}
	return wait
}

func addresses(servers []server) []netip.Addr {
	var all []netip.Addr
	for _, s := range servers {
		all = append(all, s.addr)
	}
	return all
}

// linkName is needed for the zone of a link-local server; it is empty for a
// link that is gone.
func linkName(index int) string {
	link, err := net.InterfaceByIndex(index)
	if err != nil {
		return ""
	}
	return link.Name
}
