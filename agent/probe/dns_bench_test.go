package probe

import (
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/natrix-os/natrix/agent/command"
)

// BenchmarkDNS is a command from its parameters to its document, with the name
// server in the same process.
func BenchmarkDNS(b *testing.B) {
	server := rawServer(b, func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		rr, _ := dns.NewRR("www.example.com. 60 IN A 192.0.2.1")
		m.Answer = []dns.RR{rr}
		w.WriteMsg(m)
	})
	set := command.NewSet(New().Commands()...)
	params := map[string]string{"dns_server": server, "is_default": "false", "timeout": "10"}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r := set.Execute(b.Context(), command.Command{Name: "dns", Destination: "www.example.com", Params: params, Received: time.Now()})
			if r.Err != nil {
				b.Error(r.Err)
				return
			}
			command.Encode(r)
		}
	})
}
