package contract

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/natrix-os/natrix/sysinfo/netif/nettest"
)

// targets are what a network has to be measured: a name server on port 53, a
// web server on ports 80 and 443, and one on 8443 that nobody should trust.
type targets struct {
	host      *nettest.Host
	authority string // the certificate of who vouches for port 443, PEM
	records   map[string][]string

	mu    sync.Mutex
	asked []question
}

// question is a query that the name server got.
type question struct {
	name string
	kind uint16
	from netip.Addr
}

func serveTargets(t testing.TB, h *nettest.Host, l *lab) *targets {
	s := &targets{host: h}
	s.records = s.zone(l)
	s.serveNames(t)
	if h == l.lan {
		l.forward(t, h, "5672")
	}
	trusted, authority := certificate(t)
	wrong, _ := certificate(t)
	s.authority = authority
	s.serveWeb(t, listen(t, h, ":80"))
	s.serveWeb(t, tls.NewListener(listen(t, h, ":443"), &tls.Config{Certificates: []tls.Certificate{trusted}}))
	s.serveWeb(t, tls.NewListener(listen(t, h, ":8443"), &tls.Config{Certificates: []tls.Certificate{wrong}}))
	return s
}

// zone is what the name server knows: records as in a zone file, by name. Of
// names below silent.test it says nothing, those below links.test are anycast's
// and the host's own, and others do not exist.
func (s *targets) zone(l *lab) map[string][]string {
	a := func(addr netip.Addr) []string {
		if addr.Is4() {
			return []string{"A " + addr.String()}
		}
		return []string{"AAAA " + addr.String()}
	}
	self := s.host.Addr4
	zone := map[string][]string{
		"www.site.test.":           {"A " + self.String(), "A " + anycast.String()},
		"dual.site.test.":          {"A " + self.String(), "AAAA " + s.host.Addr6.String()},
		"six.site.test.":           a(s.host.Addr6),
		"public.site.test.":        {"A 8.8.8.8"},
		"alias.site.test.":         {"CNAME www.site.test.", "A " + self.String()},
		"site.test.":               {"MX 10 mail.site.test.", "MX 20 mail2.site.test.", "NS ns1.site.test.", "NS ns2.site.test.", "TXT \"hello world\"", "SOA ns1.site.test. root.site.test. 1 2 3 4 5", "CAA 0 issue \"ca.test\""},
		"xn--bcher-kva.site.test.": a(self),
		"empty.site.test.":         {"TXT \"no address\""},
		"any.site.test.":           a(anycast),
		"far.site.test.":           a(l.far.Addr4),
		"hole.site.test.":          a(l.hole.Addr4),
		"rabbitmq.natrix.com.":     a(l.lan.Addr4),
		"www.baidu.com.":           a(self),
		"www.baidu.com.com.":       a(self),
		"api.example.com.":         a(self),
		"2.1.0.10.in-addr.arpa.":   {"PTR router.site.test."},
	}
	return zone
}

func (s *targets) serveNames(t testing.TB) {
	var packets net.PacketConn
	s.host.Do(func() {
		var err error
		if packets, err = net.ListenPacket("udp", ":53"); err != nil {
			t.Fatal(err)
		}
	})
	for _, server := range []*dns.Server{{PacketConn: packets}, {Listener: listen(t, s.host, ":53")}} {
		started := make(chan struct{})
		server.Handler, server.NotifyStartedFunc = dns.HandlerFunc(s.answer), func() { close(started) }
		var running sync.WaitGroup
		running.Go(func() { server.ActivateAndServe() })
		<-started
		t.Cleanup(func() { server.Shutdown(); running.Wait() })
	}
}

func (s *targets) answer(w dns.ResponseWriter, query *dns.Msg) {
	q := query.Question[0]
	name := strings.ToLower(q.Name)
	s.note(question{name, q.Qtype, netip.MustParseAddrPort(w.RemoteAddr().String()).Addr().Unmap()})
	if strings.HasSuffix(name, "silent.test.") {
		return
	}
	answer := new(dns.Msg).SetReply(query)
	records, exists := s.records[name]
	if strings.HasSuffix(name, "links.test.") {
		records, exists = []string{"A " + anycast.String(), "AAAA " + s.host.Addr6.String()}, true
	}
	if !exists {
		answer.Rcode = dns.RcodeNameError
	}
	for _, text := range records {
		rr, err := dns.NewRR(q.Name + " 60 IN " + text)
		if err == nil && (rr.Header().Rrtype == q.Qtype || rr.Header().Rrtype == dns.TypeCNAME) {
			answer.Answer = append(answer.Answer, rr)
		} else if err == nil && q.Qtype == dns.TypeA && strings.HasPrefix(name, "alias.") {
			rr.Header().Name = "www.site.test."
			answer.Answer = append(answer.Answer, rr)
		}
	}
	w.WriteMsg(answer)
}

func (s *targets) note(q question) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, q)
}

// askedFor are the queries for a name that the name server got.
func (s *targets) askedFor(name string) []question {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []question
	for _, q := range s.asked {
		if q.name == dns.Fqdn(name) {
			found = append(found, q)
		}
	}
	return found
}

// request is what the web server tells of a request to /echo.
type request struct {
	Method  string
	Header  http.Header
	Body    string
	User    string // and password, of basic authentication
	From    string // address of the client
	Network string // the host that was reached
}

func (s *targets) serveWeb(t testing.TB, listener net.Listener) {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "hello from %s\n", s.host.Name) })
	mux.HandleFunc("/empty", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/echo", s.echo)
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/status/{code}", func(w http.ResponseWriter, r *http.Request) {
		code, _ := strconv.Atoi(r.PathValue("code"))
		w.WriteHeader(code)
	})
	mux.HandleFunc("/redirect/{left}", func(w http.ResponseWriter, r *http.Request) {
		if left, _ := strconv.Atoi(r.PathValue("left")); left > 0 {
			http.Redirect(w, r, fmt.Sprint("/redirect/", left-1), http.StatusFound)
		}
	})
	server := &http.Server{Handler: mux, ErrorLog: nil}
	var running sync.WaitGroup
	running.Go(func() { server.Serve(listener) })
	t.Cleanup(func() { server.Close(); running.Wait() })
}

func (s *targets) echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	user, password, given := r.BasicAuth()
	if given {
		user += ":" + password
	}
	from := netip.MustParseAddrPort(r.RemoteAddr).Addr().Unmap()
	json.NewEncoder(w).Encode(request{r.Method, r.Header, string(body), user, from.String(), s.host.Name})
}

// certificate is one for all names of the targets, and the certificate of who
// signed it, which nobody trusts but who is given it.
func certificate(t testing.TB) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "contract"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	site := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: authority.NotBefore, NotAfter: authority.NotAfter,
		DNSNames: []string{"*.site.test", "api.example.com", "www.baidu.com"},
	}
	root, err := x509.CreateCertificate(rand.Reader, authority, authority, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.CreateCertificate(rand.Reader, site, authority, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root})
	return tls.Certificate{Certificate: [][]byte{leaf}, PrivateKey: key}, string(text)
}
