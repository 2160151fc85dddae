package status

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func sample() Status {
	at := time.Date(2026, 11, 21, 1, 0, 0, 0, time.UTC)
	var t Tally
	t.Ran(Run{At: at, Command: "ping", Target: "192.0.2.1", Took: 3 * time.Millisecond})
	t.Ran(Run{At: at, Command: "ping", Target: "192.0.2.2", Took: 10 * time.Millisecond, Err: "no such host\nand more"})
	t.Published(800 * time.Microsecond)
	return Status{
		Version: "0.2.0", At: at, Began: at.Add(-time.Hour), Sandbox: true, Clock: Clock{Synchronised: true},
		Broker: Broker{URL: "amqp://natrix:xxxxx@192.0.2.9/", Connected: true, Since: at.Add(-time.Minute), Sessions: 2,
			Queues: []Queue{{"eth0", "natrix_request_020000000001"}}},
		Counts: t.Counts(),
	}
}

func TestJudge(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(*Status)
		want  string // "" for healthy
	}{
		"well":      {func(*Status) {}, ""},
		"no broker": {func(s *Status) { s.Broker.Connected, s.Broker.Err = false, "connection refused" }, "no broker for 1m0s: connection refused"},
		"no queue":  {func(s *Status) { s.Broker.Queues = nil }, "no link has a queue"},
		"blocked":   {func(s *Status) { s.Broker.Blocked = "low on memory" }, "low on memory"},
		"stuck":     {func(s *Status) { s.Broker.Stuck = "command ping should have ended 5s ago" }, "no progress: command ping"},
		"spool":     {func(s *Status) { s.Spool.Err = "no space left" }, "results cannot be written: no space left"},
		"dropped":   {func(s *Status) { s.Spool.Dropped = 3 }, "3 results were dropped"},
		"clock":     {func(s *Status) { s.Clock.Synchronised = false }, "clock"},
		"sandbox":   {func(s *Status) { s.Sandbox = false }, "sandbox"},
	} {
		s := sample()
		test.spoil(&s)
		s.Judge()
		got := strings.Join(s.Problems, "; ")
		if test.want == "" && got != "" || !strings.Contains(got, test.want) {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}

func TestText(t *testing.T) {
	s := sample()
	s.Judge()
	var got strings.Builder
	if err := s.WriteText(&got); err != nil {
		t.Fatal(err)
	}
	const want = `health     all is well
agent      0.2.0, running for 1h0m0s, 0.0 MiB, 0 goroutines
broker     amqp://natrix:xxxxx@192.0.2.9/, connected for 1m0s, 2 sessions
queue      natrix_request_020000000001 on eth0
spool      0 results wait, 0 KiB are kept, 0 dropped
commands   ping: 2 done, 1 failed
published  1 messages, confirmed after 800µs on average
last       01:00:00 ping 192.0.2.1 in 3ms
last       01:00:00 ping 192.0.2.2 in 10ms: no such host
`
	if got.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", got.String(), want)
	}
}

func TestTallyIsBounded(t *testing.T) {
	var tally Tally
	for i := range 1000 {
		tally.Ran(Run{Command: string(rune('a' + i)), Took: time.Hour})
	}
	c := tally.Counts()
	if len(c.Commands) > names+1 || len(c.Last) != remembered || c.Durations.Buckets[len(bounds)] != 1000 {
		t.Errorf("got %d names, %d last, %v", len(c.Commands), len(c.Last), c.Durations)
	}
	(*Tally)(nil).Ran(Run{})
	if got := (*Tally)(nil).Counts(); got.Commands != nil {
		t.Errorf("a nil tally: got %v", got)
	}
}

func TestPrometheus(t *testing.T) {
	var b strings.Builder
	sample().WritePrometheus(&b)
	lines := strings.Split(b.String(), "\n")
	for _, want := range []string{
		"natrix_healthy 1",
		`natrix_commands_total{command="ping",outcome="ok"} 1`,
		`natrix_commands_total{command="ping",outcome="error"} 1`,
		`natrix_command_duration_seconds_bucket{le="0.001"} 0`,
		`natrix_command_duration_seconds_bucket{le="0.005"} 1`,
		`natrix_command_duration_seconds_bucket{le="0.01"} 2`,
		`natrix_command_duration_seconds_bucket{le="+Inf"} 2`,
		"natrix_command_duration_seconds_sum 0.013",
		"natrix_broker_sessions_total 2",
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("no line %q in\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "192.0.2") {
		t.Error("metrics tell what was measured")
	}
}

func TestServe(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, socketName)
	if _, err := Read(t.Context(), path); !errors.Is(err, ErrNotRunning) {
		t.Errorf("before: got %v, want %v", err, ErrNotRunning)
	}
	if err := os.WriteFile(path, nil, 0o644); err != nil { // what an earlier one left
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := Serve(ctx, dir, sample); err != nil {
			t.Error(err)
		}
	})
	var got Status
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		var err error
		if got, err = Read(t.Context(), path); err == nil {
			break
		} else if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	if want := sample(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v, want the socket for its owner alone", info.Mode(), err)
	}
	stop()
	running.Wait()
}

func TestListenMetrics(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	running.Go(func() {
		if err := ListenMetrics(ctx, addr, sample); err != nil {
			t.Error(err)
			stop()
		}
	})
	for ctx.Err() == nil {
		resp, err := http.Get("http://" + addr + "/metrics")
		if err != nil {
			time.Sleep(time.Millisecond)
			continue
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if !strings.Contains(string(body), "\nnatrix_healthy 1\n") {
			t.Errorf("got %s", body)
		}
		return
	}
}
