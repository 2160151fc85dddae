package mtr

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/natrix-os/natrix/sysinfo/netif/nettest"
	"golang.org/x/sys/unix"
)

// mtr asks four questions before it probes, and reads each answer by one read(2).
func TestNetnsHandshake(t *testing.T) {
	s := natrix(t, "0.95").start(t, nettest.NewHost(t, "h1"))
	for _, feature := range []string{"send-probe", "ip-4", "icmp", "mark"} {
		s.ask("7 check-support feature " + feature)
		if got, want := s.read(), "7 feature-support support ok\n"; got != want {
			t.Errorf("%s: got %q, want %q", feature, got, want)
		}
	}
}

// Waiting for the last replies after the end of input costs nothing.
func TestNetnsDrainWithoutSpinning(t *testing.T) {
	h1, h2 := nettest.Line(t, nettest.Router{BlackHole: true})
	s := natrix(t, "0.96").start(t, h1)
	s.ask(fmt.Sprintf("1 send-probe ip-4 %s timeout 2", h2.Addr4))
	time.Sleep(100 * time.Millisecond) // its start is over
	before, start := s.cpu(), time.Now()
	s.in.Close()
	time.Sleep(time.Second)
	used := s.cpu() - before
	if got, want := s.read(), "1 no-reply\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if took := time.Since(start); took < 1500*time.Millisecond || took > 3*time.Second {
		t.Errorf("drained in %v, want 2s", took)
	}
	if used > 50*time.Millisecond {
		t.Errorf("used %v of CPU in a second of waiting, want next to nothing", used)
	}
}

// What Python's mtrpacket does: a shell command, of which it kills the shell
// and closes the input. The name of the program is a symbolic link.
func TestNetnsShellGone(t *testing.T) {
	h1, h2 := nettest.Line(t, nettest.Router{BlackHole: true})
	link := filepath.Join(t.TempDir(), "mtr-packet")
	if err := os.Symlink(natrix(t, "").path, link); err != nil {
		t.Fatal(err)
	}
	sh := natrix(t, "0.96")
	sh.path = "/bin/sh"
	s := sh.startAs(t, h1, "sh", "-c", link+"; true")
	s.ask(fmt.Sprintf("1 check-support feature icmp\n2 send-probe ip-4 %s timeout 60", h2.Addr4))
	if got, want := s.read(), "1 feature-support support ok\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	start := time.Now()
	s.cmd.Process.Kill()
	s.in.Close()
	s.out.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := s.out.Read(make([]byte, 100)); n != 0 || os.IsTimeout(err) {
		t.Errorf("read %d bytes, %v, after %v; want the end of output at once", n, err, time.Since(start))
	}
}

// SIGTERM, by which mtr ends it, works at once.
func TestNetnsTerminates(t *testing.T) {
	s := natrix(t, "0.96").start(t, nettest.NewHost(t, "h1"))
	s.ask("1 check-support feature icmp")
	s.read()
	start := time.Now()
	s.cmd.Process.Signal(unix.SIGTERM)
	s.cmd.Wait()
	if took := time.Since(start); took > time.Second {
		t.Errorf("took %v to end by SIGTERM", took)
	}
}

// More than FD_SETSIZE TCP probes in flight kill mtr-packet. Here thousands of
// every protocol, answered and lost, get a reply each.
func TestNetnsThousandsInFlight(t *testing.T) {
	n := nettest.New(t)
	h1, h2, h3 := n.Host("h1"), n.Host("h2"), n.Host("h3")
	n.Connect(h1, h2)
	n.Connect(h1, h3, nettest.Router{BlackHole: true})
	const each = 2500
	var input strings.Builder
	want := make(map[string]int)
	for i := range each {
		for _, protocol := range []string{"icmp", "udp", "tcp"} {
			fmt.Fprintf(&input, "%d send-probe protocol %s ip-4 %s timeout 3\n", i, protocol, h2.Addr4)
			want["reply ip-4 10.0.1.2 round-trip-time N"]++
			fmt.Fprintf(&input, "%d send-probe protocol %s ip-6 %s timeout 3\n", i, protocol, h3.Addr6)
			want["no-reply"]++
		}
	}
	replies := normal(natrix(t, "0.96").converse(t, h1, input.String()))
	got := make(map[string]int)
	for _, line := range strings.Split(replies, "\n") {
		_, reply, _ := strings.Cut(line, " ")
		got[reply]++
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// A network that repeats, delays and swaps packets changes nothing in the
// bookkeeping: to each command its reply, with its own token.
func TestNetnsOneReplyEach(t *testing.T) {
	h1, h2 := nettest.Line(t,
		nettest.Router{Duplicate: 0.5, Jitter: 5 * time.Millisecond},
		nettest.Router{Reorder: 0.3, Loss: 0.1, Duplicate: 0.5})
	const probes = 1000
	var input strings.Builder
	for i := range probes {
		fmt.Fprintf(&input, "%d send-probe protocol %s ip-4 %s ttl %d timeout 1\n", i, []string{"icmp", "udp", "tcp"}[i%3], h2.Addr4, 1+i%4)
	}
	replies := strings.Split(strings.TrimSpace(natrix(t, "0.96").converse(t, h1, input.String())), "\n")
	answered := make([]int, probes)
	for _, line := range replies {
		var token int
		fmt.Sscan(line, &token)
		answered[token]++
		from, lost := h2.Addr4.String(), strings.HasSuffix(line, " no-reply")
		if ttl := 1 + token%4; ttl < 3 {
			from = fmt.Sprintf("10.0.1.10%d", ttl)
		}
		if !lost && !strings.Contains(line, " ip-4 "+from+" ") {
			t.Errorf("got %q, want it from %s", line, from)
		}
	}
	for token, n := range answered {
		if n != 1 {
			t.Errorf("probe %d: got %d replies, want 1", token, n)
		}
	}
}

// After the start no thread can do more than raw packets and network
// administration need.
func TestNetnsPrivileges(t *testing.T) {
	if cgo() {
		t.Skip("capabilities of all threads cannot be changed with cgo")
	}
	s := natrix(t, "0.96").start(t, nettest.NewHost(t, "h1"))
	s.ask("1 send-probe ip-4 127.0.0.1 mark 7")
	if got, want := normal(s.read()), "1 reply ip-4 127.0.0.1 round-trip-time N"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", s.cmd.Process.Pid))
	if err != nil || len(threads) == 0 {
		t.Fatalf("threads: %v, %v", threads, err)
	}
	for _, file := range threads {
		status, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"CapPrm:\t0000000000003000\n", "CapEff:\t0000000000003000\n", "NoNewPrivs:\t1\n"} {
			if !strings.Contains(string(status), want) {
				t.Errorf("%s: got %s\nwant %q in it", file, status, want)
			}
		}
	}
}

func cgo() bool {
	info, _ := debug.ReadBuildInfo()
	for _, s := range info.Settings {
		if s.Key == "CGO_ENABLED" {
			return s.Value == "1"
		}
	}
	return false
}

// startAs starts the implementation's file with other arguments.
func (i implementation) startAs(t testing.TB, h *nettest.Host, args ...string) *session {
	t.Helper()
	cmd := exec.CommandContext(context.Background(), i.path)
	cmd.Args = args
	cmd.Env = append(os.Environ(), i.env...)
	return run(t, h, cmd)
}

// Input and output may be a pipe, a file, or one socket for both.
func TestNetnsStdio(t *testing.T) {
	h1 := nettest.NewHost(t, "h1")
	var commands, want strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&commands, "%d check-support feature icmp\n", i)
		fmt.Fprintf(&want, "%d feature-support support ok\n", i)
	}
	t.Run("file", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "commands")
		if err := os.WriteFile(file, []byte(commands.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		in, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		cmd := natrix(t, "0.96").command(t.Context())
		var out strings.Builder
		cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &out, os.Stderr
		if err := h1.Start(cmd); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil || out.String() != want.String() {
			t.Errorf("got %d bytes, %v; want %d", out.Len(), err, want.Len())
		}
	})
	t.Run("socket", func(t *testing.T) {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		theirs := os.NewFile(uintptr(fds[1]), "socket")
		if err := unix.SetNonblock(fds[0], true); err != nil {
			t.Fatal(err)
		}
		ours := os.NewFile(uintptr(fds[0]), "socket")
		defer ours.Close()
		cmd := natrix(t, "0.96").command(t.Context())
		cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs, theirs, os.Stderr
		if err := h1.Start(cmd); err != nil {
			t.Fatal(err)
		}
		theirs.Close()
		if _, err := ours.WriteString(commands.String()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond) // the socket is full: writing has to wait
		if err := unix.Shutdown(fds[0], unix.SHUT_WR); err != nil {
			t.Fatal(err)
		}
		out, err := io.ReadAll(ours)
		if waitErr := cmd.Wait(); err != nil || waitErr != nil || string(out) != want.String() {
			t.Errorf("got %d bytes, %v, %v; want %d", len(out), err, waitErr, want.Len())
		}
	})
}
