package agent

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/natrix-os/natrix/agent/config"
	"github.com/natrix-os/natrix/agent/door/amqp"
	"github.com/natrix-os/natrix/agent/door/amqp/amqptest"
	"github.com/natrix-os/natrix/agent/report/server"
)

// terminal is a terminal at a broker, and the server that sends it commands.
type terminal struct {
	t      *testing.T
	id     string
	server *amqp.Dispatcher

	answers <-chan amqp.Message
}

func startTerminal(t *testing.T) *terminal {
	t.Helper()
	b := amqptest.ForTest(t)
	f := &Fleet{Size: 1, Config: config.Default(), First: net.HardwareAddr{2, 0, 0, 0, 0, 0xe0}, Ramp: 1, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	f.Config.AMQP.URLs = []string{b.URL("127.0.0.1")}
	d, err := amqp.NewDispatcher(t.Context(), b.URL("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	answers, err := d.Watch(t.Context(), amqp.ResponseQueue)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		d.Close()
	})
	wait(t, func() bool { return f.Connected() == 1 })
	return &terminal{t, strings.ReplaceAll(f.mac(0).String(), ":", ""), d, answers}
}

// ask sends a command and returns the answer, which the server has accepted.
func (s *terminal) ask(protocol, destination string, params map[string]any) string {
	s.t.Helper()
	body, err := json.Marshal(amqp.NewRequest(s.id, protocol, destination, params))
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.server.Send(s.t.Context(), s.id, body); err != nil {
		s.t.Fatal(err)
	}
	select {
	case m := <-s.answers:
		if err := m.Take(); err != nil {
			s.t.Fatal(err)
		}
		if err := server.Response(protocol, m.Body); err != nil {
			s.t.Errorf("the server would not take it: %v\n%s", err, m.Body)
		}
		return string(m.Body)
	case <-time.After(time.Minute):
		s.t.Fatalf("no answer to %s", body)
		return ""
	}
}

// What the server sends for http comes back as it should, through a real broker.
func TestHTTPContract(t *testing.T) {
	s := startTerminal(t)
	web := http.NewServeMux()
	web.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		user, password, _ := r.BasicAuth()
		fmt.Fprintf(w, "%s %s:%s %s %s %s", r.Method, user, password, r.Header.Get("Content-Type"), r.Header.Get("X-A"), body)
	})
	web.HandleFunc("/empty", func(http.ResponseWriter, *http.Request) {})
	web.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/loop", 302) })
	web.HandleFunc("/stuck", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	plain, secure := httptest.NewServer(web), httptest.NewUnstartedServer(web)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer plain.Close()
	defer secure.Close()
	closed, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	names, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	resolver := &dns.Server{PacketConn: names, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		w.WriteMsg(new(dns.Msg).SetRcode(q, dns.RcodeNameError))
	})}
	go resolver.ActivateAndServe()
	defer names.Close()
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}))
	type params = map[string]any
	for _, test := range []struct {
		name, url string
		params    params
		want, not string
	}{
		{"private addresses have whole locations", plain.URL + "/echo", params{"operation": "get"}, `"remote_location":{"country":"`, "null}"},
		{"an empty body is left out", plain.URL + "/empty", params{"operation": "get", "save_response_body": true}, `"status_code":200`, "response_body"},
		{"header as the server sends it", plain.URL + "/echo", params{"operation": "post", "http_header": `{"Content-Type": "application/json", "X-A": "b"}`, "http_body": `{"a": 1}`, "save_response_body": true},
			`"response_body":"POST : application/json b {\"a\": 1}"`, ""},
		{"header as the document has it", plain.URL + "/echo", params{"operation": "put", "http_header": "X-A:b", "http_body": "c", "auth_user": "guest:guest", "auth_type": "basic", "save_response_body": true},
			`"response_body":"PUT guest:guest application/x-www-form-urlencoded b c"`, ""},
		{"delete", plain.URL + "/echo", params{"operation": "delete", "save_response_body": "true"}, `"response_body":"DELETE :`, ""},
		{"all that the form has", plain.URL + "/echo", params{"operation": "get", "prototol": "HTTP1.1", "timeout": 600, "allow_redirects": false, "max_redirects": 5, "save_response_body": false}, `"status_code":200`, "response_body"},
		{"a redirect that is not followed", plain.URL + "/loop", params{"operation": "get", "allow_redirects": false}, `"status_code":302,"redirect_count":0`, ""},
		{"TLS", secure.URL + "/echo", params{"operation": "get", "cacert": ca}, `"status_code":200`, `"period_ssl_connect":0,`},
		{"too many redirects", plain.URL + "/loop", params{"operation": "get", "max_redirects": 3}, `"errorcode":47,`, ""},
		{"refused", "http://" + closed.Addr().String(), params{"operation": "get"}, `"errorcode":7,`, ""},
		{"timeout", plain.URL + "/stuck", params{"operation": "get", "timeout": 1}, `"errorcode":28,`, ""},
		{"no such name", "http://none.example.com/", params{"operation": "get", "dns_servers": names.LocalAddr().String()}, `"errorcode":6,`, ""},
		{"bad certificate", secure.URL, params{"operation": "get"}, `"errorcode":60,`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			s.t = t
			body := s.ask("http", test.url, test.params)
			if !strings.Contains(body, test.want) || test.not != "" && strings.Contains(body, test.not) {
				t.Errorf("got %s, want %s", body, test.want)
			}
			phasesAddUp(t, body)
		})
	}
}

// phasesAddUp holds the total of an answer against its phases. A failure has none,
// but says when it came.
func phasesAddUp(t *testing.T, body string) {
	t.Helper()
	var d struct {
		Status int
		Stamp  map[string]*float64
		Data   struct {
			URL      string  `json:"url"`
			Total    float64 `json:"total_time"`
			Lookup   float64 `json:"period_nslookup"`
			Connect  float64 `json:"period_tcp_connect"`
			TLS      float64 `json:"period_ssl_connect"`
			Request  float64 `json:"period_request"`
			Response float64 `json:"period_response"`
			Transfer float64 `json:"period_transfer"`
		}
	}
	if err := json.Unmarshal([]byte(body), &d); err != nil {
		t.Fatal(err)
	}
	if received := d.Stamp["terminal_response_receive_time"]; (received == nil) != (d.Status == 1) || d.Stamp["terminal_response_return_time"] == nil {
		t.Errorf("got stamp %v, status %d", d.Stamp, d.Status)
	}
	w := d.Data
	sum := w.Lookup + w.Connect + w.TLS + w.Request + w.Response + w.Transfer
	if d.Status == 0 && (math.Abs(sum-w.Total) > 1 || w.Total <= 0 || (w.TLS > 0) != strings.HasPrefix(w.URL, "https:")) {
		t.Errorf("total %v, sum of the phases %v: %s", w.Total, sum, body)
	}
}
