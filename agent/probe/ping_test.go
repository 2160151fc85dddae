package probe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/natrix-os/natrix/agent/command"
	"github.com/natrix-os/natrix/agent/packet"
	"github.com/natrix-os/natrix/agent/report/server"
	"golang.org/x/sys/unix"
)

func echo(rtt time.Duration) packet.Reply {
	return packet.Reply{Kind: packet.EchoReply, From: local, RTT: rtt, TTL: 64, Size: 83, QuotedTOS: -1, Clock: packet.Kernel}
}

// local is a destination to which there is a route on any machine.
var local = netip.MustParseAddr("127.0.0.1")

// accept has the server judge a result as the response to a command.
func accept(t *testing.T, r command.Result) string {
	t.Helper()
	r.Command.Echo = &command.Echo{UUID: json.RawMessage(`"78b05299-8f64-4d0b-af42-b3df4ab9046b"`), Terminal: json.RawMessage(`"b827ebf94174"`), Generated: json.RawMessage("1557990000.123456")}
	body := command.Encode(r)
	if err := server.Response(r.Command.Name, body); err != nil {
		t.Errorf("the server would not take it: %v\n%s", err, body)
	}
	return string(body)
}

// judge has the server judge what a probe measured.
func judge(t *testing.T, name string, data command.Data) string {
	t.Helper()
	now := time.Now()
	return accept(t, command.Result{Command: command.Command{Name: name, Received: now}, Data: data, Sent: now, Answered: now, Returned: now})
}

// run executes a command through the set, as doors do.
func run(t *testing.T, p *Prober, name, destination string, params map[string]string) (command.Result, string) {
	t.Helper()
	r := command.NewSet(p.Commands()...).Execute(t.Context(), command.Command{Name: name, Destination: destination, Params: params, Received: time.Now()})
	return r, accept(t, r)
}

func TestPing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{meet: func(n int, _ packet.Request) (packet.Reply, error) {
			if n == 2 {
				return packet.Reply{Kind: packet.NoReply}, nil
			}
			return echo(time.Duration(n) * 1234567), nil
		}}
		r, body := run(t, n.prober(), "ping", "http://127.0.0.1:80/x", map[string]string{"count": "4", "timeout": "2", "packet_size": "100", "verbose": "1"})
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		for _, want := range []string{
			`"destination":"http://127.0.0.1:80/x","destination_ip":"127.0.0.1"`, `"packet_send":4,"packet_receive":3,"packet_loss":1,"packet_size":100`,
			`"avg_time":3.292,"max_time":4.938,"min_time":1.235`, `"jitter_time":1.852`, `"p50":3.704`, `"clock":"kernel"`, `{"seq":2,"outcome":"no reply"}`,
		} {
			if !strings.Contains(body, want) {
				t.Errorf("missing %s in %s", want, body)
			}
		}
		for i := 1; i < len(n.at); i++ {
			if got := n.at[i].Sub(n.at[i-1]); got != time.Second {
				t.Errorf("packet %d came %v after the one before", i+1, got)
			}
		}
		if got := n.sent[0]; got.Size != 128 || got.Timeout != 2*time.Second || got.Protocol != packet.ICMP {
			t.Errorf("sent %+v", got)
		}
	})
}

func TestPingTotalLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{meet: func(int, packet.Request) (packet.Reply, error) { return packet.Reply{Kind: packet.NoReply}, nil }}
		r, body := run(t, n.prober(), "ping", "127.0.0.1", nil)
		if r.Err != nil || !strings.Contains(body, `"packet_loss":3,"packet_size":55,"avg_time":-1,"max_time":-1,"min_time":-1}`) {
			t.Errorf("got %v, %s", r.Err, body)
		}
	})
}

func TestPingRefusedByARouter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{meet: func(int, packet.Request) (packet.Reply, error) {
			return packet.Reply{Kind: packet.HostUnreachable, From: netip.MustParseAddr("192.0.2.9"), RTT: time.Millisecond}, nil
		}}
		r, body := run(t, n.prober(), "ping", "127.0.0.1", nil)
		if r.Err != nil || !strings.Contains(body, `"packet_loss":3`) || !strings.Contains(body, `"unreachable":"host unreachable from 192.0.2.9"`) {
			t.Errorf("got %v, %s", r.Err, body)
		}
	})
}

func TestPingThatCannotBeSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{meet: func(int, packet.Request) (packet.Reply, error) {
			return packet.Reply{}, fmt.Errorf("send: %w", unix.ENETUNREACH)
		}}
		r, body := run(t, n.prober(), "ping", "127.0.0.1", nil)
		if !errors.Is(r.Err, command.ErrUnreachable) || !strings.Contains(body, `"errorcode":141`) {
			t.Errorf("got %v, %s", r.Err, body)
		}
	})
}

func TestPingSendsEveryPacketInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{meet: func(int, packet.Request) (packet.Reply, error) { return echo(time.Millisecond), nil }}
		begin := time.Now()
		r, body := run(t, n.prober(), "ping", "127.0.0.1", map[string]string{"count": "1000"})
		if took := time.Since(begin); r.Err != nil || took > 290*time.Second || !strings.Contains(body, `"packet_receive":1000`) {
			t.Errorf("got %v after %v: %s", r.Err, took, body)
		}
	})
}

func TestPingShowsProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{meet: func(int, packet.Request) (packet.Reply, error) { return echo(1500 * time.Microsecond), nil }}
		var lines []string
		ctx := command.WithProgress(t.Context(), func(line fmt.Stringer) { lines = append(lines, line.String()) })
		if _, err := n.prober().Ping(ctx, "127.0.0.1", DefaultPing()); err != nil {
			t.Fatal(err)
		}
		want := []string{
			"PING 127.0.0.1 (127.0.0.1) 55(83) bytes of data.",
			"63 bytes from 127.0.0.1: seq=1 ttl=64 time=1.500 ms",
			"63 bytes from 127.0.0.1: seq=2 ttl=64 time=1.500 ms",
			"63 bytes from 127.0.0.1: seq=3 ttl=64 time=1.500 ms",
		}
		if !slices.Equal(lines, want) {
			t.Errorf("got %q, want %q", lines, want)
		}
	})
}

func TestPingBadParameters(t *testing.T) {
	for _, params := range []map[string]string{{"count": "0"}, {"timeout": "0"}, {"packet_size": "70000"}, {"dns": "not an address"}} {
		n := &network{}
		if r, body := run(t, n.prober(), "ping", "127.0.0.1", params); !errors.Is(r.Err, command.ErrParameter) || !strings.Contains(body, `"errorcode":140`) {
			t.Errorf("%v: got %v, %s", params, r.Err, body)
		}
	}
	if r, _ := run(t, (&network{}).prober(), "ping", "127.0.0.1", map[string]string{"interface": "no-such-link"}); !errors.Is(r.Err, command.ErrLink) {
		t.Errorf("got %v", r.Err)
	}
}

// Answers that come twice, late, or after a later packet's are told of, and
// none of them makes up for a packet that was lost.
func TestPingOddities(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{
			meet: func(n int, _ packet.Request) (packet.Reply, error) {
				switch n {
				case 2:
					return packet.Reply{Kind: packet.NoReply}, nil
				case 3:
					reply := echo(20 * time.Millisecond)
					reply.OutOfOrder = true
					return reply, nil
				}
				return echo(10 * time.Millisecond), nil
			},
			extra: func(n int, _ packet.Request) []packet.Reply {
				late, again := echo(2010*time.Millisecond), echo(15*time.Millisecond)
				late.Late, again.Duplicate = true, true
				switch n {
				case 1:
					return []packet.Reply{again, again}
				case 2:
					return []packet.Reply{late}
				case 4: // the last one: an answer after all the others
					return []packet.Reply{again}
				}
				return nil
			},
		}
		var lines []string
		ctx := command.WithProgress(t.Context(), func(line fmt.Stringer) { lines = append(lines, line.String()) })
		params := DefaultPing()
		params.Count, params.Timeout = 4, 2*time.Second
		r, err := n.prober().Ping(ctx, "127.0.0.1", params)
		if err != nil {
			t.Fatal(err)
		}
		if duplicates, reordered, late := r.Oddities(); duplicates != 3 || reordered != 1 || late != 1 {
			t.Errorf("got %d duplicates, %d out of order, %d late", duplicates, reordered, late)
		}
		text := strings.Join(lines, "\n") + textOf(r)
		for _, want := range []string{
			"seq=1 ttl=64 time=15.000 ms (DUP!)", "no answer to seq=2", "seq=2 ttl=64 time=2010.000 ms (late)", "seq=3 ttl=64 time=20.000 ms (out of order)",
			"4 packets transmitted, 3 received, +3 duplicates, +1 out of order, +1 late, 25% packet loss, time 3",
			"rtt min/avg/max/mdev = 10.000/13.333/20.000/4.714 ms",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("missing %q in\n%s", want, text)
			}
		}
		if body := judge(t, "ping", r); !strings.Contains(body, `"packet_receive":3,"packet_loss":1`) || !strings.Contains(body, `"packet_duplicate":3,"packet_out_of_order":1,"packet_late":1`) {
			t.Errorf("got %s", body)
		}
	})
}

// A ping that is interrupted tells of the packets whose outcome is known.
func TestPingInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{meet: func(int, packet.Request) (packet.Reply, error) { return echo(300 * time.Millisecond), nil }}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(2200*time.Millisecond, cancel)
		params := DefaultPing()
		params.Count = 100
		if r, err := n.prober().Ping(ctx, "127.0.0.1", params); err != nil || len(r.Packets) != 2 || len(r.RTTs()) != 2 {
			t.Errorf("got %v, %+v", err, r)
		}
		if r, err := n.prober().Ping(ctx, "127.0.0.1", params); !errors.Is(err, context.Canceled) {
			t.Errorf("before anything was known: got %v, %+v", err, r)
		}
		late, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer stop()
		if r, err := n.prober().Ping(late, "127.0.0.1", params); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after a deadline: got %v, %+v", err, r)
		}
	})
}

func TestFamily(t *testing.T) {
	for _, test := range []struct{ destination, family, want string }{
		{"127.0.0.1", "", "127.0.0.1"},
		{"127.0.0.1", "ipv4", "127.0.0.1"},
		{"127.0.0.1", "ipv6", "127.0.0.1 has no IPv6 address"},
		{"::1", "ipv6", "::1"},
		{"::1", "ipv4", "::1 has no IPv4 address"},
		{"::ffff:127.0.0.1", "ipv4", "127.0.0.1"},
	} {
		_, target, err := (&network{}).prober().aim(t.Context(), test.destination, Way{Family: test.family})
		if err != nil {
			if !errors.Is(err, command.ErrResolve) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s, %s: got %v, want %s", test.destination, test.family, err, test.want)
			}
		} else if target.Dst.String() != test.want {
			t.Errorf("%s, %s: got %v, want %s", test.destination, test.family, target.Dst, test.want)
		}
	}
}
