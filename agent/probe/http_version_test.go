package probe

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// quicServer answers over HTTP/3 as an unstarted server would over TCP, with
// its certificate, and gives its URL.
func quicServer(t *testing.T, s *httptest.Server) string {
	t.Helper()
	s.EnableHTTP2 = true
	s.StartTLS()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h3 := &http3.Server{Handler: s.Config.Handler, TLSConfig: http3.ConfigureTLSConfig(&tls.Config{Certificates: s.TLS.Certificates}), QUICConfig: &quic.Config{}}
	done := make(chan error, 1)
	go func() { done <- h3.Serve(conn) }()
	t.Cleanup(func() {
		h3.Close()
		conn.Close()
		<-done
	})
	return "https://" + conn.LocalAddr().String()
}

func TestHTTP3(t *testing.T) {
	s, requests := webServer(t)
	at := quicServer(t, s)
	for _, test := range []struct {
		name, path string
		params     map[string]string
		want       []string
	}{
		{"get", "/slow", map[string]string{"save_response_body": "true", "save_response_header": "true"},
			[]string{`"status_code":200`, `"http_version":"HTTP/3.0"`, `"response_body":"first last"`, `"response_header":"HTTP/3.0 200 OK\r\n`, `"alpn":"h3"`, `"remote_ip":"127.0.0.1"`, `"local_ip":"127.0.0.1"`}},
		{"put", "/x", map[string]string{"operation": "put", "http_body": "body", "auth_user": "a:b"}, []string{`"size_upload":4`, `"size_download":5`}},
		{"redirect", "/redirect/", nil, []string{`"redirect_count":1`}},
		{"redirect on one connection", "/redirect/", map[string]string{"fresh_connect": "false"}, []string{`"redirect_count":1`}},
	} {
		params := map[string]string{"http_version": "3", "cacert": authority(s)}
		for name, value := range test.params {
			params[name] = value
		}
		r, body := run(t, New(), "http", at+test.path, params)
		if r.Err != nil {
			t.Errorf("%s: %v", test.name, r.Err)
			continue
		}
		for _, want := range test.want {
			if !strings.Contains(body, want) {
				t.Errorf("%s: missing %s in %s", test.name, want, body)
			}
		}
		checkSum(t, r)
		if p := r.Data.(*HTTPResult).Phases; p.Connect <= 0 || p.TLS <= 0 {
			t.Errorf("%s: got %+v, want a connection and a handshake", test.name, p)
		}
		for len(requests) > 0 {
			<-requests
		}
	}
}

func TestHTTP3Failures(t *testing.T) {
	s, _ := webServer(t)
	at := quicServer(t, s)
	closed, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	silent, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	closed.Close()
	trusted := authority(s)
	for _, test := range []struct {
		name, url, cacert, timeout string
		code                       int
	}{
		{"without TLS", strings.Replace(at, "https:", "http:", 1), trusted, "5", 3},
		{"refused", "https://" + closed.LocalAddr().String(), trusted, "20", 7},
		{"no answer", "https://" + silent.LocalAddr().String(), trusted, "0.3", 28},
		{"bad certificate", at, "", "20", 60},
		{"no answer to the request", at + "/stuck", trusted, "0.5", 28},
	} {
		begin := time.Now()
		r, body := run(t, New(), "http", test.url, map[string]string{"http_version": "3", "cacert": test.cacert, "timeout": test.timeout})
		if r.Err == nil || !strings.Contains(body, fmt.Sprintf(`"errorcode":%d,`, test.code)) {
			t.Errorf("%s: got %s, want %d", test.name, body, test.code)
		}
		if took := time.Since(begin); took > 15*time.Second {
			t.Errorf("%s: took %v", test.name, took)
		}
	}
}

// serverOf1996 keeps to HTTP/1.0: it reads what it is sent, answers once and hangs up.
func serverOf1996(t *testing.T, answer string) (address string, asked <-chan string) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	heard := make(chan string, 10)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			b := make([]byte, 4096)
			n, _ := conn.Read(b)
			heard <- string(b[:n])
			io.WriteString(conn, answer)
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return l.Addr().String(), heard
}

func TestHTTP10(t *testing.T) {
	at, asked := serverOf1996(t, "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil the end")
	for _, test := range []struct{ operation, body, want string }{
		{"get", "", "GET /a?b=c HTTP/1.0\r\nHost: " + at + "\r\nAccept: */*\r\nUser-Agent: natrix\r\nX-A: b\r\n\r\n"},
		{"post", "body", "POST /a?b=c HTTP/1.0\r\nHost: " + at + "\r\nAccept: */*\r\nContent-Length: 4\r\nContent-Type: application/x-www-form-urlencoded\r\nUser-Agent: natrix\r\nX-A: b\r\n\r\nbody"},
		{"put", "", "PUT /a?b=c HTTP/1.0\r\nHost: " + at + "\r\nAccept: */*\r\nContent-Length: 0\r\nUser-Agent: natrix\r\nX-A: b\r\n\r\n"},
	} {
		r, body := run(t, New(), "http", at+"/a?b=c", map[string]string{"http_version": "HTTP/1.0", "operation": test.operation, "http_body": test.body, "http_header": "X-A: b", "save_response_body": "1"})
		if got := <-asked; got != test.want {
			t.Errorf("sent %q, want %q", got, test.want)
		}
		if !strings.Contains(body, `"http_version":"HTTP/1.0","response_body":"until the end"`) {
			t.Errorf("got %s", body)
		}
		checkSum(t, r)
	}
}

// A server of today answers HTTP/1.0 as HTTP/1.0 should be answered.
func TestHTTP10WithNewServers(t *testing.T) {
	plain, _ := webServer(t)
	plain.Start()
	secure, _ := webServer(t)
	secure.StartTLS()
	for _, s := range []*httptest.Server{plain, secure} {
		for path, code := range map[string]int{"/slow": 0, "/redirect/": 0, "/drop": 52, "/partial": 18, "/weird": 8, "/stuck": 28} {
			params := map[string]string{"http_version": "1.0", "cacert": authority(s), "timeout": "1", "save_response_body": "1"}
			r, body := run(t, New(), "http", s.URL+path, params)
			if (r.Err != nil) != (code != 0) || code != 0 && !strings.Contains(body, fmt.Sprintf(`"errorcode":%d,`, code)) {
				t.Errorf("%s%s: got %s, want %d", s.URL, path, body, code)
			}
			if code == 0 {
				checkSum(t, r)
				if got := r.Data.(*HTTPResult); (got.TLS != nil) != (s == secure) || (got.Phases.TLS > 0) != (s == secure) {
					t.Errorf("%s%s: got %+v", s.URL, path, got)
				}
			}
		}
	}
}

// Redirects within a server share one connection if they may, and a name is
// looked up once unless that is too long ago.
func TestHTTPUsesConnectionsAndNamesAgain(t *testing.T) {
	for _, test := range []struct {
		params               map[string]string
		connections, lookups int
	}{
		{nil, 3, 1},
		{map[string]string{"fresh_connect": "false"}, 1, 1},
		{map[string]string{"dns_cache_timeout": "0"}, 3, 3},
		{map[string]string{"http_version": "1.0", "fresh_connect": "false"}, 3, 1},
	} {
		connections := make(map[string]bool)
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			connections[r.RemoteAddr] = true
			if len(r.URL.Path) < 4 {
				http.Redirect(w, r, r.URL.Path+"x", 302)
			}
		}))
		var lookups atomic.Int32
		names, _ := nameServer(t, func(w dns.ResponseWriter, m *dns.Msg) {
			if m.Question[0].Qtype == dns.TypeA {
				lookups.Add(1)
			}
			loopback("127.0.0.1")(w, m)
		})
		params := map[string]string{"dns_servers": names}
		for name, value := range test.params {
			params[name] = value
		}
		r, _ := run(t, New(), "http", "http://www.example.com:"+port(s)+"/x", params)
		s.Close()
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		if len(connections) != test.connections || int(lookups.Load()) != test.lookups {
			t.Errorf("%v: got %d connections and %d lookups, want %d and %d", test.params, len(connections), lookups.Load(), test.connections, test.lookups)
		}
		checkSum(t, r)
	}
}

// The second name server is asked only if the first does not answer, and not if
// it says that there is no such name.
func TestHTTPAsksNameServersInOrder(t *testing.T) {
	s, _ := webServer(t)
	s.Start()
	good, fromGood := nameServer(t, loopback("127.0.0.1"))
	empty, fromEmpty := nameServer(t, fromZone)
	gone, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	for _, test := range []struct {
		servers     []string
		good, empty bool // were asked
		err         bool
	}{
		{[]string{good, empty}, true, false, false},
		{[]string{gone.LocalAddr().String(), good}, true, false, false},
		{[]string{empty, good}, false, true, true},
	} {
		fromGood.Store(0)
		fromEmpty.Store(0)
		r, _ := run(t, New(), "http", "http://none.example.com:"+port(s), map[string]string{"dns_servers": strings.Join(test.servers, ", ")})
		if (r.Err != nil) != test.err || fromGood.Load() > 0 != test.good || fromEmpty.Load() > 0 != test.empty {
			t.Errorf("%v: %v, asked %d and %d times", test, r.Err, fromGood.Load(), fromEmpty.Load())
		}
	}
}

func TestHTTPHosts(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Host) }))
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Skip(err) // a machine without IPv6
	}
	s.Listener.Close()
	s.Listener = l
	s.Start()
	defer s.Close()
	for _, version := range []string{"1.0", "1.1"} {
		for url, host := range map[string]string{
			"http://[::1]:" + port(s):                "[::1]:" + port(s),
			"[::1]:" + port(s) + "/x":                "[::1]:" + port(s),
			"http://bücher.example:" + port(s) + "/": "xn--bcher-kva.example:" + port(s),
			"点看.EXAMPLE:" + port(s):                  "xn--3pxu8k.example:" + port(s),
		} {
			params := map[string]string{
				"http_version": version, "save_response_body": "1",
				"resolve": fmt.Sprintf("bücher.example:%s:[::1] xn--3pxu8k.example:%s:192.0.2.1,::1", port(s), port(s)), "connect_timeout": "2",
			}
			if strings.HasPrefix(url, "点看") {
				params["ipv6"] = "true"
			}
			r, body := run(t, New(), "http", url, params)
			if r.Err != nil || !strings.Contains(body, `"response_body":"`+host+`"`) || !strings.Contains(body, `"remote_ip":"::1"`) {
				t.Errorf("%s: got %s, want host %s", url, body, host)
			}
		}
	}
}

func TestPins(t *testing.T) {
	var p Pins
	if err := p.Set("Example.com:80:192.0.2.1,[2001:db8::1]\n a.example:443:2001:db8::2"); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(p); got != "map[a.example:443:[2001:db8::2] example.com:80:[192.0.2.1 2001:db8::1]]" {
		t.Errorf("got %s", got)
	}
	for _, bad := range []string{"a", "a:80", "a:80:b", "a:80:", "a b:80:192.0.2.1", "*:80:192.0.2.1,"} {
		var p Pins
		if err := p.Set(bad); err == nil {
			t.Errorf("%q: got %v, want an error", bad, p)
		}
	}
}

func TestHTTPWords(t *testing.T) {
	for _, test := range []struct{ name, value, want string }{
		{"http_version", "HTTP1.1", "1.1"}, {"prototol", "HTTP 2.0", "2"}, {"http_version", "http/3", "3"}, {"http_version", "1.0", "1.0"},
		{"http_version", "4", ""}, {"http_version", "", ""},
		{"auth_type", "Digest_Auth", "digest"}, {"operation", "PATCH", "patch"}, {"dns_cache_timeout", "-1", ""}, {"dns_cache_timeout", "NaN", ""},
		{"redirects", "false", "false"}, {"protocol", "HTTPS", "https"}, {"protocol", "gopher", ""},
	} {
		r, body := run(t, New(), "http", "ftp://example.com/", map[string]string{test.name: test.value})
		if bad := strings.Contains(r.Err.Error(), "bad parameter"); bad != (test.want == "") {
			t.Errorf("%s=%s: got %s", test.name, test.value, body)
		}
	}
	for _, scheme := range []string{"ftp", "rtsp", "rtspu"} {
		if _, body := run(t, New(), "http", "example.com", map[string]string{"protocol": scheme}); !strings.Contains(body, `"errorcode":1,`) {
			t.Errorf("%s: got %s", scheme, body)
		}
	}
}
