package netif

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"os"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Watch yields all links (see [Links]) at once, and again each time that
// anything about them other than counters, signals and the time that leases
// have left has changed: a link appeared, went, came up, lost its carrier, an
// address or default route changed.
//
// It yields states, not events, so that nothing can be lost: changes that come
// quicker than the caller takes them, or that overflow the kernel's buffer,
// are seen as one, and what is yielded last is always the present state. It
// ends without an error when ctx does, and after the first error otherwise.
func Watch(ctx context.Context) iter.Seq2[[]Link, error] {
	return func(yield func([]Link, error) bool) {
		if err := watch(ctx, yield); err != nil {
			yield(nil, err)
		}
	}
}

// watch subscribes before it first looks, so that no change falls in between.
func watch(ctx context.Context, yield func([]Link, error) bool) error {
	sock, err := nl.Subscribe(unix.NETLINK_ROUTE,
		unix.RTNLGRP_LINK,
		unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE)
	if err != nil {
		return fmt.Errorf("subscribe to link changes: %w", err)
	}
	changed := make(chan error, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		receive(sock, changed)
	}()
	defer func() { sock.Close(); <-ended }()

	var last []Link
	for {
		links, err := Links()
		if err != nil {
			return err
		}
		if !slices.EqualFunc(links, last, same) {
			if last = links; !yield(links, nil) {
				return nil
			}
		}
		select {
		case err := <-changed:
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// receive turns any number of messages into one pending nil in changed, until
// the socket is closed. What they say does not matter: the tables are read anew.
func receive(sock *nl.NetlinkSocket, changed chan error) {
	for {
		_, _, err := sock.Receive()
		switch {
		case errors.Is(err, os.ErrClosed):
			return
		case err != nil && !errors.Is(err, unix.ENOBUFS): // ENOBUFS: messages were lost, so something changed
			select {
			case <-changed: // this error is more than a pending change
			default:
			}
			changed <- fmt.Errorf("receive link changes: %w", err)
			return
		}
		select {
		case changed <- nil:
		default: // one is pending already
		}
	}
}

// same tells whether two links differ in counters, signals and leases at most.
func same(a, b Link) bool {
	return a.Name == b.Name && a.Index == b.Index &&
		slices.Equal(a.MAC, b.MAC) && slices.Equal(a.PermanentMAC, b.PermanentMAC) &&
		a.Kind == b.Kind && a.Driver == b.Driver && a.Up == b.Up && a.Carrier == b.Carrier && a.MTU == b.MTU &&
		slices.EqualFunc(a.Addrs, b.Addrs, func(p, q netip.Prefix) bool { return p == q }) &&
		a.Broadcast4 == b.Broadcast4 && a.Gateway4 == b.Gateway4 && a.Gateway6 == b.Gateway6 &&
		a.Default4 == b.Default4 && a.Default6 == b.Default6 &&
		a.SpeedMbit == b.SpeedMbit && a.Duplex == b.Duplex
}
