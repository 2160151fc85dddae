package probe

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/natrix-os/natrix/agent/command"
	"github.com/natrix-os/natrix/sysinfo/netif"
	"golang.org/x/sys/unix"
)

// seen is what a web server was asked.
type seen struct {
	method, path, body string
	header             http.Header
}

// webServer answers as its paths say, and tells what it was asked.
func webServer(t *testing.T) (*httptest.Server, <-chan seen) {
	requests := make(chan seen, 100)
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "hello")
	})
	mux.HandleFunc("/status/", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(404) })
	mux.HandleFunc("/empty", func(w http.ResponseWriter, r *http.Request) {})
	mux.HandleFunc("/latin", func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("caf\xe9\x00")) })
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(50 * time.Millisecond)
		fmt.Fprint(w, "first ")
		w.(http.Flusher).Flush()
		time.Sleep(30 * time.Millisecond)
		fmt.Fprint(w, "last")
	})
	mux.HandleFunc("/redirect/", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", 302) })
	mux.HandleFunc("/keep", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", 307) })
	mux.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/loop", 301) })
	mux.HandleFunc("/stuck", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/drop", func(w http.ResponseWriter, r *http.Request) { hijack(w, "") })
	mux.HandleFunc("/partial", func(w http.ResponseWriter, r *http.Request) {
		hijack(w, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")
	})
	mux.HandleFunc("/weird", func(w http.ResponseWriter, r *http.Request) { hijack(w, "SSH-2.0-OpenSSH_9.2\r\n\r\n") })
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Header.Set("Host", r.Host)
		requests <- seen{r.Method, r.URL.Path, string(body), r.Header}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s, requests
}

// hijack answers with raw bytes and hangs up.
func hijack(w http.ResponseWriter, raw string) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		io.WriteString(conn, raw)
		conn.Close()
	}
}

func TestHTTP(t *testing.T) {
	s, requests := webServer(t)
	s.Start()
	for _, test := range []struct {
		name, path string
		params     map[string]string
		sent       seen
		want       []string
		not        string
	}{
		{"get", "/x", nil, seen{"GET", "/x", "", http.Header{"User-Agent": {"natrix"}}},
			[]string{`"status_code":200,"redirect_count":0,"redirect_time":0,"remote_ip":"127.0.0.1"`, `"size_download":5`, `"period_ssl_connect":0,`, `"http_version":"HTTP/1.1"`}, "response_body"},
		{"post", "/x", map[string]string{"operation": "post", "http_body": `{"a":1}`, "http_header": `{"Content-Type": "application/json", "X-Number": 7}`},
			seen{"POST", "/x", `{"a":1}`, http.Header{"Content-Type": {"application/json"}, "X-Number": {"7"}}}, []string{`"size_upload":7`}, ""},
		{"put, header as name and value", "/x", map[string]string{"operation": "PUT", "auth_type": "basic", "auth_user": "guest:gu:est", "http_header": "content-type:application/json"},
			seen{"PUT", "/x", "", http.Header{"Content-Type": {"application/json"}, "Authorization": {"Basic Z3Vlc3Q6Z3U6ZXN0"}}}, nil, ""},
		{"delete", "/x", map[string]string{"operation": "delete"}, seen{"DELETE", "/x", "", nil}, nil, ""},
		{"any status is a result", "/status/404", nil, seen{"GET", "/status/404", "", nil}, []string{`"status_code":404`}, ""},
		{"keep header and body", "/x", map[string]string{"save_response_body": "true", "save_response_header": "1"}, seen{"GET", "/x", "", nil},
			[]string{`"response_header":"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n`, `"response_body":"hello"`}, ""},
		{"an empty body is left out", "/empty", map[string]string{"save_response_body": "true"}, seen{"GET", "/empty", "", nil}, []string{`"size_download":0`}, "response_body"},
		{"a body that is not UTF-8", "/latin", map[string]string{"save_response_body": "true"}, seen{"GET", "/latin", "", nil}, []string{`"response_body":"café"`}, ""},
		{"a redirect is not followed", "/redirect/", map[string]string{"allow_redirects": "false"}, seen{"GET", "/redirect/", "", nil}, []string{`"status_code":302,"redirect_count":0`}, ""},
		{"a redirect is followed", "/redirect/", map[string]string{"operation": "post", "http_body": "b"}, seen{"POST", "/redirect/", "b", nil}, []string{`"status_code":200,"redirect_count":1`, `:` + port(s) + `/","status_code"`}, ""},
		{"server's full form", "/x", map[string]string{"prototol": "HTTP1.1", "timeout": "600", "allow_redirects": "false", "max_redirects": "5", "save_response_body": "false"}, seen{"GET", "/x", "", nil}, nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, body := run(t, New(), "http", s.URL+test.path, test.params)
			if r.Err != nil {
				t.Fatal(r.Err)
			}
			got := <-requests
			if got.method != test.sent.method || got.path != test.sent.path || got.body != test.sent.body {
				t.Errorf("sent %s %s %q", got.method, got.path, got.body)
			}
			for name := range test.sent.header {
				if got.header.Get(name) != test.sent.header.Get(name) {
					t.Errorf("header %s: got %q, want %q", name, got.header.Get(name), test.sent.header.Get(name))
				}
			}
			for len(requests) > 0 {
				<-requests
			}
			for _, want := range test.want {
				if !strings.Contains(body, want) {
					t.Errorf("missing %s in %s", want, body)
				}
			}
			if test.not != "" && strings.Contains(body, test.not) {
				t.Errorf("%s in %s", test.not, body)
			}
			checkSum(t, r)
		})
	}
}

// checkSum holds the total against the sum of the phases.
func checkSum(t *testing.T, r command.Result) {
	t.Helper()
	body, err := json.Marshal(r.Data)
	if err != nil {
		t.Fatal(err)
	}
	var w httpWire
	if err := json.Unmarshal(body, &w); err != nil {
		t.Fatal(err)
	}
	sum := w.Lookup + w.Connect + w.TLS + w.Request + w.Response + w.Transfer
	if math.Abs(sum-w.Total) > 0.01 || w.Total <= 0 || min(w.Lookup, w.Connect, w.TLS, w.Request, w.Response, w.Transfer) < 0 {
		t.Errorf("total %v, sum of the phases %v: %s", w.Total, sum, body)
	}
}

// Wherever the two ends are, the server takes what is said of their places.
func TestHTTPPlaces(t *testing.T) {
	p := New()
	for _, at := range []string{"198.51.100.1:80", "127.0.0.1:80", "10.0.0.1:80", "[2001:db8::1]:80", "[fe80::1%eth0]:80", "[::ffff:192.0.2.1]:80"} {
		remote := netip.MustParseAddrPort(at)
		r := &HTTPResult{URL: "http://www.example.com/", LastURL: "http://www.example.com/", Status: 200, Proto: "HTTP/1.1", Remote: remote, Local: remote}
		r.RemoteLocation, r.LocalLocation = p.Locations.Of(remote.Addr()), p.Locations.Of(remote.Addr())
		judge(t, "http", r)
	}
}

func port(s *httptest.Server) string {
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	return port
}

func TestHTTPPhases(t *testing.T) {
	s, _ := webServer(t)
	s.StartTLS()
	r, err := trusting(t, s, DefaultHTTP(), "/slow")
	if err != nil {
		t.Fatal(err)
	}
	p := r.Phases
	if p.TLS <= 0 || p.Response < 50*time.Millisecond || p.Transfer < 30*time.Millisecond {
		t.Errorf("got %+v, want TLS, 50 ms of response and 30 ms of transfer at least", p)
	}
	if r.TLS == nil || r.Status != 200 {
		t.Errorf("got %+v", r)
	}
}

// trusting makes a request of a server and believes its certificate.
func trusting(t *testing.T, s *httptest.Server, params HTTPParams, path string) (*HTTPResult, error) {
	t.Helper()
	params.CACert = authority(s)
	return New().HTTP(t.Context(), s.URL+path, params)
}

// authority is a server's certificate in PEM form; "" without TLS.
func authority(s *httptest.Server) string {
	if s.Certificate() == nil {
		return ""
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
}

// slowly is a path whose routes take long to find.
func slowly() path {
	return path{spec: "any", choose: func(string, netip.Addr) (netif.Route, error) {
		time.Sleep(time.Second)
		return netif.Route{}, nil
	}}
}

func TestHTTPTakesRoutesBeforeTheClockStarts(t *testing.T) {
	s, _ := webServer(t)
	s.Start()
	names, _ := nameServer(t, loopback("127.0.0.1"))
	u, err := webURL("http://www.example.com:" + port(s))
	if err != nil {
		t.Fatal(err)
	}
	params := DefaultHTTP()
	params.DNS = names
	e, err := newExchange(t.Context(), params)
	if err != nil {
		t.Fatal(err)
	}
	e.via = slowly().asking(e.servers)
	r := &HTTPResult{}
	if err := e.follow(t.Context(), u, r); err != nil {
		t.Fatal(err)
	}
	if r.Phases.Lookup <= 0 || r.Phases.Connect <= 0 || r.Phases.Total() > 900*time.Millisecond {
		t.Errorf("got %+v, which includes the time to find a route", r.Phases)
	}
}

// loopback answers with loopback addresses, whatever the name.
func loopback(addrs ...string) func(w dns.ResponseWriter, m *dns.Msg) {
	return func(w dns.ResponseWriter, m *dns.Msg) {
		if m.Question[0].Qtype == dns.TypeA {
			for _, a := range addrs {
				rr, _ := dns.NewRR(m.Question[0].Name + " 60 IN A " + a)
				m.Answer = append(m.Answer, rr)
			}
		}
		w.WriteMsg(m)
	}
}

func TestHTTPFailures(t *testing.T) {
	plain, _ := webServer(t)
	plain.Start()
	secure, _ := webServer(t)
	secure.StartTLS()
	closed, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	names, _ := nameServer(t, fromZone)
	silent, _ := nameServer(t, func(dns.ResponseWriter, *dns.Msg) {})
	for _, test := range []struct {
		name, url string
		params    map[string]string
		code      int
	}{
		{"bad URL", "http://a b/", nil, 3},
		{"unsupported scheme", "ftp://127.0.0.1/", nil, 1},
		{"no such name", "http://none.example.com/", map[string]string{"dns_servers": names}, 6},
		{"name server is silent", "http://www.example.com/", map[string]string{"dns_servers": silent, "timeout": "0.3"}, 28},
		{"refused", "http://" + closed.Addr().String() + "/", nil, 7},
		{"no answer in time", plain.URL + "/stuck", map[string]string{"timeout": "0.2"}, 28},
		{"not TLS", strings.Replace(plain.URL, "http:", "https:", 1), nil, 35},
		{"bad certificate", secure.URL, nil, 60},
		{"too many redirects", plain.URL + "/loop", map[string]string{"max_redirects": "5"}, 47},
		{"no redirect allowed is one too many", plain.URL + "/loop", map[string]string{"max_redirects": "0"}, 47},
		{"empty reply", plain.URL + "/drop", nil, 52},
		{"reply ends early", plain.URL + "/partial", nil, 18},
		{"not HTTP", plain.URL + "/weird", nil, 8},
		{"no such link", plain.URL, map[string]string{"interface": "no-such-link"}, 45},
		{"bad header field", plain.URL, map[string]string{"http_header": "A B: c"}, 3},
		{"nested header field", plain.URL, map[string]string{"http_header": `{"A": {"b": 1}}`}, 3},
		{"unknown operation", plain.URL, map[string]string{"operation": "fetch"}, 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, body := run(t, New(), "http", test.url, test.params)
			if r.Err == nil || !strings.Contains(body, fmt.Sprintf(`"errorcode":%d,`, test.code)) {
				t.Errorf("got %v, %s, want %d", r.Err, body, test.code)
			}
		})
	}
}

// The server answers /away with a redirect to another origin, /home with one to
// itself.
func TestHTTPKeepsSecretsFromOtherOrigins(t *testing.T) {
	other, seenByOther := webServer(t)
	other.Start()
	requests := make(chan seen, 10)
	var home string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set("Host", r.Host)
		requests <- seen{r.Method, r.URL.Path, "", r.Header}
		if to := map[string]string{"/away": other.URL, "/home": home + "/end"}[r.URL.Path]; to != "" {
			http.Redirect(w, r, to, 302)
		}
	}))
	defer s.Close()
	home = s.URL
	for _, params := range []map[string]string{
		{"auth_user": "guest:secret", "http_header": `{"Cookie": "secret", "Host": "www.example.com", "X-Other": "public"}`},
		{"http_header": "authorization: secret\ncookie: secret\nhost: www.example.com\nX-Other: public"},
	} {
		for _, path := range []string{"/away", "/home"} {
			if r, _ := run(t, New(), "http", s.URL+path, params); r.Err != nil {
				t.Fatal(r.Err)
			}
			got := []seen{<-requests}
			if path == "/home" {
				got = append(got, <-requests)
			} else {
				away := <-seenByOther
				if away.header.Get("Authorization") != "" || away.header.Get("Cookie") != "" || "http://"+away.header.Get("Host") != other.URL || away.header.Get("X-Other") != "public" {
					t.Errorf("%v: sent %v to another origin", params, away.header)
				}
			}
			for _, g := range got {
				if g.header.Get("Authorization") == "" || g.header.Get("Cookie") == "" || g.header.Get("Host") != "www.example.com" {
					t.Errorf("%v: sent only %v to the origin", params, g.header)
				}
			}
		}
	}
}

func TestHTTPKeepsThePasswordOfAURL(t *testing.T) {
	s, requests := webServer(t)
	s.Start()
	secret := strings.Replace(s.URL, "http://", "http://guest:p%40ss@", 1)
	for _, test := range []struct {
		path, user string
		want       []string // Authorization of each request
	}{
		{"/x", "", []string{"Basic Z3Vlc3Q6cEBzcw=="}},
		{"/redirect/", "", []string{"Basic Z3Vlc3Q6cEBzcw==", "Basic Z3Vlc3Q6cEBzcw=="}},
		{"/x", "other:one", []string{"Basic b3RoZXI6b25l"}},
	} {
		r, _ := run(t, New(), "http", secret+test.path, map[string]string{"auth_user": test.user})
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		for _, want := range test.want {
			if got := (<-requests).header.Get("Authorization"); got != want {
				t.Errorf("%s: sent %q, want %q", test.path, got, want)
			}
		}
		data, err := json.Marshal(r.Data)
		if err != nil || strings.Contains(string(data)+textOf(r.Data), "guest") {
			t.Errorf("%v: user and password came back in %s\n%s", err, data, textOf(r.Data))
		}
	}
	for _, u := range []string{secret + "/drop", secret + "/%zz", "http://guest:p%40ss@a b/", "http://guest:p%40ss/@a/", "ftp://guest:p%40ss@a/"} {
		if r, _ := run(t, New(), "http", u, nil); r.Err == nil || strings.Contains(r.Err.Error(), "p%40ss") || strings.Contains(r.Err.Error(), "guest") {
			t.Errorf("%s: got %v, want an error without user and password", u, r.Err)
		}
	}
}

func TestHTTPVersion(t *testing.T) {
	plain, _ := webServer(t)
	plain.Config.Protocols = new(http.Protocols)
	plain.Config.Protocols.SetHTTP1(true)
	plain.Config.Protocols.SetUnencryptedHTTP2(true)
	plain.Start()
	secure, _ := webServer(t)
	secure.EnableHTTP2 = true
	secure.StartTLS()
	old, _ := webServer(t)
	old.Start()
	oldSecure, _ := webServer(t)
	oldSecure.StartTLS()
	for _, test := range []struct {
		name          string
		s             *httptest.Server
		version, want string
	}{
		{"plain", plain, "", "HTTP/1.1"},
		{"plain", plain, "1.1", "HTTP/1.1"},
		{"plain", plain, "2", "HTTP/2.0"},
		{"TLS", secure, "", "HTTP/2.0"},
		{"TLS", secure, "1.1", "HTTP/1.1"},
		{"TLS", secure, "2", "HTTP/2.0"},
		{"plain 1.1", old, "2", ""},
		{"TLS 1.1", oldSecure, "2", ""},
	} {
		params := DefaultHTTP()
		params.Version = test.version
		r, err := trusting(t, test.s, params, "/redirect/")
		if r == nil {
			r = new(HTTPResult)
		}
		if r.Proto != test.want || (err == nil) != (test.want != "") {
			t.Errorf("%s, version %q: got %q, %v, want %q", test.name, test.version, r.Proto, err, test.want)
		}
		if p := r.Phases; err == nil && min(p.Lookup, p.Connect, p.TLS, p.Request, p.Response, p.Transfer) < 0 {
			t.Errorf("%s, version %q: got %+v, want no phase to end before it begins", test.name, test.version, p)
		}
	}
}

func TestOrigin(t *testing.T) {
	for _, test := range []struct {
		a, b string
		same bool
	}{
		{"http://a/x", "http://A:80/y?z", true},
		{"https://a/", "https://user@a:443/", true},
		{"https://[2001:db8::1]/", "https://[2001:db8::1]:443/", true},
		{"https://a/", "http://a/", false},
		{"http://a/", "http://a:8080/", false},
		{"http://a/", "http://www.a/", false},
		{"https://a/", "http://a:443/", false},
	} {
		a, _ := url.Parse(test.a)
		b, _ := url.Parse(test.b)
		if got := origin(a) == origin(b); got != test.same {
			t.Errorf("%s, %s: got %v, want %v", a, b, got, test.same)
		}
	}
}

func TestHTTPReachesTheAddressThatAnswers(t *testing.T) {
	s, _ := webServer(t)
	s.Start()
	names, _ := nameServer(t, loopback("127.0.0.2", "127.0.0.1"))
	params := map[string]string{"dns_servers": names}
	r, body := run(t, New(), "http", "http://www.example.com:"+port(s), params)
	if r.Err != nil || !strings.Contains(body, `"remote_ip":"127.0.0.1"`) {
		t.Errorf("got %v, %s", r.Err, body)
	}
}

func TestHTTPKeepsTheBeginningOfALongBody(t *testing.T) {
	chunk := make([]byte, 64<<10)
	sent := func(size int) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for range size / len(chunk) {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	long, endless := sent(16<<20), sent(2*maxBody)
	for _, test := range []struct {
		name, url  string
		save       bool
		read, kept int
	}{
		{"long", long, true, 16 << 20, maxKept},
		{"long, not kept", long, false, 16 << 20, 0},
		{"longer than is read", endless, true, maxBody, maxKept},
	} {
		t.Run(test.name, func(t *testing.T) {
			params := DefaultHTTP()
			params.SaveBody = test.save
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			r, err := New().HTTP(t.Context(), test.url, params)
			runtime.ReadMemStats(&after)
			if err != nil {
				t.Fatal(err)
			}
			if r.Download != int64(test.read) || len(r.Body.Bytes) != test.kept {
				t.Errorf("read %d bytes, kept %d, want %d, %d", r.Download, len(r.Body.Bytes), test.read, test.kept)
			}
			if got := after.TotalAlloc - before.TotalAlloc; got > 4<<20 {
				t.Errorf("took %d bytes of memory for a body of %d", got, r.Download)
			}
		})
	}
}

func TestHeader(t *testing.T) {
	for _, test := range []struct {
		given string
		want  http.Header
	}{
		{`{"X-Id": 12345678901234567890, "X-Big": 10000000, "X-Real": 1.50, "X-On": true, "X-None": null, "x-text": " a "}`,
			http.Header{"X-Id": {"12345678901234567890"}, "X-Big": {"10000000"}, "X-Real": {"1.50"}, "X-On": {"true"}, "X-Text": {" a "}}},
		{`{}`, http.Header{}},
		{"A: b\r\na:c:d\n\nE:", http.Header{"A": {"b", "c:d"}, "E": {""}}},
	} {
		var h Header
		if err := h.Set(test.given); err != nil || !maps.EqualFunc(h.Header, test.want, slices.Equal) {
			t.Errorf("%s: got %v, %v, want %v", test.given, h.Header, err, test.want)
		}
	}
	for _, bad := range []string{
		`{"A": {"b": 1}}`, `{"A": [1]}`, `{"A": "b"} {}`, `{"A": "b"`, `{"A B": "c"}`, `{"": "c"}`, `{"A": "b\r\nC: d"}`, `{"Host": "a b/"}`,
		"no colon", "A B: c", ": c", "A: b\x00",
	} {
		var h Header
		if err := h.Set(bad); err == nil {
			t.Errorf("%q: got %v, want an error", bad, h.Header)
		}
	}
}

// blackHole is a TCP port whose queue is full: it drops who wants to connect.
func blackHole(t *testing.T, at netip.AddrPort) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		conn, err := net.DialTimeout("tcp4", at.String(), 100*time.Millisecond)
		if err != nil {
			return
		}
		t.Cleanup(func() { conn.Close() })
	}
	t.Fatalf("%v still accepts connections", at)
}

func TestHTTPLeavesTimeForTheNextAddress(t *testing.T) {
	s, _ := webServer(t)
	s.Start()
	at := netip.MustParseAddrPort(s.Listener.Addr().String())
	blackHole(t, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), at.Port()))
	names, _ := nameServer(t, loopback("127.0.0.2", "127.0.0.1"))
	for _, timeout := range []string{"connect_timeout", "timeout"} {
		params := map[string]string{"dns_servers": names, timeout: "1"}
		begin := time.Now()
		r, body := run(t, New(), "http", "http://www.example.com:"+port(s), params)
		if took := time.Since(begin); r.Err != nil || !strings.Contains(body, `"remote_ip":"127.0.0.1"`) || took < 300*time.Millisecond {
			t.Errorf("%s: got %v after %v, %s", timeout, r.Err, took, body)
		}
	}
}

func FuzzHeader(f *testing.F) {
	f.Add(`{"A": "b"}`)
	f.Add(`{"A": 1e400, "B": null}`)
	f.Add("A: b\nC:d")
	f.Fuzz(func(t *testing.T, s string) {
		var h Header
		if h.Set(s) != nil {
			return
		}
		r := http.Request{Method: "GET", URL: &url.URL{Scheme: "http", Host: "a"}, Header: h.Header}
		if err := r.Write(io.Discard); err != nil {
			t.Errorf("%q: accepted but cannot be sent: %v", s, err)
		}
	})
}
