package probe

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"
	"github.com/natrix-os/natrix/agent/command"
)

// answerOf is the packed answer of a test's handler to a packed query.
func answerOf(t *testing.T, query []byte, handle func(dns.ResponseWriter, *dns.Msg)) []byte {
	q := new(dns.Msg)
	if err := q.Unpack(query); err != nil {
		t.Errorf("query: %v", err)
		return nil
	}
	w := &keeper{}
	handle(w, new(dns.Msg).SetReply(q))
	b, err := w.answer.Pack()
	if err != nil {
		t.Errorf("answer: %v", err)
	}
	return b
}

// keeper is a ResponseWriter that keeps the answer.
type keeper struct {
	dns.ResponseWriter
	answer *dns.Msg
}

func (k *keeper) WriteMsg(m *dns.Msg) error { k.answer = m; return nil }

// secureServers answer over TLS and HTTPS, with certificates that roots vouch for.
func secureServers(t *testing.T) (overTLS, overHTTPS string, roots *x509.CertPool) {
	t.Helper()
	web := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.URL.Path != "/dns-query" || r.Method != http.MethodPost || r.ProtoMajor != 2 || len(body) < 2 || body[0]|body[1] != 0 {
			http.Error(w, "not a query", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", mediaType)
		w.Write(answerOf(t, body, fromZone))
	}))
	web.EnableHTTP2 = true
	web.StartTLS()
	t.Cleanup(web.Close)
	roots = x509.NewCertPool()
	roots.AddCert(web.Certificate())

	listener, err := tls.Listen("tcp4", "127.0.0.1:0", &tls.Config{Certificates: web.TLS.Certificates, NextProtos: []string{"dot"}})
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	server := &dns.Server{Listener: listener, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		fromZone(w, new(dns.Msg).SetReply(q))
	}), NotifyStartedFunc: func() { close(started) }}
	go server.ActivateAndServe()
	<-started
	t.Cleanup(func() { server.Shutdown() })
	return "tls://" + listener.Addr().String(), web.URL, roots
}

func TestDNSEncrypted(t *testing.T) {
	overTLS, overHTTPS, roots := secureServers(t)
	for network, server := range map[string]string{"tls": overTLS, "https": overHTTPS} {
		t.Run(network, func(t *testing.T) {
			p := New()
			p.roots = roots
			r, body := run(t, p, "dns", "www.example.com", map[string]string{"dns_server": server})
			if r.Err != nil || !strings.Contains(body, `"192.0.2.1"`) || !strings.Contains(body, `"network":"`+network+`"`) {
				t.Fatalf("got %v, %s", r.Err, body)
			}
			a := r.Data.(*DNSResult).Attempts[0]
			if a.Connect <= 0 || a.TLS <= 0 || a.Time < a.Connect+a.TLS {
				t.Errorf("got %v in all, of which %v for the connection and %v for TLS", a.Time, a.Connect, a.TLS)
			}
			r, body = run(t, New(), "dns", "www.example.com", map[string]string{"dns_server": server})
			if !errors.Is(r.Err, command.ErrNoRecord) || !strings.Contains(body, "certificate") {
				t.Errorf("nobody vouches for the server: got %v, %s", r.Err, body)
			}
		})
	}
}

func TestDNSOverHTTPSWithoutDNS(t *testing.T) {
	web := httptest.NewTLSServer(http.NotFoundHandler())
	defer web.Close()
	p := New()
	p.roots = x509.NewCertPool()
	p.roots.AddCert(web.Certificate())
	r, body := run(t, p, "dns", "www.example.com", map[string]string{"dns_server": web.URL})
	if !errors.Is(r.Err, command.ErrNoRecord) || !strings.Contains(body, "HTTP 404") {
		t.Errorf("got %v, %s", r.Err, body)
	}
}

func TestDNSByTCPAlone(t *testing.T) {
	server, queries := nameServer(t, fromZone)
	r, body := run(t, New(), "dns", "www.example.com", map[string]string{"dns_server": "tcp://" + strings.Replace(server, ":", "#", 1)})
	if r.Err != nil || !strings.Contains(body, `"network":"tcp"`) || queries.Load() != 0 {
		t.Errorf("got %v, %s after %d queries by UDP", r.Err, body, queries.Load())
	}
}

func TestDNSComparesServers(t *testing.T) {
	good, _ := nameServer(t, fromZone)
	broken, _ := nameServer(t, func(w dns.ResponseWriter, m *dns.Msg) { m.Rcode = dns.RcodeRefused; w.WriteMsg(m) })
	other, _ := nameServer(t, fromZone)
	r, body := run(t, New(), "dns", "www.example.com", map[string]string{"dns_server": broken + ", " + good + "," + other, "all_servers": "true"})
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	got := r.Data.(*DNSResult)
	if len(got.Attempts) != 3 || got.Server.String() != good || got.Attempts[0].Err == nil || got.Attempts[2].Message == nil {
		t.Errorf("got %s", body)
	}
	if !strings.Contains(body, `"rcode":"REFUSED","records":0,"error":"`) {
		t.Errorf("the refusal is missing in %s", body)
	}
	if text := textOf(r.Data); strings.Count(text, "records in") != 3 {
		t.Errorf("not every name server is in\n%s", text)
	}
}

func TestParseDNSServer(t *testing.T) {
	for _, tt := range []struct{ written, network, host, path, text string }{
		{"192.0.2.53", "udp", "192.0.2.53", "", "192.0.2.53#53"},
		{"192.0.2.53:5353", "udp", "192.0.2.53", "", "192.0.2.53#5353"},
		{"192.0.2.53#5353", "udp", "192.0.2.53", "", "192.0.2.53#5353"},
		{"2001:db8::53", "udp", "2001:db8::53", "", "2001:db8::53#53"},
		{"2001:db8::53#5353", "udp", "2001:db8::53", "", "2001:db8::53#5353"},
		{"[2001:db8::53]:5353", "udp", "2001:db8::53", "", "2001:db8::53#5353"},
		{"fe80::1%eth0", "udp", "fe80::1%eth0", "", "fe80::1%eth0#53"},
		{"udp://dns.example.net", "udp", "dns.example.net", "", "dns.example.net#53"},
		{"TCP://dns.example.net:54", "tcp", "dns.example.net", "", "dns.example.net#54"},
		{"tls://dns.example.net", "tls", "dns.example.net", "", "dns.example.net#853"},
		{"tls://[2001:db8::53]:8853/", "tls", "2001:db8::53", "", "2001:db8::53#8853"},
		{"https://dns.example.net", "https", "dns.example.net", "/dns-query", "dns.example.net#443"},
		{"https://dns.example.net:8443/", "https", "dns.example.net", "/dns-query", "dns.example.net#8443"},
		{"https://dns.example.net/ask{?dns}", "https", "dns.example.net", "/ask", "dns.example.net#443"},
		{"https://dns.example.net/a b?key=1", "https", "dns.example.net", "/a%20b?key=1", "dns.example.net#443"},
		{"tls://bücher.example", "tls", "xn--bcher-kva.example", "", "xn--bcher-kva.example#853"},
	} {
		s, err := parseDNSServer(tt.written)
		if text := s.host + "#" + itoa(s.port); err != nil || s.network != tt.network || s.host != tt.host || s.path != tt.path || text != tt.text {
			t.Errorf("%s: got %s, %s, %q, %v, want %s, %s, %q", tt.written, s.network, text, s.path, err, tt.network, tt.text, tt.path)
		}
	}
	for _, bad := range []string{"quic://dns.example.net", "192.0.2.53:0", "192.0.2.53#65536", "192.0.2.53#dns", "tls://", "https:///dns-query", "a b", "192.0.2.53:x"} {
		if _, err := parseDNSServer(bad); !errors.Is(err, command.ErrParameter) {
			t.Errorf("%s: got %v, want that it is a bad parameter", bad, err)
		}
	}
}

func itoa(port uint16) string {
	_, p, _ := net.SplitHostPort((&net.TCPAddr{Port: int(port)}).String())
	return p
}

// chatty answers with every fact that EDNS and DNSSEC have.
func chatty(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg).SetReply(q)
	asked := q.IsEdns0()
	m.AuthenticatedData = q.AuthenticatedData
	m.SetEdns0(4096, asked != nil && asked.Do())
	opt := m.IsEdns0()
	cookie := cookieOf(q)
	if cookie != nil && len(cookie.Cookie) == 16 {
		m.Rcode = dns.RcodeBadCookie
		opt.Option = append(opt.Option, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: cookie.Cookie + "0123456789abcdef"})
		w.WriteMsg(m)
		return
	}
	for _, o := range asked.Option {
		switch o := o.(type) {
		case *dns.EDNS0_NSID:
			opt.Option = append(opt.Option, &dns.EDNS0_NSID{Code: dns.EDNS0NSID, Nsid: "6e7331"})
		case *dns.EDNS0_SUBNET:
			o.SourceScope = 20
			opt.Option = append(opt.Option, o)
		case *dns.EDNS0_COOKIE:
			opt.Option = append(opt.Option, o)
		}
	}
	opt.Option = append(opt.Option, &dns.EDNS0_EDE{InfoCode: dns.ExtendedErrorCodeStaleAnswer, ExtraText: "upstream is away"})
	for _, line := range []string{
		"www.example.com. 60 IN A 192.0.2.1",
		"www.example.com. 60 IN RRSIG A 13 3 60 20380101000000 20200101000000 4711 example.com. c2lnbmF0dXJl",
	} {
		rr, _ := dns.NewRR(line)
		m.Answer = append(m.Answer, rr)
	}
	w.WriteMsg(m)
}

// rawServer is a name server whose handler sees the whole query.
func rawServer(t testing.TB, handle dns.HandlerFunc) string {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	s := &dns.Server{PacketConn: conn, Handler: handle, NotifyStartedFunc: func() { close(started) }}
	go s.ActivateAndServe()
	<-started
	t.Cleanup(func() { s.Shutdown() })
	return conn.LocalAddr().String()
}

func TestDNSFacts(t *testing.T) {
	server := rawServer(t, chatty)
	r, body := run(t, New(), "dns", "www.example.com", map[string]string{
		"dns_server": server, "dnssec": "true", "nsid": "1", "cookie": "true", "client_subnet": "198.51.100.7"})
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	for _, want := range []string{
		`"rcode":"NOERROR","flags":["qr","rd","ad"]`,
		`"answers":[{"name":"www.example.com.","type":"A","ttl":60,"data":"192.0.2.1"},{"name":"www.example.com.","type":"RRSIG"`,
		`"edns":{"version":0,"udp_size":4096,"do":true,"nsid":"ns1","client_subnet":"198.51.100.0/24/20","cookie":"`,
		`"extended_errors":[{"code":3,"name":"Stale Answer","text":"upstream is away"}]`,
		`"dnssec":{"authenticated":true,"signed":true,"signatures":[{"covers":"A","signer":"example.com.","key_tag":4711,"algorithm":"ECDSAP256SHA256","inception":"2020-01-01T00:00:00Z","expires":"2038-01-01T00:00:00Z","current":true}]}`,
		`"tries":2,`, `"ips":[{"ip":"192.0.2.1"`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("missing %s in %s", want, body)
		}
	}
	if text := textOf(r.Data); !strings.Contains(text, "instance ns1\n") || !strings.Contains(text, "extended errors Stale Answer (upstream is away)\n") {
		t.Errorf("got\n%s", text)
	}
}

func TestDNSTellsExtendedErrors(t *testing.T) {
	server := rawServer(t, func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetRcode(q, dns.RcodeNameError)
		m.SetEdns0(1232, false)
		m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_EDE{InfoCode: dns.ExtendedErrorCodeBlocked}}
		w.WriteMsg(m)
	})
	r, _ := run(t, New(), "dns", "www.example.com", map[string]string{"dns_server": server})
	if !errors.Is(r.Err, command.ErrResolve) || !strings.HasSuffix(r.Err.Error(), "no such name, Blocked") {
		t.Errorf("got %v", r.Err)
	}
}

func TestDNSQuery(t *testing.T) {
	var got atomic.Pointer[dns.Msg]
	server := rawServer(t, func(w dns.ResponseWriter, q *dns.Msg) {
		got.Store(q.Copy())
		fromZone(w, new(dns.Msg).SetReply(q))
	})
	for _, tt := range []struct {
		params map[string]string
		is     func(*dns.Msg) bool
	}{
		{nil, func(m *dns.Msg) bool {
			return m.RecursionDesired && !m.AuthenticatedData && m.IsEdns0().UDPSize() == 1232 && !m.IsEdns0().Do() && len(m.IsEdns0().Option) == 0
		}},
		{map[string]string{"udp_size": "0"}, func(m *dns.Msg) bool { return m.IsEdns0() == nil }},
		{map[string]string{"udp_size": "4096"}, func(m *dns.Msg) bool { return m.IsEdns0().UDPSize() == 4096 }},
		{map[string]string{"dnssec": "true", "checking_disabled": "1"}, func(m *dns.Msg) bool { return m.AuthenticatedData && m.CheckingDisabled && m.IsEdns0().Do() }},
		{map[string]string{"no_recurse": "true"}, func(m *dns.Msg) bool { return !m.RecursionDesired }},
		{map[string]string{"client_subnet": "2001:db8:1234:5678::/48"}, func(m *dns.Msg) bool {
			return slices.ContainsFunc(m.IsEdns0().Option, func(o dns.EDNS0) bool {
				s, is := o.(*dns.EDNS0_SUBNET)
				return is && s.Family == 2 && s.SourceNetmask == 48 && s.Address.String() == "2001:db8:1234::"
			})
		}},
	} {
		params := map[string]string{"dns_server": server}
		for k, v := range tt.params {
			params[k] = v
		}
		if r, _ := run(t, New(), "dns", "www.example.com", params); r.Err != nil || !tt.is(got.Load()) {
			t.Errorf("%v: got %v, %v", tt.params, r.Err, got.Load())
		}
	}
	r, body := run(t, New(), "dns", "www.example.com", map[string]string{"dns_server": server, "client_subnet": "home"})
	if !errors.Is(r.Err, command.ErrParameter) || !strings.Contains(body, `"errorcode":104`) {
		t.Errorf("got %v, %s", r.Err, body)
	}
}

func TestDNSRefusesAnAnswerToSomethingElse(t *testing.T) {
	server := rawServer(t, func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		m.Question[0].Name = "www.example.net."
		rr, _ := dns.NewRR("www.example.net. 60 IN A 192.0.2.66")
		m.Answer = []dns.RR{rr}
		w.WriteMsg(m)
	})
	if r, _ := run(t, New(), "dns", "www.example.com", map[string]string{"dns_server": server}); !errors.Is(r.Err, command.ErrNoRecord) {
		t.Errorf("got %v, want %v", r.Err, command.ErrNoRecord)
	}
}

func FuzzParseDNSServer(f *testing.F) {
	for _, s := range []string{"192.0.2.53#5353", "[2001:db8::53]:53", "tls://dns.example.net", "https://dns.example.net/a{?dns}", "https://h//%zz?"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		server, err := parseDNSServer(s)
		if err == nil && (server.host == "" || server.port == 0 || server.network == "https" && !strings.HasPrefix(server.path, "/")) {
			t.Errorf("%q: got %+v", s, server)
		}
	})
}

// FuzzDNSResult prints whatever a name server can answer.
func FuzzDNSResult(f *testing.F) {
	w := &keeper{}
	q := new(dns.Msg).SetQuestion("www.example.com.", dns.TypeA).SetEdns0(1232, true)
	chatty(w, q)
	b, err := w.answer.Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		m := new(dns.Msg)
		if m.Unpack(b) != nil {
			return
		}
		inquiry{query: q}.judge(dnsServer{network: "udp"}, m)
		r := &DNSResult{Type: "ANY", Message: m, Attempts: []DNSAttempt{{Message: m}}}
		if _, err := r.MarshalJSON(); err != nil {
			t.Error(err)
		}
		textOf(r)
	})
}
