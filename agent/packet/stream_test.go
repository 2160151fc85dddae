package packet

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/natrix-os/natrix/sysinfo/netif/nettest"
)

// collect waits for results until the stream is silent for the given time.
func collect(t *testing.T, s *Stream, silence time.Duration) (all []Result) {
	t.Helper()
	for {
		ctx, cancel := context.WithTimeout(t.Context(), silence)
		var into [16]Result
		n, err := s.Wait(ctx, into[:])
		if n == 0 && err == nil { // nothing in flight, but extra answers may come
			<-ctx.Done()
			if n, _ = s.Wait(t.Context(), into[:]); n == 0 {
				err = ctx.Err()
			}
		}
		cancel()
		if err != nil {
			return all
		}
		all = append(all, into[:n]...)
	}
}

func TestNetnsLate(t *testing.T) {
	h1, h2 := nettest.Line(t, nettest.Router{Delay: 60 * time.Millisecond})
	e := open(t, h1, Options{})
	s := e.NewStream(10)
	for p := ICMP; p <= TCP; p++ {
		s.Submit([]Request{{Tag: uint64(p), Protocol: p, Dst: h2.Addr4, Timeout: 10 * time.Millisecond}})
		got := collect(t, s, 300*time.Millisecond)
		if len(got) != 2 || got[0].Reply.Kind != NoReply || !got[1].Reply.Late || got[1].Tag != uint64(p) || got[1].Reply.RTT < 120*time.Millisecond {
			t.Errorf("%s: got %+v, want no reply and a late one", p, got)
		}
	}
	if s := e.Stats(); s.Late != 3 || s.Expired != 3 || s.Received != 0 {
		t.Errorf("got %+v, want 3 late", s)
	}
}

func TestNetnsDuplicate(t *testing.T) {
	h1, h2 := nettest.Line(t, nettest.Router{Duplicate: 1})
	e := open(t, h1, Options{})
	s := e.NewStream(10)
	s.Submit([]Request{{Dst: h2.Addr6, Timeout: time.Second}})
	got := collect(t, s, 100*time.Millisecond)
	if len(got) != 4 || got[0].Reply.Duplicate || !got[1].Reply.Duplicate || !got[3].Reply.Duplicate || got[3].Reply.Late {
		t.Errorf("got %+v, want one answer and three duplicates", got)
	}
	if n := e.Stats().Duplicate; n != 3 {
		t.Errorf("got %d duplicates, want 3", n)
	}
}

func TestNetnsOutOfOrder(t *testing.T) {
	h1, h2 := nettest.Line(t, nettest.Router{Reorder: 0.5})
	e := open(t, h1, Options{})
	s := e.NewStream(100)
	requests := make([]Request, 100)
	for i := range requests {
		requests[i] = Request{Tag: uint64(i), Dst: h2.Addr4, Timeout: time.Second}
	}
	s.Submit(requests)
	var newest uint64
	overtaken := 0
	for _, r := range collect(t, s, 200*time.Millisecond) {
		if want := r.Tag < newest; r.Reply.OutOfOrder != want {
			t.Errorf("packet %d after %d: got out of order %t", r.Tag, newest, r.Reply.OutOfOrder)
		}
		if r.Tag < newest {
			overtaken++
		}
		newest = max(newest, r.Tag)
	}
	if overtaken == 0 {
		t.Error("nothing was reordered: the test network does not do its part")
	}
}

// Three rounds of all idents, with several protocols at once, and none is
// taken for another.
func TestNetnsWrapAround(t *testing.T) {
	e := open(t, nettest.NewHost(t, "h"), Options{})
	pace(t, e, 3<<16, 200, func(i int) Request {
		return Request{Protocol: Protocol(i % 3), Dst: addr("127.0.0.1"), Timeout: 5 * time.Second}
	})
	if s := e.Stats(); s.Sent != 3<<16 || s.Received != s.Sent || s.Late+s.Duplicate+s.Unstamped != 0 {
		t.Errorf("got %+v, want everything received once", s)
	}
}

// pace sends total packets with window in flight, checks that each gets one
// answer of the right kind, and returns the results that were none.
func pace(t testing.TB, e *Engine, total, window int, request func(int) Request) {
	t.Helper()
	s := e.NewStream(window)
	seen := make([]bool, total)
	var batch [batchSize]Request
	results := make([]Result, window)
	for sent, done := 0, 0; done < total; {
		n := min(len(batch), total-sent)
		for i := range n {
			batch[i] = request(sent + i)
			batch[i].Tag = uint64(sent + i)
		}
		took := s.Submit(batch[:n])
		if sent += took; took == n && n > 0 {
			continue
		}
		got, err := s.Wait(t.Context(), results)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range results[:got] {
			if r.Err != nil || seen[r.Tag] || r.Reply.Kind == NoReply {
				t.Fatalf("packet %d: got %+v, seen %t, want one answer", r.Tag, r, seen[r.Tag])
			}
			seen[r.Tag] = true
		}
		done += got
	}
}

func TestNetnsHundredThousandInFlight(t *testing.T) {
	const many = 100_000
	h1, h2 := nettest.Line(t, nettest.Router{BlackHole: true})
	e := open(t, h1, Options{})
	s := e.NewStream(many)
	requests := make([]Request, many)
	for i := range requests {
		requests[i] = Request{Tag: uint64(i), Dst: h2.Addr4, Timeout: 3 * time.Second}
	}
	if n := s.Submit(requests); n != many {
		t.Fatalf("got %d submitted, want %d", n, many)
	}
	if s := e.Stats(); s.InFlight != many || s.Sent != many {
		t.Errorf("got %+v, want %d in flight", s, many)
	}
	if r, err := e.Do(t.Context(), Request{Dst: addr("127.0.0.1")}); !errors.Is(err, ErrTooMany) {
		t.Errorf("one more: got %+v, %v, want too many", r, err)
	}
	seen := make([]bool, many)
	results := make([]Result, 1000)
	for left := many; left > 0; {
		n, err := s.Wait(t.Context(), results)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range results[:n] {
			if seen[r.Tag] || r.Reply.Kind != NoReply {
				t.Fatalf("got %+v, seen %t", r, seen[r.Tag])
			}
			seen[r.Tag] = true
		}
		left -= n
	}
}

// Two engines on one host send the same at the same time and get their own answers.
func TestNetnsTwoEngines(t *testing.T) {
	h := nettest.NewHost(t, "h")
	engines := []*Engine{open(t, h, Options{}), open(t, h, Options{})}
	done := make(chan bool)
	for _, e := range engines {
		go func() {
			defer func() { done <- true }()
			pace(t, e, 30_000, 100, func(i int) Request {
				return Request{Protocol: Protocol(i % 3), Dst: netip.AddrFrom4([4]byte{127, 0, 0, byte(i)}), Timeout: 5 * time.Second}
			})
		}()
	}
	<-done
	<-done
	for _, e := range engines {
		if s := e.Stats(); s.Received != 30_000 || s.Unmatched+s.Duplicate+s.Late != 0 {
			t.Errorf("got %+v, want 30000 answers and nothing foreign", s)
		}
	}
}

func TestNetnsNoAllocation(t *testing.T) {
	e := open(t, nettest.NewHost(t, "h"), Options{})
	for p := ICMP; p <= TCP; p++ {
		requests, results := make([]Request, 32), make([]Result, 32)
		s := e.NewStream(len(requests))
		round := func() {
			for i := range requests {
				requests[i] = Request{Protocol: p, Dst: addr("127.0.0.1"), DstPort: 9, Timeout: time.Second}
			}
			s.Submit(requests)
			for s.Pending() > 0 {
				if _, err := s.Wait(t.Context(), results); err != nil {
					t.Fatal(err)
				}
			}
			_, _ = s.Wait(t.Context(), results)
		}
		for range 1 << 16 / len(requests) { // until every ident has been used once
			round()
		}
		if n := testing.AllocsPerRun(100, round) / float64(len(requests)); n > 0.05 {
			t.Errorf("%s: got %.2f allocations per packet, want 0", p, n)
		}
	}
}

// More SYNs are on their way to one open port than a block has source ports.
// Two with the same ports would get one answer between them (RFC 5961 section 4).
func TestNetnsManySYNs(t *testing.T) {
	h1, h2 := nettest.Line(t, nettest.Router{Delay: 20 * time.Millisecond})
	h2.Do(func() {
		l, err := net.Listen("tcp4", ":80")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
	})
	h2.Sysctl("net.ipv4.tcp_max_syn_backlog", "10000")
	h2.Sysctl("net.ipv4.tcp_syncookies", "0")
	e := open(t, h1, Options{})
	pace(t, e, 3000, 1000, func(int) Request {
		return Request{Protocol: TCP, Dst: h2.Addr4, Timeout: 2 * time.Second}
	})
	if s := e.Stats(); s.Received != 3000 || s.Duplicate+s.Late != 0 {
		t.Errorf("got %+v, want 3000 answers", s)
	}
}
