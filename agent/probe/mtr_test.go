package probe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/natrix-os/natrix/agent/command"
	"github.com/natrix-os/natrix/agent/packet"
	"golang.org/x/sys/unix"
)

func numericMTR(count int) MTRParams {
	params := DefaultMTR()
	params.Count, params.Numeric = count, true
	return params
}

func TestMTR(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := route(4, map[int]bool{2: true}, packet.NoReply)
		begin := time.Now()
		r, err := n.prober().MTR(t.Context(), "127.0.0.1", numericMTR(10))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, h := range r.Hubs {
			got = append(got, fmt.Sprintf("%d %s %.0f%% %d %v %v %v", h.TTL, h.host(), 100*h.Loss(), h.Sent, h.Last, h.Avg, h.Deviation))
		}
		want := []string{
			"1 192.0.2.1 0% 10 10ms 10ms 0s", "2 ??? 100% 10 0s 0s 0s",
			"3 192.0.2.3 0% 10 30ms 30ms 0s", "4 127.0.0.1 0% 10 40ms 40ms 0s",
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if took := time.Since(begin); took != 10*time.Second {
			t.Errorf("ten rounds took %v", took)
		}
		seen := 0
		for _, s := range n.sent {
			if s.Flow != pathFlow {
				t.Errorf("flow %d: the path may change", s.Flow)
			}
			if s.TTL > 4 {
				seen++
			}
		}
		if seen > 8 {
			t.Errorf("%d packets went beyond the destination", seen)
		}
	})
}

func TestMTRDocument(t *testing.T) {
	r := &MTRResult{
		Source: "terminal", Destination: "www.example.com", Addr: local, Size: 64, TOS: 8,
		Start: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}
	hubs := []Hub{{TTL: 1}, {TTL: 2}}
	for i, rtt := range []time.Duration{20 * time.Millisecond, 10 * time.Millisecond, 12 * time.Millisecond, 0} {
		hubs[0].depart()
		hubs[1].depart()
		reply := packet.Reply{Kind: packet.NoReply}
		if rtt != 0 {
			reply = packet.Reply{Kind: packet.TTLExpired, From: router(1), RTT: rtt, MPLS: []packet.Label{{Label: 16001, TC: 5, Bottom: true, TTL: 1}}}
		}
		hubs[0].book(i+1, reply, false)
		hubs[1].book(i+1, packet.Reply{Kind: packet.NoReply}, false)
	}
	hubs[0].Name = "gateway"
	r.Hubs = hubs

	body, err := json.Marshal(r)
	want := `{"report":{"mtr":{"src":"terminal","dst":"www.example.com","tos":8,"tests":4,"psize":"64","bitpattern":"0x00"},"hubs":[` +
		`{"count":1,"host":"gateway","Loss%":25,"Snt":4,"Last":12,"Avg":14,"Best":10,"Wrst":20,"StDev":5.292,"Jttr":2,"Javg":6,"Jmax":10,"Jint":0.711,"ips":["192.0.2.1"],"mpls":[{"label":16001,"tc":5,"ttl":1}]},` +
		`{"count":2,"host":"???","Loss%":100,"Snt":4,"Last":0,"Avg":0,"Best":0,"Wrst":0,"StDev":0,"Jttr":0,"Javg":0,"Jmax":0,"Jint":0}]}}`
	if string(body) != want || err != nil {
		t.Errorf("%v\n got %s\nwant %s", err, body, want)
	}

	wantText := `Start: 2026-01-02T03:04:05+0000
HOST: terminal                    Loss%   Snt   Last   Avg  Best  Wrst StDev
  1.|-- gateway                   25.0%     4   12.0  14.0  10.0  20.0  5.29
    |  +-- [MPLS: Lbl 16001 TC 5 S 1 TTL 1]
  2.|-- ???                      100.0%     4    0.0   0.0   0.0   0.0   0.0
`
	if got := textOf(r); got != wantText {
		t.Errorf("got\n%swant\n%s", got, wantText)
	}
}

// screenOf runs mtr without an end and hands its screen to f, which runs beside it.
func screenOf(t *testing.T, n *network, f func(*MTRScreen)) *MTRResult {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	watched := make(chan struct{})
	ctx = command.WithProgress(ctx, func(line fmt.Stringer) {
		go func() {
			defer close(watched)
			defer cancel()
			f(line.(*MTRScreen))
		}()
	})
	r, err := n.prober().MTR(ctx, "127.0.0.1", numericMTR(0))
	<-watched
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestMTRScreen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := screenOf(t, route(3, map[int]bool{2: true}, packet.NoReply), func(s *MTRScreen) {
			expect := func(what string, wants ...string) {
				t.Helper()
				page := s.Draw(80, 24)
				for _, want := range wants {
					if !strings.Contains(page, want) {
						t.Errorf("%s: missing %q in\n%s", what, want, page)
					}
				}
				for line := range strings.Lines(page) {
					if len([]rune(strings.TrimSuffix(line, "\n"))) > 80 {
						t.Errorf("%s: too long: %q", what, line)
					}
				}
			}
			time.Sleep(20*time.Second + 500*time.Millisecond)
			expect("after 20 rounds", "My traceroute", "Loss%   Snt   Last", " 1. 192.0.2.1", "0.0%    21   10.0", " 2. ???")
			s.Press('d')
			expect("jitter", "Jttr  Javg  Jmax  Jint")
			s.Press('d')
			expect("chart", "Last 49 packets", "....................", "???????????", "Scale ms: .:10.")
			s.Press('d')
			s.Press('h')
			expect("help", "quit, with a report")
			s.Press('p')
			time.Sleep(10 * time.Second)
			expect("paused", "paused", "0.0%    21   10.0")
			s.Press(' ')
			s.Press('r')
			time.Sleep(5*time.Second + 250*time.Millisecond)
			expect("reset", "0.0%     5   10.0")
			if page := s.Draw(20, 4); strings.Count(page, "\n") != 3 {
				t.Errorf("four rows: got\n%s", page)
			}
			for range modes { // any size will do
				for size := range 200 {
					s.Draw(size-1, size/3)
				}
				s.Press('d')
			}
			if s.Press('x') || !s.Press('q') {
				t.Error("q, and only q, quits")
			}
		})
		if len(r.Hubs) != 3 || r.Rounds() == 0 {
			t.Errorf("got %d hubs", len(r.Hubs))
		}
	})
}

// A path whose length changes is followed.
func TestMTRPathGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		short, long := route(2, nil, packet.NoReply), route(4, nil, packet.NoReply)
		begin := time.Now()
		n := &network{meet: func(i int, r packet.Request) (packet.Reply, error) {
			if time.Since(begin) < 5*time.Second {
				return short.meet(i, r)
			}
			return long.meet(i, r)
		}}
		r, err := n.prober().MTR(t.Context(), "127.0.0.1", numericMTR(10))
		if err != nil || len(r.Hubs) != 4 || r.Hubs[1].Name != router(2).String() || len(r.Hubs[1].Addrs) != 2 {
			t.Errorf("got %v\n%s", err, textOf(r))
		}
	})
}

func TestMTREndsBeforeItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := route(2, nil, packet.NoReply)
		begin := time.Now()
		mtr := command.Command{Name: "mtr", Destination: "127.0.0.1", Params: map[string]string{"count": "0", "numeric": "1"}, Received: begin}
		r := command.NewSet(n.prober().Commands()...).Execute(t.Context(), mtr)
		if took := time.Since(begin); r.Err != nil || took > 290*time.Second || took < 270*time.Second {
			t.Errorf("got %v after %v", r.Err, took)
		}
	})
}

func TestMTRThatCannotBeSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := fmt.Errorf("send: %w", unix.ENETUNREACH)
		n := &network{meet: func(int, packet.Request) (packet.Reply, error) { return packet.Reply{}, broken }}
		if _, err := n.prober().MTR(t.Context(), "127.0.0.1", numericMTR(3)); !errors.Is(err, command.ErrUnreachable) {
			t.Errorf("got %v", err)
		}
		good := route(1, nil, packet.NoReply)
		n = &network{meet: func(i int, r packet.Request) (packet.Reply, error) {
			if i > 20 && i < 25 {
				return packet.Reply{}, broken
			}
			return good.meet(i, r)
		}}
		if r, err := n.prober().MTR(t.Context(), "127.0.0.1", numericMTR(40)); err != nil || r.Hubs[0].Sent != 40 || r.Hubs[0].Received != 36 {
			t.Errorf("a while without a route: got %v, %s", err, textOf(r))
		}
	})
}
