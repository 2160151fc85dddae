package mtr

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/natrix-os/natrix/agent/packet"
	"golang.org/x/sys/unix"
)

// engine is a fake stream: it answers each request as told, in order.
type engine struct {
	answer func(packet.Request) (packet.Result, bool) // false: not yet, see finish
	room   int

	mu      sync.Mutex
	seen    []packet.Request
	results []packet.Result
	flying  int
	ready   chan struct{}
}

func newEngine(answer func(packet.Request) (packet.Result, bool)) *engine {
	return &engine{answer: answer, room: 1 << 16, ready: make(chan struct{}, 1)}
}

func echo(r packet.Request) (packet.Result, bool) {
	return packet.Result{Tag: r.Tag, Reply: packet.Reply{Kind: packet.EchoReply, From: r.Dst, RTT: 1500 * time.Nanosecond}}, true
}

func (e *engine) Submit(rs []packet.Request) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := min(len(rs), e.room-e.flying)
	for _, r := range rs[:n] {
		e.seen = append(e.seen, r)
		e.flying++
		if result, ok := e.answer(r); ok {
			e.results = append(e.results, result)
		}
	}
	e.wake()
	return n
}

func (e *engine) Pending() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.flying - len(e.results)
}

func (e *engine) finish(r packet.Result) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.results = append(e.results, r)
	e.wake()
}

func (e *engine) wake() {
	select {
	case e.ready <- struct{}{}:
	default:
	}
}

func (e *engine) Wait(ctx context.Context, into []packet.Result) (int, error) {
	for {
		e.mu.Lock()
		n := copy(into, e.results)
		e.results = e.results[n:]
		e.flying -= n
		idle := e.flying == 0
		e.mu.Unlock()
		if n > 0 || idle {
			return n, nil
		}
		select {
		case <-e.ready:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// converse returns the door's replies to all of the input.
func converse(t *testing.T, c Config, e *engine, input string) string {
	t.Helper()
	var out bytes.Buffer
	if err := serve(t.Context(), c, e, strings.NewReader(input), &out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// The contract's tokens, names and numbers, and what becomes of them.
func TestCommandsBecomeRequests(t *testing.T) {
	base := packet.Request{
		Dst: netip.MustParseAddr("192.0.2.1"), TTL: 255, Size: 64, Timeout: 10 * time.Second,
	}
	with := func(change func(*packet.Request)) packet.Request {
		r := base
		change(&r)
		return r
	}
	for _, c := range []struct {
		args string
		want packet.Request
	}{
		{"ip-4 192.0.2.1", base},
		{"bogus 1 ip-4 192.0.2.1 local-address x", base},
		{"ip-4 192.0.2.9 ip-4 192.0.2.1", base},
		{"ip-6 2001:db8::1 ip-4 192.0.2.1", base},
		{"ip-4 192.0.2.1 ip-6 2001:db8::1", with(func(r *packet.Request) { r.Dst = netip.MustParseAddr("2001:db8::1") })},
		{"ip-4 192.0.2.1 local-ip-4 192.0.2.2", with(func(r *packet.Request) { r.Src = netip.MustParseAddr("192.0.2.2") })},
		{"ip-4 192.0.2.1 protocol udp port 70000", with(func(r *packet.Request) { r.Protocol, r.DstPort = packet.UDP, 4464 })},
		{"ip-4 192.0.2.1 protocol udp port -1 local-port 1024", with(func(r *packet.Request) { r.Protocol, r.DstPort, r.SrcPort = packet.UDP, 65535, 1024 })},
		{"ip-4 192.0.2.1 protocol tcp local-port 2000 size 9999", with(func(r *packet.Request) { r.Protocol, r.Size = packet.TCP, 0 })},
		{"ip-4 192.0.2.1 protocol sctp port 9", with(func(r *packet.Request) { r.Protocol, r.DstPort, r.Size = packet.SCTP, 9, 0 })},
		{"ip-4 192.0.2.1 tos 257", with(func(r *packet.Request) { r.TOS = 1 })},
		{"ip-6 2001:db8::1 tos -1", with(func(r *packet.Request) { r.Dst = netip.MustParseAddr("2001:db8::1") })},
		{"ip-4 192.0.2.1 mark 4294967295", with(func(r *packet.Request) { r.Mark = 1<<32 - 1 })},
		{"ip-4 192.0.2.1 size 0", with(func(r *packet.Request) { r.Size = 1 })},
		{"ip-4 192.0.2.1 size -5", with(func(r *packet.Request) { r.Size = 1 })},
		{"ip-4 192.0.2.1 size +9000", with(func(r *packet.Request) { r.Size = 9000 })},
		{"ip-6 2001:db8::1 size 9040", with(func(r *packet.Request) { r.Dst, r.Size = netip.MustParseAddr("2001:db8::1"), 9040 })},
		{"ip-4 192.0.2.1 bit-pattern -1", with(func(r *packet.Request) { r.Pattern = 255 })},
		{"ip-4 192.0.2.1 ttl 1", with(func(r *packet.Request) { r.TTL = 1 })},
		{"ip-4 192.0.2.1 ttl -1", with(func(r *packet.Request) { r.TTL = 64 })},
		{"ip-4 192.0.2.1 timeout 1", with(func(r *packet.Request) { r.Timeout = time.Second })},
		{"ip-4 192.0.2.1 timeout 0", with(func(r *packet.Request) { r.Timeout = leastTimeout })},
		{"ip-4 192.0.2.1 timeout -9", with(func(r *packet.Request) { r.Timeout = leastTimeout })},
		{"ip-4 192.0.2.1 local-device nowhere0", with(func(r *packet.Request) { r.Link = "nowhere0" })},
	} {
		e := newEngine(echo)
		out := converse(t, Config{RawSCTP: true}, e, "-7 send-probe "+c.args+"\n")
		if len(e.seen) != 1 {
			t.Errorf("%s: got %d requests and %q, want one request", c.args, len(e.seen), out)
			continue
		}
		got := e.seen[0]
		if c.want.Link != "" {
			c.want.Src = got.Src // by this machine's routes
		}
		c.want.Tag = 1<<32 - 7
		if got != c.want {
			t.Errorf("%s:\n got %+v\nwant %+v", c.args, got, c.want)
		}
		family := "ip-4"
		if got.Dst.Is6() {
			family = "ip-6"
		}
		if want := fmt.Sprintf("-7 reply %s %s round-trip-time 1\n", family, got.Dst); out != want {
			t.Errorf("%s: got %q, want %q", c.args, out, want)
		}
	}
}

// Every outcome of the engine has its line, in the words of each version.
func TestResultsBecomeReplies(t *testing.T) {
	addr := netip.MustParseAddr("192.0.2.1")
	answer := func(k packet.Kind) packet.Result {
		return packet.Result{Reply: packet.Reply{Kind: k, From: addr, RTT: 1234567 * time.Nanosecond}}
	}
	refusal := func(err error) packet.Result {
		return packet.Result{Err: fmt.Errorf("send to %s: %w", addr, err)}
	}
	const where = " ip-4 192.0.2.1 round-trip-time 1234"
	labels := answer(packet.TTLExpired)
	for i := range 9 {
		labels.Reply.MPLS = append(labels.Reply.MPLS, packet.Label{Label: 1048575, TC: uint8(i % 8), Bottom: i == 7, TTL: 255})
	}
	scoped := answer(packet.TTLExpired)
	scoped.Reply.From = netip.MustParseAddr("fe80::1%eth0")
	for _, c := range []struct {
		result   packet.Result
		new, old string // old: of 0.95, if it differs
	}{
		{answer(packet.EchoReply), "reply" + where, ""},
		{answer(packet.UDPReply), "reply" + where, ""},
		{answer(packet.TCPOpen), "reply" + where, ""},
		{answer(packet.TCPClosed), "reply" + where, ""},
		{answer(packet.SCTPOpen), "reply" + where, ""},
		{answer(packet.SCTPClosed), "reply" + where, ""},
		{answer(packet.PortUnreachable), "reply" + where, ""},
		{answer(packet.TTLExpired), "ttl-expired" + where, ""},
		{answer(packet.ReassemblyExpired), "ttl-expired" + where, ""},
		{answer(packet.NetUnreachable), "no-route-host" + where, "no-route" + where},
		{answer(packet.HostUnreachable), "no-route-host" + where, "no-route" + where},
		{answer(packet.ProtoUnreachable), "no-route-host" + where, "no-route" + where},
		{answer(packet.AdminProhibited), "no-route-host" + where, "no-route" + where},
		{answer(packet.TooBig), "no-route-host" + where, "no-route" + where},
		{answer(packet.ParameterProblem), "no-route-host" + where, "no-route" + where},
		{packet.Result{}, "no-reply", ""},
		{labels, "ttl-expired" + where + " mpls 1048575,0,0,255,1048575,1,0,255,1048575,2,0,255,1048575,3,0,255," +
			"1048575,4,0,255,1048575,5,0,255,1048575,6,0,255,1048575,7,1,255", ""},
		{scoped, "ttl-expired ip-6 fe80::1 round-trip-time 1234", ""},
		{refusal(unix.ENETUNREACH), "no-route-network", "no-route"},
		{refusal(unix.EHOSTUNREACH), "no-route-host", "no-route"},
		{refusal(unix.ENETDOWN), "network-down", ""},
		{refusal(unix.EHOSTDOWN), "host-down", "unexpected-error errno 112"},
		{refusal(unix.EPERM), "permission-denied", ""},
		{refusal(unix.EACCES), "permission-denied", ""},
		{refusal(unix.EADDRINUSE), "address-in-use", ""},
		{refusal(unix.EADDRNOTAVAIL), "address-not-available", ""},
		{refusal(unix.ETIMEDOUT), "wait-tcp-respone-timeout", "unexpected-error errno 110"},
		{refusal(unix.EINVAL), "invalid-argument", ""},
		{refusal(unix.EMSGSIZE), "unexpected-error errno 90", ""},
		{refusal(packet.ErrNoLink), "unexpected-error errno 19", ""},
		{refusal(packet.ErrInvalid), "invalid-argument", ""},
		{refusal(packet.ErrTooMany), "probes-exhausted", ""},
		{refusal(packet.ErrUnsupported), "permission-denied", ""},
		{refusal(errors.New("something else")), "unexpected-error errno 5", ""},
	} {
		if c.old == "" {
			c.old = c.new
		}
		for version, want := range map[string]string{"": c.new, "0.96": c.new, "0.95": c.old} {
			d := newDialect(Config{Version: version})
			c.result.Tag = 42
			if got, want := string(d.appendResult(nil, &c.result)), "42 "+want+"\n"; got != want {
				t.Errorf("%+v in version %q:\n got %q\nwant %q", c.result, version, got, want)
			}
		}
	}
}

// Late and duplicate answers come on top of the one that the client has had.
func TestOneReplyPerCommand(t *testing.T) {
	e := newEngine(echo)
	surplus := packet.Result{Tag: 1, Reply: packet.Reply{Kind: packet.EchoReply, From: netip.MustParseAddr("192.0.2.1")}}
	late, duplicate := surplus, surplus
	late.Reply.Late, duplicate.Reply.Duplicate = true, true
	e.results, e.flying = []packet.Result{late, duplicate}, 2
	got := converse(t, Config{}, e, "1 send-probe ip-4 192.0.2.1\n")
	if want := "1 reply ip-4 192.0.2.1 round-trip-time 1\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestProbesExhausted(t *testing.T) {
	e := newEngine(echo)
	e.room = 2
	got := converse(t, Config{}, e, strings.Repeat("1 send-probe ip-4 192.0.2.1\n", 2)+"3 send-probe ip-4 192.0.2.1\n")
	if want := "3 probes-exhausted\n"; strings.Count(got, want) != 1 || strings.Count(got, "1 reply ") != 2 {
		t.Errorf("got %q, want two replies and %q", got, want)
	}
}

// One Read of commands makes one Write of replies, those that are there at
// once included.
func TestOneWritePerBatch(t *testing.T) {
	var w writes
	input := strings.Repeat("1 check-support feature icmp\n", 100) + strings.Repeat("2 send-probe ip-4 192.0.2.1\n", 100)
	if err := serve(t.Context(), Config{}, newEngine(echo), strings.NewReader(input), &w); err != nil {
		t.Fatal(err)
	}
	if len(w) != 1 || strings.Count(w[0], "\n") != 200 {
		t.Errorf("got %d writes, want 1 of 200 lines: %.300q", len(w), w)
	}
}

type writes []string

func (w *writes) Write(b []byte) (int, error) {
	*w = append(*w, string(b))
	return len(b), nil
}

// After the end of input the outstanding replies are awaited, all of them.
func TestEndOfInputDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(unanswered)
		time.AfterFunc(9*time.Second, func() { e.finish(packet.Result{Tag: 1}) })
		time.AfterFunc(10*time.Second, func() { e.finish(packet.Result{Tag: 2}) })
		start := time.Now()
		got := converse(t, Config{}, e, "1 send-probe ip-4 192.0.2.1\n2 send-probe ip-4 192.0.2.1\n3 unterminated x y")
		if want := "1 no-reply\n2 no-reply\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if got := time.Since(start); got != 10*time.Second {
			t.Errorf("took %v, want 10s", got)
		}
	})
}

func unanswered(packet.Request) (packet.Result, bool) { return packet.Result{}, false }

// Without a parent nobody reads what a probe brings.
func TestEndOfInputAndParent(t *testing.T) {
	parent := exec.Command("sleep", "60")
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	served := make(chan error, 1)
	go func() {
		served <- serve(t.Context(), Config{Parent: parent.Process.Pid}, newEngine(unanswered), r, io.Discard)
	}()
	io.WriteString(w, "1 send-probe ip-4 192.0.2.1\n")
	w.Close()
	select {
	case err := <-served:
		t.Fatalf("Serve returned %v before its parent ended", err)
	case <-time.After(50 * time.Millisecond):
	}
	parent.Process.Kill()
	parent.Wait()
	select {
	case err := <-served:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("Serve does not return after its parent has ended")
	}
}

// The end of ctx cuts a Read short.
func TestContextEnds(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	defer r.Close()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	if err := serve(ctx, Config{}, newEngine(unanswered), r, io.Discard); err != nil {
		t.Error(err)
	}
}

// A reader that is gone ends the session.
func TestReaderGone(t *testing.T) {
	in, commands, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer commands.Close()
	broken := errors.New("broken")
	io.WriteString(commands, "1 send-probe ip-4 192.0.2.1\n")
	err = serve(t.Context(), Config{}, newEngine(echo), in, failing{broken})
	if !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
}

type failing struct{ error }

func (f failing) Write([]byte) (int, error) { return 0, f.error }

func TestVersionForParent(t *testing.T) {
	for want, words := range map[string]string{
		"0.95": "\x00no-route\x00", "0.96": "\x00no-route-host\x00no-route\x00",
	} {
		sleep, err := exec.LookPath("sleep")
		if err != nil {
			t.Fatal(err)
		}
		program, err := os.ReadFile(sleep)
		if err != nil {
			t.Fatal(err)
		}
		file := t.TempDir() + "/mtr"
		if err := os.WriteFile(file, append(program, words...), 0o755); err != nil {
			t.Fatal(err)
		}
		parent := exec.Command(file, "60")
		if err := parent.Start(); err != nil {
			t.Fatal(err)
		}
		if got := VersionFor(parent.Process.Pid); got != want {
			t.Errorf("program with %q: got %s, want %s", words, got, want)
		}
		parent.Process.Kill()
		parent.Wait()
	}
	if got := VersionFor(os.Getpid()); got != Newest {
		t.Errorf("this test: got %s, want %s", got, Newest)
	}
}

// A probe costs no allocation between its line and its reply.
func TestNoAllocations(t *testing.T) {
	d := newDialect(Config{})
	line := []byte("17 send-probe ip-6 2001:db8::1 local-ip-6 2001:db8::2 protocol udp size 64 bit-pattern 0 tos 0 timeout 10 port 33434 ttl 5 mark 3")
	result := packet.Result{Reply: packet.Reply{
		Kind: packet.TTLExpired, From: netip.MustParseAddr("2001:db8::1"), RTT: time.Millisecond, MPLS: make([]packet.Label, 3),
	}}
	buf := make([]byte, 0, 256)
	got := testing.AllocsPerRun(100, func() {
		var c command
		var p probe
		if !c.parse(line) || p.read(&c, &d) != "" {
			t.Fatal("refused")
		}
		result.Tag = p.request.Tag
		buf = d.appendResult(buf[:0], &result)
	})
	if got != 0 {
		t.Errorf("got %v allocations, want 0", got)
	}
}
