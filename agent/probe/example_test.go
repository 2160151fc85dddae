package probe_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	"github.com/miekg/dns"
	"github.com/natrix-os/natrix/agent/probe"
)

// Round-trip times are durations, and there is one for each packet that was
// answered.
func ExampleProber_Ping() {
	p := probe.New()
	defer p.Close()

	params := probe.DefaultPing()
	params.Interval = 10 * time.Millisecond
	r, err := p.Ping(context.Background(), "127.0.0.1", params)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	s := probe.SpreadOf(r.RTTs())
	fmt.Println(len(r.RTTs()), "of", len(r.Packets), "answered")
	fmt.Println("quicker than a second:", s.Max < time.Second)
	// Output:
	// 3 of 3 answered
	// quicker than a second: true
}

// A hop has the outcome of each packet that was sent to it.
func ExampleProber_Traceroute() {
	p := probe.New()
	defer p.Close()

	r, err := p.Traceroute(context.Background(), "127.0.0.1", probe.DefaultTraceroute())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	for _, hop := range r.Hops {
		fmt.Printf("%d: %v, %.0f%% lost\n", hop.TTL, hop.Probes[0].Reply.From, 100*hop.Loss())
	}
	fmt.Println("reached:", r.Reached)
	// Output:
	// 1: 127.0.0.1, 0% lost
	// reached: true
}

// As many rounds as are asked for, or until the context ends.
func ExampleProber_MTR() {
	p := probe.New()
	defer p.Close()

	params := probe.DefaultMTR()
	params.Count, params.Interval, params.Numeric = 5, 50*time.Millisecond, true
	r, err := p.MTR(context.Background(), "127.0.0.1", params)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	for _, hub := range r.Hubs {
		fmt.Printf("%d: %s, %d of %d answered\n", hub.TTL, hub.Name, hub.Received, hub.Sent)
	}
	// Output:
	// 1: 127.0.0.1, 5 of 5 answered
}

// nameServer knows one name and returns where it listens.
func nameServer() (address string, stop func()) {
	started := make(chan struct{})
	s := &dns.Server{Addr: "127.0.0.1:0", Net: "udp", NotifyStartedFunc: func() { close(started) }}
	s.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		m.Answer = []dns.RR{&dns.MX{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeMX, Class: dns.ClassINET, Ttl: 60}, Preference: 10, Mx: "mail.example.com."}}
		w.WriteMsg(m)
	})
	go s.ListenAndServe()
	<-started
	return s.PacketConn.LocalAddr().String(), func() { s.Shutdown() }
}

// The answer is there as a whole, in the types of github.com/miekg/dns.
func ExampleProber_DNS() {
	server, stop := nameServer()
	defer stop()
	p := probe.New()
	defer p.Close()

	params := probe.DefaultDNS()
	params.Server, params.Method = server, "mx"
	r, err := p.DNS(context.Background(), "example.com", params)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	for _, rr := range r.Message.Answer {
		if mx, ok := rr.(*dns.MX); ok {
			fmt.Println(mx.Preference, mx.Mx)
		}
	}
	fmt.Println("over", r.Network, "within the timeout:", r.Time < params.Timeout)
	// Output:
	// 10 mail.example.com.
	// over udp within the timeout: true
}

// The phases of a request add up to its total.
func ExampleProber_HTTP() {
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }))
	defer site.Close()
	p := probe.New()
	defer p.Close()

	params := probe.DefaultHTTP()
	params.Operation = "get"
	r, err := p.HTTP(context.Background(), site.URL, params)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	fmt.Println(r.Status, r.Proto, r.Download, "bytes")
	fmt.Println("first byte before the last:", r.Phases.Response <= r.Phases.Total())
	// Output:
	// 200 HTTP/1.1 5 bytes
	// first byte before the last: true
}
