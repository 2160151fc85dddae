package probe

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/natrix-os/natrix/agent/command"
	"github.com/natrix-os/natrix/sysinfo/netif/nettest"
	"github.com/quic-go/quic-go/http3"
)

// asChild has the test binary run one http command and print the document: in
// the namespaces of a host, with threads of its own. Its arguments are the URL
// and the parameters as JSON.
const asChild = "NATRIX_TEST_HTTP"

func TestMain(m *testing.M) {
	if os.Getenv(asChild) == "" {
		os.Exit(m.Run())
	}
	c := command.Command{Name: "http", Destination: os.Args[1], Received: time.Now()}
	if err := json.Unmarshal([]byte(os.Args[2]), &c.Params); err != nil {
		panic(err)
	}
	fmt.Printf("%s\n", command.Encode(command.NewSet(New().Commands()...).Execute(context.Background(), c)))
}

// runIn runs a program in a host, where resolv.conf names a name server, and
// returns what it printed.
func runIn(t *testing.T, h *nettest.Host, server netip.Addr, env []string, args ...string) []byte {
	t.Helper()
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, "nameserver %v\n", server), 0o644); err != nil {
		t.Fatal(err)
	}
	script := `mount --bind "$0" /etc/resolv.conf && exec "$@"`
	cmd := exec.CommandContext(t.Context(), "unshare", append([]string{"-m", "sh", "-c", script, conf}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := h.Start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %v: %s", args, err, complaint.String())
	}
	return out.Bytes()
}

// httpIn runs an http command in a host.
func httpIn(t *testing.T, h *nettest.Host, server netip.Addr, url string, params map[string]string) (document string, w httpWire) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(params)
	if err != nil {
		t.Fatal(err)
	}
	out := runIn(t, h, server, []string{asChild + "=1"}, self, url, string(text))
	var d struct {
		Status int
		Data   httpWire
	}
	if err := json.Unmarshal(out, &d); err != nil || d.Status != 0 {
		t.Fatalf("%s %v: %v, %s", url, params, err, out)
	}
	return string(out), d.Data
}

// site is a host with a name server that says that every name is its own, and
// a web server behind the names.
type site struct {
	host *nettest.Host

	mu    sync.Mutex
	asked []string // from where queries came, with the host as its network writes it
	web   []string // from where requests came
}

// serveDNS answers after a delay.
func (s *site) serveDNS(t *testing.T, delay time.Duration) {
	var conns []net.PacketConn
	for _, a := range addrs(s.host) {
		s.host.Do(func() {
			conn, err := net.ListenPacket("udp", netip.AddrPortFrom(a, 53).String())
			if err != nil {
				t.Fatal(err)
			}
			conns = append(conns, conn)
		})
	}
	answer := func(w dns.ResponseWriter, q *dns.Msg) {
		s.note(&s.asked, w.RemoteAddr().String())
		time.Sleep(delay)
		m := new(dns.Msg).SetReply(q)
		m.RecursionAvailable = true // else Go takes no for lame, and asks again
		name := q.Question[0].Name
		switch q.Question[0].Qtype {
		case dns.TypeA:
			m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: s.host.Addr4.AsSlice()}}
		case dns.TypeAAAA:
			if strings.HasPrefix(name, "six.") {
				m.Answer = []dns.RR{&dns.AAAA{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeAAAA, Class: dns.ClassINET, Ttl: 60}, AAAA: s.host.Addr6.AsSlice()}}
			}
		}
		w.WriteMsg(m)
	}
	for _, conn := range conns {
		started := make(chan struct{})
		server := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(answer), NotifyStartedFunc: func() { close(started) }}
		go server.ActivateAndServe()
		<-started
		t.Cleanup(func() { server.Shutdown() })
	}
}

// serveWeb listens for HTTP/1.1 and 2, with TLS if there is a configuration, and
// gives the port.
func (s *site) serveWeb(t *testing.T, config *tls.Config, h http.Handler) string {
	var l net.Listener
	s.host.Do(func() {
		var err error
		if l, err = net.Listen("tcp", ":0"); err != nil {
			t.Fatal(err)
		}
	})
	server := &http.Server{Handler: s.noting(h), TLSConfig: config, ErrorLog: quiet()}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if config != nil {
			server.ServeTLS(l, "", "")
		} else {
			server.Serve(l)
		}
	}()
	t.Cleanup(func() {
		server.Close()
		<-done
	})
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// serveQUIC listens for HTTP/3 on a port.
func (s *site) serveQUIC(t *testing.T, config *tls.Config, h http.Handler, port string) {
	var conn net.PacketConn
	s.host.Do(func() {
		var err error
		if conn, err = net.ListenPacket("udp", ":"+port); err != nil {
			t.Fatal(err)
		}
	})
	server := &http3.Server{Handler: s.noting(h), TLSConfig: http3.ConfigureTLSConfig(config)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.Serve(conn)
	}()
	t.Cleanup(func() {
		server.Close()
		conn.Close()
		<-done
	})
}

func (s *site) noting(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.note(&s.web, r.RemoteAddr)
		h.ServeHTTP(w, r)
	})
}

func (s *site) note(list *[]string, from string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	host, _, _ := net.SplitHostPort(from)
	*list = append(*list, host)
}

// take is what was noted since it was last called.
func (s *site) take() (asked, web []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked, web = s.asked, s.web
	s.asked, s.web = nil, nil
	return asked, web
}

// Lookup, TCP and QUIC leave by the link that the command names:
//
//	    ┌── r1 ──┐
//	h ──┤        ├── r3 ── site
//	    └── r2 ──┘
func TestNetnsHTTPLeavesByTheLink(t *testing.T) {
	t.Parallel()
	n := nettest.New(t)
	h, r1, r2, r3, far := n.Host("h"), n.Host("r1"), n.Host("r2"), n.Host("r3"), n.Host("site")
	n.Connect(h, r1)
	n.Connect(h, r2)
	n.Connect(r1, r3)
	n.Connect(r2, r3)
	n.Connect(r3, far)
	n.Route()
	root := newIssuer(t, "the root", nil)
	s := &site{host: far}
	s.serveDNS(t, 0)
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "hello") })
	leaf := root.leaf(day, "four.example.com", "six.example.com")
	port := s.serveWeb(t, &tls.Config{Certificates: []tls.Certificate{leaf}}, hello)
	s.serveQUIC(t, &tls.Config{Certificates: []tls.Certificate{leaf}}, hello, port)
	for _, peer := range []string{"r1", "r2"} {
		end := h.Link(peer)
		for _, test := range []struct {
			link, name, family string
			servers            string // "" is the system's
			src                netip.Addr
		}{
			{peer, "four", "", "", end.Addr4},
			{end.Addr4.String(), "four", "", far.Addr4.String(), end.Addr4},
			{peer, "six", "ipv6", far.Addr6.String(), end.Addr6},
		} {
			for _, version := range []string{"1.0", "2", "3"} {
				params := map[string]string{"interface": test.link, "http_version": version, "dns_servers": test.servers, "cacert": root.pem()}
				if test.family != "" {
					params[test.family] = "true"
				}
				document, w := httpIn(t, h, far.Addr4, "https://"+test.name+".example.com:"+port, params)
				asked, web := s.take()
				for _, from := range append(asked, web...) {
					if a, err := netip.ParseAddr(from); err != nil || a != end.Addr4 && a != end.Addr6 {
						t.Errorf("%v: %s came from %s, want one of %s", test, version, from, peer)
					}
				}
				if len(asked) == 0 || len(web) != 1 || web[0] != test.src.String() || w.LocalIP != test.src || w.Status != 200 {
					t.Errorf("%v: %s: asked from %v, requested from %v, want %v: %s", test, version, asked, web, test.src, document)
				}
			}
		}
	}
}
