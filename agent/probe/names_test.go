package probe

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/natrix-os/natrix/agent/packet"
)

// reverseServer names router n "rn.example.com" after a while, except the one
// for which it has no answer ever; most counts the questions in hand at once.
func reverseServer(t *testing.T, silent string) (address string, most *atomic.Int32) {
	t.Helper()
	most = new(atomic.Int32)
	var now atomic.Int32
	address, _ = nameServer(t, func(w dns.ResponseWriter, answer *dns.Msg) {
		question := answer.Question[0].Name
		if strings.HasPrefix(question, silent+".") {
			return
		}
		for n, m := now.Add(1), most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		time.Sleep(100 * time.Millisecond)
		now.Add(-1)
		name, _, _ := strings.Cut(question, ".")
		answer.Answer = append(answer.Answer, &dns.PTR{
			Hdr: dns.RR_Header{Name: question, Rrtype: dns.TypePTR, Class: dns.ClassINET, Ttl: 60}, Ptr: "r" + name + ".example.com.",
		})
		w.WriteMsg(answer)
	})
	return address, most
}

func TestTracerouteNames(t *testing.T) {
	t.Parallel()
	address, most := reverseServer(t, "7")
	params := quick("icmp")
	params.Numeric, params.DNS, params.MaxHops = false, address, 40
	begin := time.Now()
	r, err := route(33, nil, packet.NoReply).prober().Traceroute(t.Context(), "127.0.0.1", params)
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took > reverseLimit+2*time.Second {
		t.Errorf("took %v", took)
	}
	for _, h := range r.Hops[:32] {
		want := fmt.Sprintf("r%d.example.com", h.TTL)
		if h.TTL == 7 {
			want = "192.0.2.7"
		}
		if got := h.Probes[2].Name; got != want {
			t.Errorf("hop %d is called %s, want %s", h.TTL, got, want)
		}
	}
	if n := most.Load(); n < 2 || n > reverseAtOnce {
		t.Errorf("%d lookups at once, want 2 to %d", n, reverseAtOnce)
	}
}

func TestMTRNames(t *testing.T) {
	t.Parallel()
	address, _ := reverseServer(t, "2")
	params := numericMTR(2)
	params.Numeric, params.DNS, params.Interval = false, address, 100*time.Millisecond
	begin := time.Now()
	r, err := route(4, nil, packet.NoReply).prober().MTR(t.Context(), "127.0.0.1", params)
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took > reverseLimit+time.Second {
		t.Errorf("took %v", took)
	}
	if text := textOf(r); !strings.Contains(text, "1.|-- r1.example.com ") || !strings.Contains(text, "2.|-- 192.0.2.2 ") || !strings.Contains(text, "3.|-- r3.example.com ") {
		t.Errorf("got\n%s", text)
	}
}

// Who quits does not wait for names.
func TestMTRQuitsAtOnce(t *testing.T) {
	t.Parallel()
	address, _ := reverseServer(t, "2")
	params := numericMTR(0)
	params.Numeric, params.DNS, params.Interval = false, address, 100*time.Millisecond
	ctx, quit := context.WithCancel(t.Context())
	time.AfterFunc(500*time.Millisecond, quit)
	begin := time.Now()
	r, err := route(3, nil, packet.NoReply).prober().MTR(ctx, "127.0.0.1", params)
	if took := time.Since(begin); err != nil || len(r.Hubs) != 3 || took > time.Second {
		t.Errorf("got %v after %v", err, took)
	}
}
