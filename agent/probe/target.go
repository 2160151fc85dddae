package probe

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/natrix-os/natrix/agent/capture"
	"github.com/natrix-os/natrix/agent/command"
	"github.com/natrix-os/natrix/sysinfo/netif"
	"golang.org/x/net/idna"
	"golang.org/x/sys/unix"
)

// resolveTimeout bounds the lookup of a destination's name: a few tries of a
// few name servers.
const resolveTimeout = 15 * time.Second

// hostOf is the host in a destination as people and servers type it: a name,
// an address, host:port, or a URL with anything behind the host.
func hostOf(destination string) (string, error) {
	s := destination
	if _, rest, found := strings.Cut(s, "://"); found {
		s = rest
	}
	if i := strings.IndexAny(s, "/?#"); i >= 0 {
		s = s[:i]
	}
	s = s[strings.LastIndex(s, "@")+1:]
	if h, _, err := net.SplitHostPort(s); err == nil && (strings.Count(s, ":") == 1 || s[0] == '[') {
		s = h
	}
	if strings.Contains(destination, "[") {
		s = strings.Replace(s, "%25", "%", 1) // a URL writes a zone so (RFC 6874)
	}
	if _, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return strings.Trim(s, "[]"), nil
	}
	return ascii(s)
}

// names maps internationalised names to ASCII (UTS 46). Names for machines,
// such as _sip._tcp, are left alone.
var names = idna.New(idna.MapForLookup(), idna.StrictDomainName(false), idna.Transitional(false))

func ascii(name string) (string, error) {
	bad := func(c rune) bool { return c <= ' ' || strings.ContainsRune(`%:[]<>"\`, c) }
	a, err := names.ToASCII(name)
	if err != nil || a == "" || len(a) > 254 || strings.ContainsFunc(a, bad) {
		return "", fmt.Errorf("%w: %q is not a host name or address", command.ErrResolve, name)
	}
	return a, nil
}

// path is the way out that a command was given.
type path struct {
	spec    string     // name or address of a link; "" is by route
	implied bool       // the command came in on that link, and asks for none
	src     netip.Addr // that spec is; zero if it is none
	link    string     // that has src
	names   bool       // to name servers: see forNames
	family  string     // as in Way; "" is both

	choose func(spec string, dst netip.Addr) (netif.Route, error)
	known  map[way]exit // never changed: copies of the path share it

	capture *capture.Capture // hears what is dialled; nil for none
}

// way is a link, by name or address, and where to.
type way struct {
	by string
	to netip.Addr
}

// exit is how to dial an address, or why there is no way to.
type exit struct {
	dialer *net.Dialer
	err    error
}

// pathOf is the link that the parameters name, or else that of the command.
func pathOf(ctx context.Context, spec string) (path, error) {
	if spec == "" {
		return path{spec: command.LinkOf(ctx), implied: true, choose: netif.Select, capture: captureOf(ctx)}, nil
	}
	link, addr, err := netif.Find(spec)
	if err != nil {
		return path{}, fmt.Errorf("%w: %w", command.ErrLink, err)
	}
	return path{spec: spec, src: addr, link: link.Name, choose: netif.Select, capture: captureOf(ctx)}, nil
}

// forNames is the path to name servers. Those of another family than the
// address that the path begins at are asked by its link all the same: what is
// found with their help decides what can be reached.
func (v path) forNames() path {
	v.names = true
	return v
}

// by is the link to an address. To itself a terminal has none: a command for
// localhost means it whichever link it came in on.
func (v path) by(addr netip.Addr) string {
	switch {
	case v.implied && addr.IsLoopback():
		return ""
	case v.names && v.src.IsValid() && v.src.Is4() != addr.Is4():
		return v.link
	}
	return v.spec
}

// to is the route to an address along the path.
func (v path) to(addr netip.Addr) (netif.Route, error) {
	route, err := v.choose(v.by(addr), addr)
	if err != nil {
		return route, fmt.Errorf("%w: %w", command.ErrUnreachable, err)
	}
	return route, nil
}

// knowing is the path with the routes to addresses taken: asking the kernel for
// them takes longer than an answer from nearby, and is no part of any time measured.
func (v path) knowing(addrs ...netip.Addr) path {
	known := maps.Clone(v.known)
	if known == nil {
		known = make(map[way]exit)
	}
	for _, a := range addrs {
		known[way{v.by(a), a}] = v.exit(a)
	}
	v.known = known
	return v
}

// asking is the path with the routes to name servers taken: those given, or
// else the system's.
func (v path) asking(servers []string) path {
	asked, _ := systemServers()
	if len(servers) > 0 {
		asked = asked[:0]
	}
	for _, s := range servers {
		if server, err := netip.ParseAddrPort(s); err == nil {
			asked = append(asked, server)
		}
	}
	var addrs []netip.Addr
	for _, s := range asked {
		addrs = append(addrs, s.Addr())
	}
	v.known = v.forNames().knowing(addrs...).known
	return v
}

func (v path) exit(addr netip.Addr) exit {
	by := v.by(addr)
	if known, found := v.known[way{by, addr}]; found {
		return known
	}
	if by == "" {
		return exit{dialer: new(net.Dialer)}
	}
	route, err := v.to(addr)
	return exit{netif.Dialer(route.Link, route.Src), err}
}

// dial opens a connection along the path. The address is numeric.
func (v path) dial(ctx context.Context, network, address string) (net.Conn, error) {
	target, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	out := v.exit(target.Addr())
	if out.err != nil {
		return nil, out.err
	}
	if v.capture != nil {
		out.dialer = v.capture.Dialer(out.dialer)
	}
	return out.dialer.DialContext(ctx, network, address)
}

// share is ctx, which has a deadline, for the first of some tries that are left:
// one that comes to nothing leaves the others as much time as it had.
func share(ctx context.Context, left int) (context.Context, context.CancelFunc) {
	deadline, _ := ctx.Deadline()
	return context.WithTimeout(ctx, time.Until(deadline)/time.Duration(left))
}

// resolver asks the system's name servers along the path, or those given.
func (v path) resolver(servers []string) *net.Resolver {
	v = v.forNames()
	var turn atomic.Uint32 // lookups of several types run side by side
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		if len(servers) > 0 {
			address = servers[int(turn.Add(1)-1)%len(servers)]
		}
		conn, err := v.dial(ctx, network, address)
		if err == nil { // the resolver itself waits for its own timeout when ctx is cancelled
			context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
		}
		return conn, err
	}}
}

// ask asks the servers given, each when the one before has not answered, or
// else the system's. The context has a deadline.
func (v path) ask(ctx context.Context, host string, servers []string) (found []netip.Addr, err error) {
	if len(servers) == 0 {
		return v.resolver(nil).LookupNetIP(ctx, "ip", host)
	}
	for i := range servers {
		try, cancel := share(ctx, len(servers)-i)
		found, err = v.resolver(servers[i:i+1]).LookupNetIP(try, "ip", host)
		cancel()
		var failure *net.DNSError
		if err == nil || errors.As(err, &failure) && failure.IsNotFound {
			break
		}
	}
	return found, err
}

// resolve is the addresses of a host that the path can reach, in the order of lookup.
func (v path) resolve(ctx context.Context, host string, servers []string) ([]netip.Addr, error) {
	found, err := v.lookup(ctx, host, servers)
	if err != nil {
		return nil, err
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return found, nil // whoever sends to it says what is wrong with it
	}
	var addrs []netip.Addr
	for _, a := range found {
		if _, e := v.to(a); e != nil {
			err = e
			continue
		}
		addrs = append(addrs, a)
	}
	if len(addrs) == 0 {
		return nil, fmt.Errorf("%s: %w", host, err)
	}
	return addrs, nil
}

// lookup is the addresses of a host, at least one, IPv4 first: that is all the
// original client knew, and what its server's charts compare.
func (v path) lookup(ctx context.Context, host string, servers []string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		if found := only([]netip.Addr{addr}, v.family); len(found) > 0 {
			return found, nil
		}
		return nil, errFamily(host, v.family)
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	found, err := v.ask(ctx, host, servers)
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w: %w", host, command.ErrResolve, plain(err))
	}
	if found = only(found, v.family); len(found) == 0 {
		return nil, errFamily(host, v.family)
	}
	slices.SortStableFunc(found, func(a, b netip.Addr) int { return a.BitLen() - b.BitLen() })
	return found, nil
}

// plain is what a resolver's error says beyond what the caller already knows.
func plain(err error) error {
	var e *net.DNSError
	if errors.As(err, &e) {
		return errors.New(e.Err)
	}
	return err
}

// serverList reads name servers as they are typed: addresses with or without a
// port, separated by commas.
func serverList(s string) ([]string, error) {
	var servers []string
	for one := range strings.SplitSeq(s, ",") {
		if one = strings.TrimSpace(one); one == "" {
			continue
		}
		if addr, err := netip.ParseAddr(strings.Trim(one, "[]")); err == nil {
			one = netip.AddrPortFrom(addr, 53).String()
		} else if _, err := netip.ParseAddrPort(one); err != nil {
			return nil, fmt.Errorf("%w: name server %q is not an address", command.ErrParameter, one)
		}
		servers = append(servers, one)
	}
	return servers, nil
}

// webURL is the URL that a destination means: http:// goes without saying.
func webURL(destination string) (*url.URL, error) {
	if !strings.Contains(destination, "://") {
		destination = "http://" + destination
	}
	u, err := url.Parse(destination)
	if err != nil && strings.Contains(destination, "@") {
		return nil, fmt.Errorf("%w: cannot be parsed", command.ErrURL) // what the parser quotes can be a password
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", command.ErrURL, err)
	}
	if u.Scheme = strings.ToLower(u.Scheme); u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%w: %s (want http or https)", command.ErrScheme, u.Scheme)
	}
	host, port := u.Hostname(), u.Port()
	if _, err := netip.ParseAddr(host); err != nil {
		if host, err = ascii(host); err != nil {
			return nil, fmt.Errorf("%w: %w", command.ErrURL, err)
		}
		u.Host = host
		if port != "" {
			u.Host = net.JoinHostPort(host, port)
		}
	}
	return u, nil
}

// shown is a URL as others may see it: without a password, and without a zone,
// which means nothing to them.
func shown(u *url.URL) string {
	s := withoutUser(u)
	if addr, err := netip.ParseAddr(u.Hostname()); err == nil && addr.Zone() != "" {
		s.Host = strings.Replace(s.Host, "%"+addr.Zone(), "", 1)
	}
	return s.String()
}

func withoutUser(u *url.URL) *url.URL {
	bare := *u
	bare.User = nil
	return &bare
}

// credentials is user:password of a URL; "" is none.
func credentials(u *url.URL) string {
	if u.User == nil {
		return ""
	}
	password, _ := u.User.Password()
	return u.User.Username() + ":" + password
}

// unreachable tells the refusals of the network apart from other failures to send.
func unreachable(err error) error {
	for _, errno := range []error{unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ENETDOWN, unix.EHOSTDOWN} {
		if errors.Is(err, errno) {
			return fmt.Errorf("%w: %w", command.ErrUnreachable, err)
		}
	}
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("%w: %w (root, CAP_NET_RAW or a place in net.ipv4.ping_group_range can)", command.ErrPermission, err)
	}
	return err
}
