package probe

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/miekg/dns"
	"github.com/natrix-os/natrix/agent/command"
)

const resolvConf = "/etc/resolv.conf"

// dnsServer is one name server and how it is spoken to.
type dnsServer struct {
	written string // as it was given
	network string // udp, tcp, tls (RFC 7858) or https (RFC 8484)
	host    string // name or address; the certificate of tls and https is for it
	port    uint16
	path    string         // of https
	addr    netip.AddrPort // of the host
}

// String names the server in errors: host and port, and how it is spoken to if not by UDP.
func (s dnsServer) String() string {
	if s.network == "udp" {
		return s.addr.String()
	}
	return s.network + "://" + net.JoinHostPort(s.host, strconv.Itoa(int(s.port))) + s.path
}

// dnsPorts are the networks of name servers and their ports.
var dnsPorts = map[string]uint16{"udp": 53, "tcp": 53, "tls": 853, "https": 443}

// parseDNSServer reads a name server as people write them: an address or a
// name, host:port, host#port, or one of these behind udp://, tcp:// or tls://;
// or a URL of https.
func parseDNSServer(s string) (dnsServer, error) {
	server := dnsServer{written: s, network: "udp"}
	rest := s
	if scheme, after, found := strings.Cut(s, "://"); found {
		server.network, rest = strings.ToLower(scheme), after
	}
	port, known := dnsPorts[server.network]
	if !known {
		return server, fmt.Errorf("%w: name server %q: %s is not udp, tcp, tls or https", command.ErrParameter, s, server.network)
	}
	server.port = port
	host, number := splitPort(strings.TrimSuffix(rest, "/"))
	if server.network == "https" {
		host, number, server.path = splitURL(s)
	}
	if number != "" {
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil || n == 0 {
			return server, fmt.Errorf("%w: name server %q: %q is not a port", command.ErrParameter, s, number)
		}
		server.port = uint16(n)
	}
	var err error
	if server.host, err = hostOf(host); err != nil {
		return server, fmt.Errorf("%w: name server %q: %w", command.ErrParameter, s, err)
	}
	return server, nil
}

// splitURL takes a URL apart; "" is a host that there is none. The variable of
// a template (RFC 8484, section 4.1) is for GET, and this is for POST.
func splitURL(s string) (host, port, path string) {
	plain, _, _ := strings.Cut(s, "{")
	u, err := url.Parse(plain)
	if err != nil {
		return "", "", ""
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/dns-query"
	}
	return u.Hostname(), u.Port(), u.RequestURI()
}

// splitPort splits off what stands behind # or, where it cannot be a part of
// an IPv6 address, behind a colon; "" if there is nothing.
func splitPort(s string) (host, port string) {
	if i := strings.LastIndex(s, "#"); i >= 0 {
		return s[:i], s[i+1:]
	}
	if h, p, err := net.SplitHostPort(s); err == nil {
		return h, p
	}
	return s, ""
}

// servers are the name servers to ask, in order. Those given by name are looked up.
func (p DNSParams) servers(ctx context.Context, via path) ([]dnsServer, error) {
	if p.Server == "" || p.System {
		return systemDNSServers()
	}
	var servers []dnsServer
	for one := range strings.SplitSeq(p.Server, ",") {
		if one = strings.TrimSpace(one); one == "" {
			continue
		}
		server, err := parseDNSServer(one)
		if err != nil {
			return nil, err
		}
		addrs, err := via.resolve(ctx, server.host, nil)
		if err != nil {
			return nil, fmt.Errorf("name server: %w", err)
		}
		server.addr = netip.AddrPortFrom(addrs[0], server.port)
		servers = append(servers, server)
	}
	if len(servers) == 0 {
		return nil, fmt.Errorf("%w: %q names no name server", command.ErrParameter, p.Server)
	}
	return servers, nil
}

func systemDNSServers() ([]dnsServer, error) {
	addrs, err := systemServers()
	var servers []dnsServer
	for _, a := range addrs {
		servers = append(servers, dnsServer{written: a.String(), network: "udp", host: a.Addr().String(), port: a.Port(), addr: a})
	}
	return servers, err
}

// systemServers are the name servers of resolv.conf(5).
func systemServers() ([]netip.AddrPort, error) {
	conf, err := dns.ClientConfigFromFile(resolvConf)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", command.ErrNoResolver, err)
	}
	var servers []netip.AddrPort
	for _, s := range conf.Servers {
		if server, err := netip.ParseAddrPort(net.JoinHostPort(s, conf.Port)); err == nil {
			servers = append(servers, server)
		}
	}
	if len(servers) == 0 {
		return nil, fmt.Errorf("%w in %s", command.ErrNoResolver, resolvConf)
	}
	return servers, nil
}

func serverAddrs(servers []dnsServer) []netip.Addr {
	var addrs []netip.Addr
	for _, s := range servers {
		addrs = append(addrs, s.addr.Addr())
	}
	return addrs
}
