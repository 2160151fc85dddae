package probe

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

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
	PTRs        []string  `json:"ptrs,omitempty"`
	Destination string    `json:"destination"`
	Time        float64   `json:"ptime"` // milliseconds
	Server      located   `json:"dns_server"`

	Type       string        `json:"type"`
	Network    string        `json:"network"`
	Tries      int           `json:"tries"`
	Rcode      string        `json:"rcode"`
	Flags      []string      `json:"flags"`
	Records    []string      `json:"records"` // the answer section as in a zone file
	Answers    []recordWire  `json:"answers"`
	Authority  []recordWire  `json:"authority,omitempty"`
	Additional []recordWire  `json:"additional,omitempty"`
	EDNS       *ednsWire     `json:"edns,omitempty"`
	DNSSEC     *dnssecWire   `json:"dnssec"`
	Servers    []attemptWire `json:"servers"`
	Captured
}

// recordWire is a record, its data as in a zone file.
type recordWire struct {
	Name string `json:"name"`
	Type string `json:"type"`
	TTL  uint32 `json:"ttl"` // seconds
	Data string `json:"data"`
}

// attemptWire is what one name server made of the question; times in milliseconds.
type attemptWire struct {
	Server  string     `json:"server"`
	IP      netip.Addr `json:"ip"`
	Port    uint16     `json:"port"`
	Network string     `json:"network"`
	Tries   int        `json:"tries"`
	Time    *float64   `json:"ptime"` // null if it did not answer
	Connect float64    `json:"connect_time,omitempty"`
	TLS     float64    `json:"tls_time,omitempty"`
	Rcode   string     `json:"rcode,omitempty"`
	Records int        `json:"records"`
	Error   string     `json:"error,omitempty"`
}

// MarshalJSON writes the data of the wire document.
func (r *DNSResult) MarshalJSON() ([]byte, error) {
	m := r.Message
	w := dnsWire{
		IPs: []located{}, Destination: r.Destination, Time: ms(r.Time),
		Server: located{r.Server.Addr().WithZone(""), r.ServerLocation}, Type: r.Type, Network: r.Network, Tries: r.Tries,
		Rcode: rcode(m), Flags: flagsOf(m), Answers: recordsWire(m.Answer), Authority: recordsWire(m.Ns), Additional: recordsWire(m.Extra),
		EDNS: ednsOf(m), DNSSEC: dnssecOf(m, time.Now()), Captured: r.Captured,
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
		case *dns.PTR:
			w.PTRs = append(w.PTRs, rr.Ptr)
		}
	}
	for _, rr := range m.Answer {
		w.Records = append(w.Records, zoneLine(rr))
	}
	for _, a := range r.Attempts {
		w.Servers = append(w.Servers, a.wire())
	}
	return json.Marshal(w)
}

func (a *DNSAttempt) wire() attemptWire {
	w := attemptWire{Server: a.Written, IP: a.Server.Addr().WithZone(""), Port: a.Server.Port(), Network: a.Network, Tries: a.Tries, Connect: ms(a.Connect), TLS: ms(a.TLS)}
	if a.Message != nil {
		took := ms(a.Time)
		w.Time, w.Rcode, w.Records = &took, rcode(a.Message), len(a.Message.Answer)
	}
	if a.Err != nil {
		w.Error = a.Err.Error()
	}
	return w
}

// rcode is the code of an answer, the extended part included.
func rcode(m *dns.Msg) string {
	if name, known := dns.RcodeToString[m.Rcode]; known {
		return name
	}
	return fmt.Sprintf("RCODE%d", m.Rcode)
}

// flagsOf are the flags of an answer, as dig prints them.
func flagsOf(m *dns.Msg) []string {
	flags := []string{}
	for _, f := range []struct {
		set  bool
		name string
	}{
		{m.Response, "qr"}, {m.Authoritative, "aa"}, {m.Truncated, "tc"}, {m.RecursionDesired, "rd"},
		{m.RecursionAvailable, "ra"}, {m.AuthenticatedData, "ad"}, {m.CheckingDisabled, "cd"},
	} {
		if f.set {
			flags = append(flags, f.name)
		}
	}
	return flags
}

// recordsWire are the records of a section; that of EDNS is none.
func recordsWire(section []dns.RR) []recordWire {
	records := []recordWire{}
	for _, rr := range section {
		h := rr.Header()
		if h.Rrtype != dns.TypeOPT {
			records = append(records, recordWire{h.Name, dns.Type(h.Rrtype).String(), h.Ttl, strings.TrimPrefix(rr.String(), h.String())})
		}
	}
	return records
}

func zoneLine(rr dns.RR) string { return strings.ReplaceAll(rr.String(), "\t", " ") }

// WriteText prints the records, and who gave them.
func (r *DNSResult) WriteText(w io.Writer) {
	defer r.Captured.writeText(w)
	for _, rr := range r.Message.Answer {
		fmt.Fprintln(w, rr.String()+prefixed("\t; ", r.whereOf(rr)))
	}
	fmt.Fprintf(w, "%d records from %v over %s in %.3f ms; flags %s\n",
		len(r.Message.Answer), r.Server, r.Network, ms(r.Time), strings.Join(flagsOf(r.Message), " "))
	r.writeEDNS(w)
	if len(r.Attempts) < 2 {
		return
	}
	for _, a := range r.Attempts {
		if a.Message == nil {
			fmt.Fprintf(w, "  %-32s no answer: %v\n", a.Written, a.Err)
			continue
		}
		fmt.Fprintf(w, "  %-32s %-8s %2d records in %.3f ms over %s\n", a.Written, rcode(a.Message), len(a.Message.Answer), ms(a.Time), a.Network)
	}
}

// whereOf is where the address in a record is, for people.
func (r *DNSResult) whereOf(rr dns.RR) string {
	switch rr := rr.(type) {
	case *dns.A:
		return r.locations.Of(addrOf(rr.A)).Known()
	case *dns.AAAA:
		return r.locations.Of(addrOf(rr.AAAA)).Known()
	}
	return ""
}

// writeEDNS prints what was asked for besides the records.
func (r *DNSResult) writeEDNS(w io.Writer) {
	e := ednsOf(r.Message)
	if e == nil {
		return
	}
	for _, fact := range []struct{ name, value string }{{"instance", e.NSID}, {"client subnet", e.Subnet}, {"cookie", e.Cookie}} {
		if fact.value != "" {
			fmt.Fprintf(w, "%s %s\n", fact.name, fact.value)
		}
	}
	if reason := reasons(r.Message); reason != "" {
		fmt.Fprintf(w, "extended errors%s\n", strings.TrimPrefix(reason, ","))
	}
}
