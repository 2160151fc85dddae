package nettest

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// h1 ── r1 ── r2 ── h2, probed by a stranger's traceroute.
func TestNetnsChain(t *testing.T) {
	t.Parallel()
	hosts := Chain(t, "h1", "r1", "r2", "h2")
	for _, family := range []struct {
		flag string
		addr func(*Host) netip.Addr
	}{
		{"-4", func(h *Host) netip.Addr { return h.Addr4 }},
		{"-6", func(h *Host) netip.Addr { return h.Addr6 }},
	} {
		dst := family.addr(hosts[3]).String()
		out := mtrReport(t, hosts[0], family.flag, dst)
		for i, h := range hosts[1:] {
			want := fmt.Sprintf("%d;%s;0.00", i+1, family.addr(h))
			if !strings.Contains(out, want) {
				t.Errorf("mtr %s %s: got %q, want a line with %q", family.flag, dst, out, want)
			}
		}
	}
}

// mtrReport runs Debian's mtr and returns lines of HOP;ADDRESS;LOSS;AVERAGE.
func mtrReport(t *testing.T, h *Host, args ...string) string {
	t.Helper()
	needProgram(t, "mtr")
	out, err := h.Run("mtr", append([]string{"-n", "--csv", "-c", "3", "-i", "0.1", "-Z", "1", "-G", "1", "-o", "LA"}, args...)...)
	if err != nil {
		t.Fatalf("mtr: %v: %s", err, out)
	}
	var lines []string
	for _, line := range strings.Split(out, "\n")[1:] {
		if f := strings.Split(line, ","); len(f) >= 8 {
			lines = append(lines, strings.Join(append(f[4:6], f[6:]...), ";"))
		}
	}
	return strings.Join(lines, "\n")
}

// needProgram skips the test on machines without the program, or fails it if
// NATRIX_MUST lists it.
func needProgram(t *testing.T, name string) {
	t.Helper()
	_, err := exec.LookPath(name)
	if err == nil {
		return
	}
	if slices.Contains(strings.Split(os.Getenv(Must), ","), name) {
		t.Fatalf("%s is required by %s: %v", name, Must, err)
	}
	t.Skip(err)
}

//	 a
//	/ \
//
// h1   r ── h2     two equal ways: each must carry some of many flows
//
//	\ /
//	 b
func TestNetnsDiamondSharesFlows(t *testing.T) {
	n := New(t)
	h1, a, b, r, h2 := n.Host("h1"), n.Host("a"), n.Host("b"), n.Host("r"), n.Host("h2")
	n.Connect(h1, a)
	n.Connect(h1, b)
	n.Connect(a, r)
	n.Connect(b, r)
	n.Connect(r, h2)
	n.Route()
	for _, dst := range []netip.Addr{h2.Addr4, h2.Addr6} {
		for port := range 64 {
			sendUDP(t, h1, netip.AddrPortFrom(dst, uint16(33434+port)))
		}
	}
	if !eventually(func() bool { return received(t, a) > 20 && received(t, b) > 20 }) {
		t.Errorf("packets through a %d, through b %d; want some through both", received(t, a), received(t, b))
	}
}

func sendUDP(t *testing.T, h *Host, dst netip.AddrPort) {
	t.Helper()
	h.Do(func() {
		c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(dst))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
	})
}

func received(t *testing.T, h *Host) uint64 {
	t.Helper()
	l, err := h.Netlink.LinkByName("h1")
	if err != nil {
		t.Fatal(err)
	}
	return l.Attrs().Statistics.RxPackets
}

func eventually(f func() bool) bool {
	for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if f() {
			return true
		}
	}
	return false
}

func TestNetnsRefusingRoutes(t *testing.T) {
	h := Chain(t, "h1", "r1")[0]
	for _, c := range []struct {
		dst  string
		kind int
		want error
	}{
		{"192.0.2.1", unix.RTN_UNREACHABLE, unix.EHOSTUNREACH},
		{"192.0.2.2", unix.RTN_PROHIBIT, unix.EACCES},
		{"2001:db8::1", unix.RTN_UNREACHABLE, unix.EHOSTUNREACH},
	} {
		dst := netip.MustParseAddr(c.dst)
		h.AddRoute(netip.PrefixFrom(dst, dst.BitLen()), c.kind)
		h.Do(func() {
			conn, err := net.Dial("udp", net.JoinHostPort(c.dst, "9"))
			if err == nil {
				conn.Close()
			}
			if !isErrno(err, c.want) {
				t.Errorf("dial %s: got %v, want %v", c.dst, err, c.want)
			}
		})
	}
}

func isErrno(err, want error) bool {
	return err != nil && strings.Contains(err.Error(), want.Error())
}

// A socket stays where it was opened; the thread does not.
func TestNetnsDoLeavesThread(t *testing.T) {
	hosts := Chain(t, "h1", "h2")
	var server net.PacketConn
	hosts[1].Do(func() {
		var err error
		if server, err = net.ListenPacket("udp", hosts[1].Addr4.String()+":7"); err != nil {
			t.Fatal(err)
		}
	})
	defer server.Close()
	sendUDP(t, hosts[0], netip.AddrPortFrom(hosts[1].Addr4, 7))
	server.SetReadDeadline(time.Now().Add(2 * time.Second))
	buf := make([]byte, 16)
	n, from, err := server.ReadFrom(buf)
	if err != nil || string(buf[:n]) != "hello" {
		t.Fatalf("read from %v: got %q, %v; want hello", from, buf[:n], err)
	}
	if _, err := net.InterfaceByName("h1"); err == nil {
		t.Error("link h1 is visible outside its namespace")
	}
}
