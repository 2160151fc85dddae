package probe

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
	"github.com/natrix-os/natrix/agent/command"
	"github.com/natrix-os/natrix/agent/location"
)

var dnsInfo = command.Info{
	Wire:    dnsWire{},
	Name:    "dns",
	Summary: "What name servers say about a name, and how long it takes them",
	Example: "natrix dns www.example.com\n" +
		"natrix dns -s 192.0.2.53 -m MX example.com\n" +
		"natrix dns -s tls://dns.example.net,https://dns.example.net/dns-query --all-servers --dnssec -o text example.com\n" +
		"natrix dns 192.0.2.1",
}

// DNSParams are the parameters of a dns query.
type DNSParams struct {
	Interface  string        // link to send from, by name or by one of its addresses; "" is by route
	Server     string        // name servers, separated by commas; "" is the system's
	System     bool          // use the system's name servers even if Server is set
	All        bool          // ask every name server, not only those up to the first that answers
	Method     string        // type of record: a, aaaa, cname, mx, ns, ... or type123; "" is a, and ptr for an address
	Timeout    time.Duration // for all tries of all name servers together
	DNSSEC     bool          // ask for signatures, and whether the name server has verified them
	Unchecked  bool          // ask the name server not to verify signatures
	NoRecurse  bool          // ask for what the name server knows itself
	Subnet     string        // tell the name server that the answer is for this network (RFC 7871); "" tells nothing
	NSID       bool          // ask which of its instances the name server is (RFC 5001)
	Cookie     bool          // send a DNS cookie (RFC 7873)
	Capture    string        // file for the probe's packets; "" for none
	UDPPayload int           // bytes of the largest answer that may come by UDP; 0 asks without EDNS
}

// DefaultDNS asks the system's name servers for addresses.
func DefaultDNS() DNSParams {
	return DNSParams{Timeout: 10 * time.Second, UDPPayload: dnsPayload}
}

// Flags declares the parameters for all doors.
func (p *DNSParams) Flags(f *command.Flags) {
	f.Text(&p.Interface, "interface", "i", "link to send from: its name, or one of its addresses")
	f.Text(&p.Server, "server", "s", "name servers, tried in order: ADDRESS, HOST:PORT, HOST#PORT, tcp://HOST, tls://HOST, https://HOST/PATH", "dns_server")
	f.Switch(&p.System, "is-default", "", "ask the system's name servers")
	f.Switch(&p.All, "all-servers", "", "ask every name server, side by side, and compare")
	f.Text(&p.Method, "method", "m", "type of record: A, AAAA, CNAME, MX, NS, TXT, SOA, SRV, PTR, CAA, HTTPS, ... (default A, PTR for an address)", "dns_method")
	f.Seconds(&p.Timeout, "timeout", "t", "for all tries together, in seconds", "dns_timeout")
	f.Switch(&p.DNSSEC, "dnssec", "", "ask for signatures; authenticated in the answer then means that the name server has verified them, not this terminal")
	f.Switch(&p.Unchecked, "checking-disabled", "", "ask the name server not to verify signatures")
	f.Switch(&p.NoRecurse, "no-recurse", "", "ask for what the name server knows itself")
	f.Text(&p.Subnet, "client-subnet", "", "ask on behalf of this network, such as 192.0.2.0/24")
	f.Switch(&p.NSID, "nsid", "", "ask which of its instances the name server is")
	f.Switch(&p.Cookie, "cookie", "", "send a DNS cookie")
	f.Int(&p.UDPPayload, "udp-size", "", "bytes of the largest answer that may come by UDP; 0 asks without EDNS", 0, 65535)
	captureFlag(f, &p.Capture)
	f.Hide("is-default")
}

// DNSResult is an answer.
type DNSResult struct {
	Captured
	Destination    string
	Type           string // of the records asked for, upper case
	Server         netip.AddrPort
	ServerLocation location.Location
	Time           time.Duration // of the query that was answered, with the connection that it took
	Tries          int           // queries sent to all name servers
	Network        string        // udp, tcp (also if the answer did not fit into udp), tls or https
	Message        *dns.Msg      // the whole answer
	Attempts       []DNSAttempt  // name server by name server, in the order in which they were given

	locations location.Finder
}

// DNS asks one name server after the other until one answers. That a name or
// record does not exist is an error, as the server books it.
func (p *Prober) DNS(ctx context.Context, destination string, params DNSParams) (*DNSResult, error) {
	if params.Capture != "" {
		return captured(ctx, p, params.Capture, func(ctx context.Context, p *Prober) (*DNSResult, error) {
			params.Capture = ""
			return p.DNS(ctx, destination, params)
		})
	}
	host, err := hostOf(destination)
	if err != nil {
		return nil, err
	}
	kind, err := recordType(params.Method, host)
	if err != nil {
		return nil, err
	}
	query, err := params.query(questionName(host, kind), kind)
	if err != nil {
		return nil, err
	}
	via, err := pathOf(ctx, params.Interface)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, params.Timeout)
	defer cancel()
	servers, err := params.servers(ctx, via)
	if err != nil {
		return nil, err
	}
	q := inquiry{via: via.forNames().knowing(serverAddrs(servers)...), query: query, roots: p.roots}
	r := &DNSResult{Destination: destination, Type: dns.Type(kind).String(), locations: p.Locations}
	if params.All {
		r.Attempts = q.everybody(ctx, servers)
	} else {
		r.Attempts = q.inTurn(ctx, servers)
	}
	if err := r.settle(); err != nil {
		return nil, fmt.Errorf("%s %s: %w", r.Type, host, err)
	}
	r.ServerLocation = p.Locations.Of(r.Server.Addr())
	return r, nil
}

// recordType reads a type of record by its name or as TYPE123 (RFC 3597).
func recordType(method, host string) (uint16, error) {
	method = strings.ToUpper(method)
	if method == "" {
		if _, err := netip.ParseAddr(host); err == nil {
			return dns.TypePTR, nil
		}
		return dns.TypeA, nil
	}
	kind, known := dns.StringToType[method]
	if number, is := strings.CutPrefix(method, "TYPE"); is && !known {
		n, err := strconv.ParseUint(number, 10, 16)
		kind, known = uint16(n), err == nil
	}
	switch kind {
	case dns.TypeNone, dns.TypeOPT, dns.TypeTSIG, dns.TypeTKEY, dns.TypeAXFR, dns.TypeIXFR, dns.TypeMAILA, dns.TypeMAILB:
		known = false // these are not asked for in a query
	}
	if !known {
		return 0, fmt.Errorf("%w: %q is not a type of record to ask for", command.ErrParameter, method)
	}
	return kind, nil
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

// inquiry is one question to some name servers.
type inquiry struct {
	via   path
	query *dns.Msg
	roots certificates
}

// inTurn asks one name server after the other, each for its share of the
// time, until one has settled the question.
func (q inquiry) inTurn(ctx context.Context, servers []dnsServer) []DNSAttempt {
	var attempts []DNSAttempt
	for i, server := range servers {
		part, cancel := share(ctx, len(servers)-i)
		a := q.ask(part, server)
		cancel()
		attempts = append(attempts, a)
		if a.settled() {
			break
		}
	}
	return attempts
}

// everybody asks all name servers side by side.
func (q inquiry) everybody(ctx context.Context, servers []dnsServer) []DNSAttempt {
	attempts := make([]DNSAttempt, len(servers))
	var asking sync.WaitGroup
	for i, server := range servers {
		own := q
		own.query = q.query.Copy() // what is sent is written to on the way
		asking.Go(func() { attempts[i] = own.ask(ctx, server) })
	}
	asking.Wait()
	return attempts
}

// settle takes over the first attempt that has settled the question. The error
// is that of the last one if none has.
func (r *DNSResult) settle() error {
	var chosen *DNSAttempt
	for i := range r.Attempts {
		a := &r.Attempts[i]
		r.Tries += a.Tries
		if chosen == nil || !chosen.settled() {
			chosen = a
		}
	}
	if chosen.Err != nil {
		return chosen.Err
	}
	r.Server, r.Network, r.Time, r.Message = chosen.Server, chosen.Network, chosen.Time, chosen.Message
	return nil
}

// records are the answers of the type that was asked for.
func (r *DNSResult) records() []dns.RR { return recordsOf(r.Message, r.Type) }

func recordsOf(m *dns.Msg, kind string) []dns.RR {
	var found []dns.RR
	for _, rr := range m.Answer {
		if kind == "ANY" || dns.Type(rr.Header().Rrtype).String() == kind {
			found = append(found, rr)
		}
	}
	return found
}

// DNSAttempt is what one name server made of the question.
type DNSAttempt struct {
	Written string         // the name server as it was given
	Server  netip.AddrPort // whom it stands for
	Network string         // udp, tcp, tls or https: by which the answer came, or was to come
	Tries   int            // queries sent
	Time    time.Duration  // of the query that was answered, with the connection that it took; 0 if none was
	Connect time.Duration  // part of Time: the TCP connection
	TLS     time.Duration  // part of Time: the TLS handshake
	Message *dns.Msg       // nil if nothing was answered
	Err     error          // why this is not an answer to the question; nil if it is
}

// errServer marks an answer that says more of the name server than of the name.
var errServer = errors.New("the name server does not answer the question")

// settled reports whether another name server need not be asked.
func (a *DNSAttempt) settled() bool {
	return a.Err == nil || errors.Is(a.Err, command.ErrResolve) || errors.Is(a.Err, command.ErrNoRecord) && !errors.Is(a.Err, errServer)
}

// ask puts the question to one name server.
func (q inquiry) ask(ctx context.Context, server dnsServer) DNSAttempt {
	a := DNSAttempt{Written: server.written, Server: server.addr, Network: server.network}
	answer, err := q.exchange(ctx, server, &a)
	if err != nil {
		a.Err = fmt.Errorf("ask %v: %w", server, err)
		return a
	}
	a.Message = answer
	a.Err = q.judge(server, answer)
	return a
}

// judge tells an answer from a refusal, and both from there being nothing.
func (q inquiry) judge(server dnsServer, answer *dns.Msg) error {
	switch answer.Rcode {
	case dns.RcodeSuccess:
		if len(answer.Question) != 1 || !strings.EqualFold(answer.Question[0].Name, q.query.Question[0].Name) || answer.Question[0].Qtype != q.query.Question[0].Qtype {
			return fmt.Errorf("%v: %w: %w: answers something else", server, command.ErrNoRecord, errServer)
		}
		if len(recordsOf(answer, dns.Type(q.query.Question[0].Qtype).String())) == 0 {
			return fmt.Errorf("%v: %w%s", server, command.ErrNoRecord, reasons(answer))
		}
		return nil
	case dns.RcodeNameError:
		return fmt.Errorf("%v: %w: no such name%s", server, command.ErrResolve, reasons(answer))
	}
	return fmt.Errorf("%v: %w: %w: %s%s", server, command.ErrNoRecord, errServer, dns.RcodeToString[answer.Rcode], reasons(answer))
}

// reasons are the extended errors of an answer in words.
func reasons(answer *dns.Msg) string {
	var b strings.Builder
	for _, e := range extendedErrors(answer.IsEdns0()) {
		fmt.Fprintf(&b, ", %s", e.Name)
		if e.Text != "" {
			fmt.Fprintf(&b, " (%s)", e.Text)
		}
	}
	return b.String()
}
