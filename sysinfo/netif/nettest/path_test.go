package nettest

import (
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// h1 ── 12 routers ── h2, probed by a stranger's traceroute.
func TestNetnsLine(t *testing.T) {
	t.Parallel()
	h1, h2 := Line(t, make([]Router, 12)...)
	for _, c := range []struct{ flag, dst, first, last string }{
		{"-4", h2.Addr4.String(), "10.0.1.101", "10.0.1.112"},
		{"-6", h2.Addr6.String(), "fd00:0:0:1::101", "fd00:0:0:1::10c"},
	} {
		for _, protocol := range []string{"", "--udp", "--tcp"} {
			args := strings.Fields(c.flag + " " + protocol + " " + c.dst)
			out := mtrReport(t, h1, args...)
			for hop, addr := range map[int]string{1: c.first, 12: c.last, 13: c.dst} {
				if want := fmt.Sprintf("%d;%s;0.00", hop, addr); !strings.Contains(out, want) {
					t.Errorf("mtr %v: got\n%s\nwant a line with %s", args, out, want)
				}
			}
		}
	}
}

// The router under test is the second of three:
//
//	h1 ── 1 ── 2 ── 3 ── h2
//	.1   .101 .102 .103  .2
func TestNetnsRouterAnswers(t *testing.T) {
	const toH2, toRouter2, toPastNAT = ".2", ".102", ".2"
	bleach := func(tos byte) byte { return tos &^ 3 }
	label := MPLS(Label{Label: 16001, TC: 5, TTL: 1}, Label{Label: 3, TTL: 254})
	const labels = "\x03\xe8\x1a\x01\x00\x00\x31\xfe"
	for _, c := range []struct {
		name         string
		router       Router
		dst          string
		ttl, size    int
		want4, want6 string
	}{
		{"echo", Router{}, toH2, 9, 64, "0/0 from .2 ttl 61", "129/0 from .2 ttl 61"},
		{"echo to router", Router{}, toRouter2, 9, 64, "0/0 from .102 ttl 63", "129/0 from .102 ttl 63"},
		{"time exceeded", Router{}, toH2, 2, 100,
			"11/0 from .102 ttl 63 quotes 100 ttl 1 tos 3 from .1", "3/0 from .102 ttl 63 quotes 100 ttl 1 tos 3 from .1"},
		{"large quote", Router{}, toH2, 2, 1400,
			"11/0 from .102 ttl 63 quotes 548 ttl 1 tos 3 from .1", "3/0 from .102 ttl 63 quotes 1232 ttl 1 tos 3 from .1"},
		{"short quote", Router{Quote: 48, TTL: 255}, toH2, 2, 100,
			"11/0 from .102 ttl 254 quotes 48 ttl 1 tos 3 from .1", "3/0 from .102 ttl 254 quotes 48 ttl 1 tos 3 from .1"},
		{"MPLS", Router{Extensions: []Extension{label}}, toH2, 2, 100,
			"11/0 from .102 ttl 63 length 128 quotes 128 ttl 1 tos 3 from .1 object 1/1 " + labels,
			"3/0 from .102 ttl 63 length 128 quotes 128 ttl 1 tos 3 from .1 object 1/1 " + labels},
		{"MPLS after a long quote", Router{Extensions: []Extension{label}, Quote: 200}, toH2, 2, 300,
			"11/0 from .102 ttl 63 length 200 quotes 200 ttl 1 tos 3 from .1 object 1/1 " + labels,
			"3/0 from .102 ttl 63 length 200 quotes 200 ttl 1 tos 3 from .1 object 1/1 " + labels},
		{"MPLS before RFC 4884", Router{Extensions: []Extension{label}, Unsized: true}, toH2, 2, 64,
			"11/0 from .102 ttl 63 quotes 144 ttl 1 tos 3 from .1", "3/0 from .102 ttl 63 quotes 144 ttl 1 tos 3 from .1"},
		{"options", Router{Options: []byte{1, 1, 1, 1}}, toH2, 2, 64,
			"11/0 from .102 ttl 63 options 4 quotes 64 ttl 1 tos 3 from .1", "3/0 from .102 ttl 63 quotes 64 ttl 1 tos 3 from .1"},
		{"other address", Router{Addr4: netip.MustParseAddr("10.0.1.99"), Addr6: netip.MustParseAddr("fd00:0:0:1::99")}, toH2, 2, 64,
			"11/0 from .99 ttl 63 quotes 64 ttl 1 tos 3 from .1", "3/0 from .99 ttl 63 quotes 64 ttl 1 tos 3 from .1"},
		{"silent", Router{Silent: true}, toH2, 2, 64, "nothing", "nothing"},
		{"silent lets pass", Router{Silent: true}, toH2, 3, 64,
			"11/0 from .103 ttl 62 quotes 64 ttl 1 tos 3 from .1", "3/0 from .103 ttl 62 quotes 64 ttl 1 tos 3 from .1"},
		{"black hole answers", Router{BlackHole: true}, toH2, 2, 64,
			"11/0 from .102 ttl 63 quotes 64 ttl 1 tos 3 from .1", "3/0 from .102 ttl 63 quotes 64 ttl 1 tos 3 from .1"},
		{"black hole", Router{BlackHole: true}, toH2, 3, 64, "nothing", "nothing"},
		{"host unreachable", Router{Refuse: HostUnreachable}, toH2, 9, 64,
			"3/1 from .102 ttl 63 quotes 64 ttl 7 tos 3 from .1", "1/3 from .102 ttl 63 quotes 64 ttl 7 tos 3 from .1"},
		{"prohibited with MPLS", Router{Refuse: Prohibited, Extensions: []Extension{label}}, toH2, 9, 64,
			"3/13 from .102 ttl 63 length 128 quotes 128 ttl 7 tos 3 from .1 object 1/1 " + labels,
			"1/1 from .102 ttl 63 length 128 quotes 128 ttl 7 tos 3 from .1 object 1/1 " + labels},
		{"too big", Router{MTU: 1300}, toH2, 9, 1400,
			"3/4 from .102 ttl 63 mtu 1300 quotes 548 ttl 7 tos 3 from .1", "2/0 from .102 ttl 63 mtu 1300 quotes 1232 ttl 7 tos 3 from .1"},
		{"MTU black hole", Router{MTU: 1300, Silent: true}, toH2, 9, 1400, "nothing", "nothing"},
		{"not too big", Router{MTU: 1400}, toH2, 9, 1400, "0/0 from .2 ttl 61", "129/0 from .2 ttl 61"},
		{"remark", Router{Remark: bleach}, toH2, 3, 64,
			"11/0 from .103 ttl 62 quotes 64 ttl 1 tos 0 from .1", "3/0 from .103 ttl 62 quotes 64 ttl 1 tos 0 from .1"},
		{"NAT echo", Router{NAT4: natV4, NAT6: natV6}, toPastNAT, 9, 64, "0/0 from .2 ttl 61", "129/0 from .2 ttl 61"},
		{"NAT mends quotes", Router{NAT4: natV4, NAT6: natV6}, toPastNAT, 3, 64,
			"11/0 from .103 ttl 62 quotes 64 ttl 1 tos 3 from .1", "3/0 from .103 ttl 62 quotes 64 ttl 1 tos 3 from .1"},
		{"NAT keeps quotes", Router{NAT4: natV4, NAT6: natV6, KeepQuote: true}, toPastNAT, 3, 64,
			"11/0 from .103 ttl 62 quotes 64 ttl 1 tos 3 from .200", "3/0 from .103 ttl 62 quotes 64 ttl 1 tos 3 from .200"},
		{"loss", Router{Loss: 1}, toH2, 9, 64, "nothing", "nothing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h1, _ := Line(t, Router{}, c.router, Router{})
			for _, family := range []struct{ network, prefix, want string }{
				{"ip4:icmp", "10.0.1", c.want4}, {"ip6:ipv6-icmp", "fd00:0:0:1:", c.want6},
			} {
				dst := netip.MustParseAddr(family.prefix + strings.ReplaceAll(c.dst, ".", sep(family.network)))
				got := "nothing"
				e := open(t, h1, family.network)
				e.send(dst, c.ttl, c.size, 1)
				if p := e.receive(wait(family.want)); p != nil {
					got = describe(t, p)
				}
				if got != family.want {
					t.Errorf("%s to %v, TTL %d, %d bytes:\n got %q\nwant %q", family.network, dst, c.ttl, c.size, got, family.want)
				}
			}
		})
	}
}

var (
	natV4 = netip.MustParseAddr("10.0.1.200")
	natV6 = netip.MustParseAddr("fd00:0:0:1::200")
)

func sep(network string) string {
	if network == "ip4:icmp" {
		return "."
	}
	return ":"
}

// wait is how long to wait for an answer.
func wait(want string) time.Duration {
	if want == "nothing" {
		return 50 * time.Millisecond
	}
	return 5 * time.Second
}

// echoer sends echo requests with TOS 3 and DF from a raw socket.
type echoer struct {
	t    *testing.T
	conn *net.IPConn
	v4   bool
}

func open(t *testing.T, h *Host, network string) *echoer {
	t.Helper()
	e := &echoer{t: t, v4: network == "ip4:icmp"}
	h.Do(func() {
		own := h.Addr6
		if e.v4 {
			own = h.Addr4
		}
		conn, err := net.ListenIP(network, &net.IPAddr{IP: own.AsSlice()})
		if err != nil {
			t.Fatal(err)
		}
		e.conn = conn
	})
	t.Cleanup(func() { e.conn.Close() })
	raw, err := e.conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
		unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE)
		unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 1<<20)
	})
	return e
}

// send sends an echo request in a packet of size bytes.
func (e *echoer) send(dst netip.Addr, ttl, size, seq int) {
	e.t.Helper()
	header, kind := 40, byte(128)
	var err error
	if e.v4 {
		header, kind = 20, 8
		c := ipv4.NewConn(e.conn)
		err = errors.Join(c.SetTTL(ttl), c.SetTOS(3))
	} else {
		c := ipv6.NewConn(e.conn)
		err = errors.Join(c.SetHopLimit(ttl), c.SetTrafficClass(3))
	}
	message := make([]byte, size-header)
	message[0], message[4] = kind, 0x77
	binary.BigEndian.PutUint16(message[6:], uint16(seq))
	binary.BigEndian.PutUint16(message[2:], ^fold(partial(message, 0)))
	_, err2 := e.conn.WriteTo(message, &net.IPAddr{IP: dst.AsSlice()})
	if err := errors.Join(err, err2); err != nil {
		e.t.Fatal(err)
	}
}

// receive returns an answer with its IP header, or nil in the end. The kernel
// keeps the header of IPv6 to itself: what is known of it is put back.
func (e *echoer) receive(wait time.Duration) ip {
	e.t.Helper()
	if !e.v4 {
		if err := ipv6.NewPacketConn(e.conn).SetControlMessage(ipv6.FlagHopLimit, true); err != nil {
			e.t.Fatal(err)
		}
	}
	e.conn.SetReadDeadline(time.Now().Add(wait))
	buf, oob := make([]byte, 4096), make([]byte, 128)
	for {
		n, oobn, _, from, err := e.conn.ReadMsgIP(buf, oob)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			e.t.Fatal(err)
		}
		p := ip(buf[:n])
		if !e.v4 {
			var control ipv6.ControlMessage
			if err := control.Parse(oob[:oobn]); err != nil {
				e.t.Fatal(err)
			}
			p = append(make(ip, 40), p...)
			p[0], p[6], p[7] = 6<<4, protoICMPv6, byte(control.HopLimit)
			copy(p.srcBytes(), from.IP)
		}
		if p.isError() || p.payload()[0] == 0 || p.payload()[0] == 129 {
			return p
		}
	}
}

// describe says in one line what an ICMP answer holds.
func describe(t *testing.T, p ip) string {
	t.Helper()
	body := p.payload()
	s := fmt.Sprintf("%d/%d from %s ttl %d", body[0], body[1], end(p.src()), p.ttl())
	if p.v4() && fold(partial(body, 0)) != 0xffff {
		t.Errorf("checksum of %x is wrong", body)
	}
	if !p.isError() {
		return s
	}
	if n := p.headerLen(); p.v4() && n > 20 {
		s += fmt.Sprintf(" options %d", n-20)
	}
	length, mtu := int(body[4])*8, int(binary.BigEndian.Uint32(body[4:]))
	if p.v4() {
		length, mtu = int(body[5])*4, int(binary.BigEndian.Uint16(body[6:]))
	} else if body[0] == 2 {
		length = 0
	} else {
		mtu = 0
	}
	quoted, extension := body[8:], []byte(nil)
	if length > 0 {
		s += fmt.Sprintf(" length %d", length)
		quoted, extension = quoted[:length], quoted[length:]
	}
	if mtu > 0 {
		s += fmt.Sprintf(" mtu %d", mtu)
	}
	q := p.quoted()
	s += fmt.Sprintf(" quotes %d ttl %d tos %d from %s", len(quoted), q.ttl(), q.tos(), end(q.src()))
	if q.v4() && fold(partial(q[:20], 0)) != 0xffff {
		t.Errorf("header checksum of the quoted %x is wrong", q[:20])
	}
	if extension != nil {
		if extension[0] != 0x20 || fold(partial(extension, 0)) != 0xffff {
			t.Errorf("extension header %x is wrong", extension[:4])
		}
		s += fmt.Sprintf(" object %d/%d %s", extension[6], extension[7], extension[8:])
	}
	return s
}

// end is the part of an address that tells hosts apart, with a dot for both families.
func end(a netip.Addr) string {
	s := a.String()
	return "." + s[strings.LastIndexAny(s, ".:")+1:]
}

// Three packets a second are answered, after a burst of five.
func TestNetnsRouterRate(t *testing.T) {
	for _, network := range []string{"ip4:icmp", "ip6:ipv6-icmp"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			h1, h2 := Line(t, Router{Rate: 3, Burst: 5})
			e := open(t, h1, network)
			for seq := range 20 {
				e.send(dst(network, h2), 1, 64, seq)
			}
			if got := e.count(200 * time.Millisecond); got != 5 {
				t.Errorf("answers at once: got %d, want 5", got)
			}
			time.Sleep(time.Second)
			for seq := range 20 {
				e.send(dst(network, h2), 1, 64, seq)
			}
			if got := e.count(200 * time.Millisecond); got < 3 || got > 4 {
				t.Errorf("answers 1.2 s later: got %d, want 3 or 4", got)
			}
		})
	}
}

func dst(network string, h *Host) netip.Addr {
	if network == "ip4:icmp" {
		return h.Addr4
	}
	return h.Addr6
}

func (e *echoer) count(wait time.Duration) int {
	e.t.Helper()
	n := 0
	for e.receive(wait) != nil {
		n++
	}
	return n
}

// The same seed loses, doubles and swaps the same packets, however fast they
// come; if too slowly to be overtaken, they stay in order.
func TestCableRepeatsItself(t *testing.T) {
	first := journey(t, 1, time.Microsecond)
	for _, gap := range []time.Duration{time.Millisecond, 15 * time.Millisecond} { // so close that the next one always comes in time
		if got := journey(t, 1, gap); !slices.Equal(got, first) {
			t.Errorf("a packet every %v: got\n%v, want\n%v as with one every microsecond", gap, got, first)
		}
	}
	if got := journey(t, 2, time.Microsecond); slices.Equal(got, first) {
		t.Errorf("another seed: got the same %v", got)
	}
	if slices.IsSorted(first) {
		t.Errorf("got %v, want some out of order", first)
	}
	slow := journey(t, 1, time.Second)
	if !slices.IsSorted(slow) {
		t.Errorf("a packet every second: got %v, want all in order", slow)
	}
	if !slices.Equal(slow, slices.Sorted(slices.Values(first))) {
		t.Errorf("a packet every second: got\n%v, want the same packets as\n%v", slow, first)
	}
}

// journey sends 100 numbered packets along a troubled cable, one in every gap
// of a clock of its own, and returns the numbers that arrive.
func journey(t *testing.T, seed uint64, gap time.Duration) []int {
	p := newPath(t, [2]*os.File{}, []Router{{Loss: 0.2, Duplicate: 0.2, Reorder: 0.2}}, seed)
	src, dst := netip.MustParseAddr("10.0.1.1"), netip.MustParseAddr("10.0.1.2")
	var arrived []int
	run := func(until time.Time) {
		for len(p.queue) > 0 && !p.queue[0].at.After(until) {
			e := heap.Pop(&p.queue).(event)
			if e.hold == 0 && e.pos == len(p.routers)+1 {
				arrived = append(arrived, int(e.packet.payload()[7]))
				continue
			}
			p.handle(e)
		}
	}
	now := time.Unix(0, 0)
	for seq := range 100 {
		now = now.Add(gap)
		run(now)
		p.send(icmp(src, dst, []byte{8, 0, 0, 0, 0, 1, 0, byte(seq)}, Router{}), 0, forth, now)
	}
	run(now.Add(time.Minute))
	return arrived
}

// The same seed has the same effect on hosts. They are not asked for the order,
// since on a busy machine a packet that is held may come 50 ms before the next.
func TestNetnsCableRepeatsItself(t *testing.T) {
	t.Parallel()
	run := func(seed uint64) []uint16 {
		n := New(t)
		n.Seed = seed
		h1, h2 := n.Host("h1"), n.Host("h2")
		n.Connect(h1, h2, Router{Loss: 0.2, Duplicate: 0.2, Reorder: 0.2}, Router{})
		e := open(t, h1, "ip4:icmp")
		for seq := range 100 {
			e.send(h2.Addr4, 64, 64, seq)
		}
		var seen []uint16
		for p := e.receive(5 * time.Second); p != nil; p = e.receive(time.Second) {
			seen = append(seen, binary.BigEndian.Uint16(p.payload()[6:]))
		}
		slices.Sort(seen)
		return seen
	}
	first, second, other := run(1), run(1), run(2)
	if !slices.Equal(first, second) {
		t.Errorf("with one seed: got\n%v, then\n%v", first, second)
	}
	if slices.Equal(first, other) {
		t.Errorf("another seed gave the same: %v", first)
	}
	if n := len(first); n < 70 || n > 120 {
		t.Errorf("got %d answers of 100 with 36 %% loss and 44 %% twice; want about 92", n)
	}
}

// Each way over each piece of cable costs its delay: 5 ms to router 1, 15 ms to router 2.
func TestNetnsDelay(t *testing.T) {
	h1, h2 := Line(t, Router{Delay: 5 * time.Millisecond}, Router{Delay: 10 * time.Millisecond, Jitter: time.Millisecond})
	e := open(t, h1, "ip4:icmp")
	for ttl, want := range map[int]time.Duration{1: 10 * time.Millisecond, 2: 30 * time.Millisecond, 3: 30 * time.Millisecond} {
		start := time.Now()
		e.send(h2.Addr4, ttl, 64, 1)
		if e.receive(5*time.Second) == nil {
			t.Fatalf("no answer for TTL %d", ttl)
		}
		if got := time.Since(start); got < want || got > want+50*time.Millisecond {
			t.Errorf("RTT for TTL %d: got %v, want a little over %v", ttl, got, want)
		}
	}
}

func TestNetnsLeavesNothing(t *testing.T) {
	build := func(t *testing.T) {
		n := New(t)
		h1, r, h2 := n.Host("h1"), n.Host("r"), n.Host("h2")
		n.Connect(h1, r)
		n.Connect(r, h2, Router{Delay: time.Hour})
		n.Route()
		sendUDP(t, h1, netip.AddrPortFrom(h2.Addr4, 9))
	}
	t.Run("first", build) // the runtime keeps files of its own from its first use of them
	fds, goroutines := openFiles(t), runtime.NumGoroutine()
	t.Run("second", build)
	if got := openFiles(t); got != fds {
		t.Errorf("open files: got %d, want %d as before", got, fds)
	}
	if !eventually(func() bool { return runtime.NumGoroutine() <= goroutines }) { // one that is done may take a moment to end
		t.Errorf("goroutines: got %d, want %d as before", runtime.NumGoroutine(), goroutines)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

// A large packet without DF arrives in pieces, and its answer too.
func TestNetnsFragments(t *testing.T) {
	needProgram(t, "fping")
	h1, h2 := Line(t, Router{MTU: 700})
	if out, err := h1.Run("fping", "-c1", "-b2500", h2.Addr4.String()); err != nil {
		t.Errorf("fping: %v: %s", err, out)
	}
}

// UDP and TCP cross NAT with their checksums intact.
func TestNetnsNATTransport(t *testing.T) {
	h1, h2 := Line(t, Router{NAT4: natV4, NAT6: natV6})
	for _, addr := range []netip.Addr{h2.Addr4, h2.Addr6} {
		var listener net.Listener
		h2.Do(func() {
			var err error
			if listener, err = net.Listen("tcp", netip.AddrPortFrom(addr, 80).String()); err != nil {
				t.Fatal(err)
			}
		})
		defer listener.Close()
		h1.Do(func() {
			conn, err := net.DialTimeout("tcp", listener.Addr().String(), 5*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			conn.Close()
		})
		server, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		server.Close()
		if got, want := end(server.RemoteAddr().(*net.TCPAddr).AddrPort().Addr()), ".200"; got != want {
			t.Errorf("client address: got %s, want %s", got, want)
		}
	}
}
