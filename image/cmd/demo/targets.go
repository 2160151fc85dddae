package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/miekg/dns"
	"github.com/natrix-os/natrix/image/qemu"
)

// targets are what the terminal measures: a name server and a web server on
// this machine's loopback, which the guest reaches at qemu.Host.
type targets struct {
	names *dns.Server
	web   *httptest.Server
}

// The one name that the name server knows, and what it says of it.
const (
	knownName = "www.example.com."
	knownAddr = "192.0.2.80"
	knownPage = "hello from the other side of the link\n"
)

func listen() (*targets, error) {
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	t := &targets{names: &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(answerName)}}
	go t.names.ActivateAndServe() // ends with Shutdown
	t.web = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, knownPage) }))
	return t, nil
}

func answerName(w dns.ResponseWriter, query *dns.Msg) {
	answer := new(dns.Msg).SetReply(query)
	if len(query.Question) == 1 && query.Question[0].Name == knownName && query.Question[0].Qtype == dns.TypeA {
		answer.Answer = append(answer.Answer, &dns.A{
			Hdr: dns.RR_Header{Name: knownName, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60},
			A:   net.ParseIP(knownAddr),
		})
	}
	w.WriteMsg(answer)
}

// nameServer and webServer are the targets as the guest sees them.
func (t *targets) nameServer() string { return guestView(t.names.PacketConn.LocalAddr().String()) }
func (t *targets) webServer() string  { return "http://" + guestView(t.web.Listener.Addr().String()) }

func guestView(address string) string { return strings.Replace(address, "127.0.0.1", qemu.Host, 1) }

func (t *targets) close() {
	t.names.Shutdown()
	t.web.Close()
}
