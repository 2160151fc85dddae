package probe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
	"github.com/natrix-os/natrix/agent/command"
	"github.com/natrix-os/natrix/agent/location"
)

var dnsInfo = command.Info{
	Name:    "dns",
	Summary: "What a name server says about a name, and how long it takes",
	Example: "natrix dns www.example.com\nnatrix dns -s 192.0.2.53 -m MX example.com",
}

const (
	resolvConf = "/etc/resolv.conf"
	// A UDP query is repeated, because one lost packet is no answer about a name server.
	dnsTries = 3
	// The size that gets through everywhere without fragments (DNS flag day 2020).
	dnsPayload = 1232
)

// DNSParams are the parameters of a dns query.
type DNSParams struct {
	Interface string        // link to send from, by name or by one of its addresses; "" is by route
	Server    string        // name servers, separated by commas; "" is the system's
	System    bool          // use the system's name servers even if Server is set
	Method    string        // type of record: a, aaaa, cname, mx, ns, ...
	Timeout   time.Duration // for all tries of all name servers together
}

// DefaultDNS asks the system's name servers for addresses.
func DefaultDNS() DNSParams { return DNSParams{Method: "a", Timeout: 10 * time.Second} }

// Flags declares the parameters for all doors.
func (p *DNSParams) Flags(f *command.Flags) {
	f.Text(&p.Interface, "interface", "i", "link to send from: its name, or one of its addresses")
	f.Text(&p.Server, "server", "s", "name server to ask; several are tried in order", "dns_server")
	f.Switch(&p.System, "is-default", "", "ask the system's name servers")
	f.Text(&p.Method, "method", "m", "type of record: A, AAAA, CNAME, MX, NS, TXT, SOA, SRV, PTR, CAA, ...", "dns_method")
	f.Seconds(&p.Timeout, "timeout", "t", "for all tries together, in seconds", "dns_timeout")
	f.Hide("is-default")
}

// DNSResult is an answer.
type DNSResult struct {
	Destination    string
	Type           string // of the records asked for, upper case
	Server         netip.AddrPort
	ServerLocation location.Location
	Time           time.Duration // of the query that was answered
	Tries          int           // queries sent until then, to all name servers
	Network        string        // udp, or tcp if the answer did not fit
	Answer         []dns.RR      // the whole answer section, in order

	locations location.Finder
}

// DNS asks one name server after the other until one answers. That a name or
// record does not exist is an error, as the server books it.
func (p *Prober) DNS(ctx context.Context, destination string, params DNSParams) (*DNSResult, error) {
	host, err := hostOf(destination)
	if err != nil {
		return nil, err
	}
	kind, known := dns.StringToType[strings.ToUpper(params.Method)]
	if !known || kind == dns.TypeANY || kind == dns.TypeAXFR || kind == dns.TypeIXFR {
		return nil, fmt.Errorf("%w: %q is not a type of record to ask for", command.ErrParameter, params.Method)
	}
	via, err := pathOf(ctx, params.Interface)
	if err != nil {
		return nil, err
	}
	servers, err := p.nameServers(ctx, via, params)
	if err != nil {
		return nil, err
	}
	query := new(dns.Msg).SetQuestion(questionName(host, kind), kind).SetEdns0(dnsPayload, false)
	r := &DNSResult{Destination: destination, Type: dns.TypeToString[kind], locations: p.Locations}
	if err := r.ask(ctx, via, query, servers, params.Timeout); err != nil {
		return nil, fmt.Errorf("%s %s: %w", r.Type, host, err)
	}
	r.ServerLocation = p.Locations.Of(r.Server.Addr())
	return r, nil
}

// questionName is the name to ask for: an address has its pointer's.
func questionName(host string, kind uint16) string {
	if kind == dns.TypePTR {
		host, _, _ := strings.Cut(host, "%") // a zone is no part of the name
		if reverse, err := dns.ReverseAddr(host); err == nil {
			return reverse
		}
	}
	return dns.Fqdn(host)
}

// nameServers are those to ask, in order.
func (p *Prober) nameServers(ctx context.Context, via path, params DNSParams) ([]netip.AddrPort, error) {
	if params.Server == "" || params.System {
		return systemServers()
	}
	var servers []netip.AddrPort
	for one := range strings.SplitSeq(params.Server, ",") {
		host, port := strings.TrimSpace(one), "53"
		if h, p, err := net.SplitHostPort(host); err == nil {
			host, port = h, p
		}
		name, err := hostOf(host)
		if err != nil {
			return nil, fmt.Errorf("name server: %w", err)
		}
		addrs, err := via.resolve(ctx, name, nil)
		if err != nil {
			return nil, fmt.Errorf("name server: %w", err)
		}
		server, err := netip.ParseAddrPort(net.JoinHostPort(addrs[0].String(), port))
		if err != nil {
			return nil, fmt.Errorf("%w: name server %q: %w", command.ErrParameter, one, err)
		}
		servers = append(servers, server)
	}
	return servers, nil
}

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

// ask tries each name server for its share of the time, and keeps the first
// answer. The error is that of the last one.
func (r *DNSResult) ask(ctx context.Context, via path, query *dns.Msg, servers []netip.AddrPort, timeout time.Duration) (err error) {
	via = via.knowing(serverAddrs(servers)...)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for i, server := range servers {
		part, cancel := share(ctx, len(servers)-i)
		err = r.askOne(part, via, query, server)
		cancel()
		if err == nil || errors.Is(err, command.ErrResolve) || errors.Is(err, command.ErrNoRecord) && !errors.Is(err, errServer) {
			return err
		}
	}
	return err
}

// errServer marks an answer that says more of the name server than of the name.
var errServer = errors.New("the name server does not answer the question")

func (r *DNSResult) askOne(ctx context.Context, via path, query *dns.Msg, server netip.AddrPort) error {
	answer, err := r.exchange(ctx, via, query, server)
	if err != nil {
		return fmt.Errorf("ask %v: %w", server, err)
	}
	r.Server, r.Answer = server, answer.Answer
	switch answer.Rcode {
	case dns.RcodeSuccess:
		if len(r.records()) == 0 {
			return fmt.Errorf("%v: %w", server, command.ErrNoRecord)
		}
		return nil
	case dns.RcodeNameError:
		return fmt.Errorf("%v: %w: no such name", server, command.ErrResolve)
	}
	return fmt.Errorf("%v: %w: %w: %s", server, command.ErrNoRecord, errServer, dns.RcodeToString[answer.Rcode])
}

// exchange sends the query by UDP, again if nothing comes, without EDNS if the
// name server does not know it, and by TCP if the answer does not fit.
func (r *DNSResult) exchange(ctx context.Context, via path, query *dns.Msg, server netip.AddrPort) (*dns.Msg, error) {
	var answer *dns.Msg
	err := error(command.ErrTimeout)
	for i := range dnsTries {
		try, cancel := share(ctx, dnsTries-i)
		answer, err = r.once(try, via, "udp", query, server)
		cancel()
		if err == nil || !errors.Is(err, command.ErrTimeout) {
			break
		}
	}
	if err == nil && answer.Rcode == dns.RcodeFormatError && query.IsEdns0() != nil {
		plain := query.Copy() // RFC 6891, section 6.2.2
		plain.Extra = nil
		return r.exchange(ctx, via, plain, server)
	}
	if err == nil && answer.Truncated {
		return r.once(ctx, via, "tcp", query, server)
	}
	return answer, err
}

// once sends the query once and notes how long the answer took.
func (r *DNSResult) once(ctx context.Context, via path, network string, query *dns.Msg, server netip.AddrPort) (*dns.Msg, error) {
	r.Tries++
	begin := time.Now()
	conn, err := via.dial(ctx, network, server.String())
	if err != nil {
		return nil, timedOut(ctx, err)
	}
	if network == "udp" {
		begin = time.Now() // nothing has been sent so far
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	client := dns.Client{Net: network, UDPSize: dnsPayload}
	if deadline, ok := ctx.Deadline(); ok {
		client.Timeout = time.Until(deadline)
	}
	answer, _, err := client.ExchangeWithConnContext(ctx, query, &dns.Conn{Conn: conn, UDPSize: dnsPayload})
	if err != nil {
		return nil, timedOut(ctx, err)
	}
	r.Time, r.Network = time.Since(begin), network
	return answer, nil
}

// timedOut gives an error its kind: it took too long, or there is nobody there.
func timedOut(ctx context.Context, err error) error {
	var timeout net.Error
	if ctx.Err() != nil || errors.As(err, &timeout) && timeout.Timeout() {
		return command.ErrTimeout
	}
	return fmt.Errorf("%w: %w", command.ErrNoRecord, errors.Join(errServer, err))
}

// records are the answers of the type that was asked for.
func (r *DNSResult) records() []dns.RR {
	var found []dns.RR
	for _, rr := range r.Answer {
		if dns.TypeToString[rr.Header().Rrtype] == r.Type {
			found = append(found, rr)
		}
	}
	return found
}

// Addrs are the addresses in the answer, in its order.
func (r *DNSResult) Addrs() []netip.Addr {
	var addrs []netip.Addr
	for _, rr := range r.records() {
		switch rr := rr.(type) {
		case *dns.A:
			addrs = append(addrs, addrOf(rr.A))
		case *dns.AAAA:
			addrs = append(addrs, addrOf(rr.AAAA))
		}
	}
	return slices.DeleteFunc(addrs, func(a netip.Addr) bool { return !a.IsValid() })
}

func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

// dnsWire is the data of the wire document. The server wants ips with every
// type, if need be empty.
type dnsWire struct {
	IPs         []located `json:"ips"`
	CNames      []string  `json:"cnames,omitempty"`
	MXs         []string  `json:"mxs,omitempty"`
	NS          []string  `json:"ns,omitempty"`
	Destination string    `json:"destination"`
	Time        float64   `json:"ptime"` // milliseconds
	Server      located   `json:"dns_server"`

	Type    string   `json:"type"`
	Network string   `json:"network"`
	Tries   int      `json:"tries"`
	Records []string `json:"records"` // the answer section as in a zone file
}

// MarshalJSON writes the data of the wire document.
func (r *DNSResult) MarshalJSON() ([]byte, error) {
	w := dnsWire{
		IPs: []located{}, Destination: r.Destination, Time: ms(r.Time),
		Server: located{r.Server.Addr().WithZone(""), r.ServerLocation}, Type: r.Type, Network: r.Network, Tries: r.Tries,
	}
	for _, a := range r.Addrs() {
		w.IPs = append(w.IPs, located{a, r.locations.Of(a)})
	}
	for _, rr := range r.records() {
		switch rr := rr.(type) {
		case *dns.CNAME:
			w.CNames = append(w.CNames, rr.Target)
		case *dns.MX:
			w.MXs = append(w.MXs, rr.Mx)
		case *dns.NS:
			w.NS = append(w.NS, rr.Ns)
		}
	}
	for _, rr := range r.Answer {
		w.Records = append(w.Records, strings.ReplaceAll(rr.String(), "\t", " "))
	}
	return json.Marshal(w)
}

// WriteText prints the records, and who gave them.
func (r *DNSResult) WriteText(w io.Writer) {
	for _, rr := range r.Answer {
		fmt.Fprintln(w, rr)
	}
	fmt.Fprintf(w, "%d records from %v over %s in %.3f ms\n", len(r.Answer), r.Server, r.Network, ms(r.Time))
}
