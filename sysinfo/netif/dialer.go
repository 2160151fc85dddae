package netif

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Dialer returns a dialer whose sockets, TCP and UDP, leave by link and from
// src. An empty link and a zero src each leave that choice to the kernel. A
// name that resolves to both families is dialled in that of src only.
func Dialer(link string, src netip.Addr) *net.Dialer {
	return &net.Dialer{Control: Control(link, src)}
}

// Control returns the function that binds a socket to link and src before it
// connects, for a [net.Dialer] or [net.ListenConfig] of one's own; with the
// latter leave src zero, for it binds by itself.
func Control(link string, src netip.Addr) func(network, address string, c syscall.RawConn) error {
	return func(network, _ string, c syscall.RawConn) error {
		var err error
		cerr := c.Control(func(fd uintptr) { err = Bind(int(fd), network, link, src) })
		return errors.Join(cerr, err)
	}
}

// Bind ties an unconnected socket of network ("tcp4", "udp6", "ip4", ...) to
// link, if not empty, and to src, if not zero, with the port left open.
func Bind(fd int, network, link string, src netip.Addr) error {
	if link != "" {
		if err := unix.BindToDevice(fd, link); err != nil {
			return fmt.Errorf("bind to link %s: %w", link, err)
		}
	}
	if !src.IsValid() {
		return nil
	}
	if src = src.Unmap(); src.Is4() == strings.HasSuffix(network, "6") {
		return fmt.Errorf("%s cannot be the source of a %s socket", src, network)
	}
	// Without the option a port would be taken for src alone rather than for
	// src and destination, and run out sooner (ip(7)). It is only an economy.
	_ = unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	if err := unix.Bind(fd, sockaddr(src, link)); err != nil {
		return fmt.Errorf("bind to %s: %w", src, err)
	}
	return nil
}

func sockaddr(a netip.Addr, link string) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4()}
	}
	sa := &unix.SockaddrInet6{Addr: a.As16()}
	if a.IsLinkLocalUnicast() {
		// RFC 4007: a link-local address means nothing without its zone.
		if i, err := net.InterfaceByName(cmp.Or(a.Zone(), link)); err == nil {
			sa.ZoneId = uint32(i.Index)
		}
	}
	return sa
}
