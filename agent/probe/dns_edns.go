package probe

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode"

	"github.com/miekg/dns"
	"github.com/natrix-os/natrix/agent/command"
)

// query is the message to send.
func (p DNSParams) query(name string, kind uint16) (*dns.Msg, error) {
	m := new(dns.Msg).SetQuestion(name, kind)
	m.RecursionDesired, m.CheckingDisabled = !p.NoRecurse, p.Unchecked
	m.AuthenticatedData = p.DNSSEC // we understand the answer's (RFC 6840, section 5.7)
	if p.UDPPayload == 0 {
		return m, nil
	}
	m.SetEdns0(uint16(max(p.UDPPayload, dns.MinMsgSize)), p.DNSSEC)
	opt := m.IsEdns0()
	if p.NSID {
		opt.Option = append(opt.Option, &dns.EDNS0_NSID{Code: dns.EDNS0NSID})
	}
	if p.Cookie {
		var client [8]byte
		rand.Read(client[:])
		opt.Option = append(opt.Option, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: hex.EncodeToString(client[:])})
	}
	if p.Subnet != "" {
		subnet, err := subnetOption(p.Subnet)
		if err != nil {
			return nil, err
		}
		opt.Option = append(opt.Option, subnet)
	}
	return m, nil
}

// subnetOption is the option of RFC 7871 for a network, or for the one of 24
// or 56 bits that an address is in.
func subnetOption(s string) (*dns.EDNS0_SUBNET, error) {
	prefix, err := netip.ParsePrefix(s)
	if addr, single := netip.ParseAddr(s); single == nil {
		prefix, err = netip.PrefixFrom(addr, map[bool]int{true: 24, false: 56}[addr.Is4()]), nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: client subnet %q is not a network such as 192.0.2.0/24", command.ErrParameter, s)
	}
	prefix = prefix.Masked()
	o := &dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: uint8(prefix.Bits()), Address: prefix.Addr().AsSlice()}
	if prefix.Addr().Is6() {
		o.Family = 2
	}
	return o, nil
}

// withCookie is the query with the server's cookie from an answer, nil if
// there is none that was meant for us.
func withCookie(query, answer *dns.Msg) *dns.Msg {
	again := query.Copy()
	ours, theirs := cookieOf(again), cookieOf(answer)
	if ours == nil || theirs == nil || len(theirs.Cookie) <= len(ours.Cookie) || !strings.HasPrefix(theirs.Cookie, ours.Cookie) {
		return nil
	}
	ours.Cookie = theirs.Cookie
	return again
}

func cookieOf(m *dns.Msg) *dns.EDNS0_COOKIE {
	if opt := m.IsEdns0(); opt != nil {
		for _, o := range opt.Option {
			if c, is := o.(*dns.EDNS0_COOKIE); is {
				return c
			}
		}
	}
	return nil
}

// ednsWire is what a name server says in its OPT record (RFC 6891).
type ednsWire struct {
	Version  uint8           `json:"version"`
	UDPSize  uint16          `json:"udp_size"` // bytes of the largest query that it takes by UDP
	DNSSEC   bool            `json:"do"`
	NSID     string          `json:"nsid,omitempty"`          // text, or hexadecimal if it is none
	Subnet   string          `json:"client_subnet,omitempty"` // network asked for, and the bits of it that the answer depends on
	Cookie   string          `json:"cookie,omitempty"`        // hexadecimal, ours first
	Extended []extendedError `json:"extended_errors,omitempty"`
}

// extendedError is a reason for an answer (RFC 8914).
type extendedError struct {
	Code uint16 `json:"code"`
	Name string `json:"name"`
	Text string `json:"text,omitempty"`
}

func ednsOf(m *dns.Msg) *ednsWire {
	opt := m.IsEdns0()
	if opt == nil {
		return nil
	}
	w := &ednsWire{Version: opt.Version(), UDPSize: opt.UDPSize(), DNSSEC: opt.Do(), Extended: extendedErrors(opt)}
	for _, o := range opt.Option {
		switch o := o.(type) {
		case *dns.EDNS0_NSID:
			w.NSID = legible(o.Nsid)
		case *dns.EDNS0_SUBNET:
			w.Subnet = fmt.Sprintf("%s/%d/%d", addrOf(o.Address), o.SourceNetmask, o.SourceScope)
		case *dns.EDNS0_COOKIE:
			w.Cookie = o.Cookie
		}
	}
	return w
}

// legible is the text behind hexadecimal digits, or the digits if there is no text behind them.
func legible(digits string) string {
	b, err := hex.DecodeString(digits)
	text := string(b)
	if err != nil || text == "" || strings.ContainsFunc(text, func(c rune) bool { return c == unicode.ReplacementChar || !unicode.IsPrint(c) }) {
		return digits
	}
	return text
}

func extendedErrors(opt *dns.OPT) []extendedError {
	if opt == nil {
		return nil
	}
	var found []extendedError
	for _, o := range opt.Option {
		if e, is := o.(*dns.EDNS0_EDE); is {
			name, known := dns.ExtendedErrorCodeToString[e.InfoCode]
			if !known {
				name = fmt.Sprintf("extended error %d", e.InfoCode)
			}
			found = append(found, extendedError{e.InfoCode, name, wireText(e.ExtraText)})
		}
	}
	return found
}

// dnssecWire is what an answer says of its signatures. Nothing of it has been
// verified here: authenticated means that the name server says it has, and is
// worth as much as the way to that name server.
type dnssecWire struct {
	Authenticated bool            `json:"authenticated"`
	Signed        bool            `json:"signed"` // there are signatures in the answer
	Signatures    []signatureWire `json:"signatures,omitempty"`
}

// signatureWire is one RRSIG record (RFC 4034, section 3).
type signatureWire struct {
	Covers    string `json:"covers"`
	Signer    string `json:"signer"`
	KeyTag    uint16 `json:"key_tag"`
	Algorithm string `json:"algorithm"`
	Inception string `json:"inception"` // RFC 3339
	Expires   string `json:"expires"`
	Current   bool   `json:"current"` // by the clock of this terminal
}

func dnssecOf(m *dns.Msg, now time.Time) *dnssecWire {
	w := &dnssecWire{Authenticated: m.AuthenticatedData}
	for _, rr := range m.Answer {
		s, is := rr.(*dns.RRSIG)
		if !is {
			continue
		}
		w.Signatures = append(w.Signatures, signatureWire{
			Covers: dns.Type(s.TypeCovered).String(), Signer: s.SignerName, KeyTag: s.KeyTag, Algorithm: algorithm(s.Algorithm),
			Inception: serialTime(s.Inception, now), Expires: serialTime(s.Expiration, now), Current: s.ValidityPeriod(now),
		})
	}
	w.Signed = len(w.Signatures) > 0
	return w
}

func algorithm(n uint8) string {
	if name, known := dns.AlgorithmToString[n]; known {
		return name
	}
	return fmt.Sprint(n)
}

// serialTime is a time of 32 bits (RFC 4034, section 3.1.5): the one nearest to now.
func serialTime(t uint32, now time.Time) string {
	return now.Add(time.Duration(int32(t-uint32(now.Unix()))) * time.Second).UTC().Format(time.RFC3339)
}
