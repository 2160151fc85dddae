package packet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// route is how packets leave for one destination.
type route struct {
	src   netip.Addr
	index int // of the link that was asked for or that a zone names, 0 for none
	mtu   int // of the link, or of the route if that is smaller
}

type routeKey struct {
	dst  netip.Addr
	link string
	mark uint32
}

// routes looks routes up in the kernel and remembers them until the kernel
// says that a route, an address or a link has changed.
type routes struct {
	stale atomic.Bool // what is known may be out of date although the kernel did not announce it

	mu     sync.Mutex
	handle *netlink.Handle
	events int // netlink socket, becomes readable on any change
	known  map[routeKey]route
	names  map[int]string      // of links
	locals map[netip.Addr]bool // addresses of this host
}

const maxRoutes = 8192 // known at once; then the memory is cleared

func openRoutes() (*routes, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	events, err := routeEvents()
	if err != nil {
		h.Close()
		return nil, fmt.Errorf("subscribe to route changes: %w", err)
	}
	r := &routes{handle: h, events: events}
	r.forget()
	return r, nil
}

func routeEvents() (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	const groups = unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR |
		unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE |
		unix.RTMGRP_IPV4_RULE | 1<<(unix.RTNLGRP_IPV6_RULE-1)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		unix.Close(fd)
		return -1, os.NewSyscallError("bind", err)
	}
	return fd, nil
}

func (r *routes) close() {
	r.handle.Close()
	unix.Close(r.events)
}

func (r *routes) forget() {
	r.known, r.names, r.locals = make(map[routeKey]route), make(map[int]string), make(map[netip.Addr]bool)
}

// refresh forgets everything if something has changed. What changed is in the
// messages, but changes are rare and lookups cheap. ENOBUFS is a change too: so many that some were lost.
func (r *routes) refresh() {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b [1]byte
	changed := len(r.known) >= maxRoutes || r.stale.Swap(false)
	for {
		_, err := unix.Read(r.events, b[:])
		if err == unix.EAGAIN || err == unix.EWOULDBLOCK {
			break
		}
		changed = true
		if err != nil && err != unix.ENOBUFS && err != unix.EINTR {
			break
		}
	}
	if changed {
		r.forget()
	}
}

// lookup returns how packets of req leave.
func (r *routes) lookup(req *Request) (route, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := routeKey{req.Dst, req.Link, req.Mark}
	if known, ok := r.known[k]; ok {
		return known, nil
	}
	found, err := r.ask(k)
	if err != nil {
		return route{}, fmt.Errorf("route to %s: %w", req.Dst, err)
	}
	r.known[k] = found
	return found, nil
}

func (r *routes) ask(k routeKey) (route, error) {
	index, err := r.index(k)
	if err != nil {
		return route{}, err
	}
	got, err := r.handle.RouteGetWithOptions(net.IP(k.dst.AsSlice()), &netlink.RouteGetOptions{OifIndex: index, Mark: k.mark})
	if err != nil {
		return route{}, err
	}
	if len(got) == 0 {
		return route{}, unix.ENETUNREACH
	}
	src, _ := netip.AddrFromSlice(got[0].Src)
	found := route{src: src.Unmap(), index: index, mtu: got[0].MTU}
	if l, err := r.handle.LinkByIndex(got[0].LinkIndex); err == nil && (found.mtu == 0 || l.Attrs().MTU < found.mtu) {
		found.mtu = l.Attrs().MTU
	}
	return found, nil
}

// local returns nil if a packet may leave with this source address.
func (r *routes) local(src netip.Addr) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	is, ok := r.locals[src]
	if !ok {
		index, err := r.index(routeKey{dst: src})
		if err != nil {
			return err
		}
		got, err := r.handle.RouteGetWithOptions(net.IP(src.AsSlice()), &netlink.RouteGetOptions{OifIndex: index})
		is = err == nil && len(got) > 0 && got[0].Type == unix.RTN_LOCAL
		r.locals[src] = is
	}
	if !is {
		return unix.EADDRNOTAVAIL
	}
	return nil
}

// index returns the link that a request names, by Link or by the zone of its destination.
func (r *routes) index(k routeKey) (int, error) {
	name := k.link
	if name == "" {
		name = k.dst.Zone()
	}
	if name == "" {
		return 0, nil
	}
	l, err := r.handle.LinkByName(name)
	if err == nil {
		return l.Attrs().Index, nil
	}
	if n, numErr := strconv.Atoi(name); numErr == nil && k.link == "" && n > 0 {
		return n, nil // a zone may be a number (RFC 4007 section 11.2)
	}
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return 0, fmt.Errorf("link %s: %w", name, ErrNoLink)
	}
	return 0, fmt.Errorf("link %s: %w", name, err)
}

// zone returns the name of a link, for addresses that need one.
func (r *routes) zone(index int) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if name, ok := r.names[index]; ok {
		return name
	}
	name := strconv.Itoa(index)
	if l, err := r.handle.LinkByIndex(index); err == nil {
		name = l.Attrs().Name
	}
	r.names[index] = name
	return name
}
