package packet

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/natrix-os/natrix/sysinfo/netif/nettest"
)

// targets returns n addresses of 127.0.0.0/8.
func targets(n int) []netip.Addr {
	all := make([]netip.Addr, n)
	for i := range all {
		all[i] = netip.AddrFrom4([4]byte{127, 1, byte(i >> 8), byte(i)})
	}
	return all
}

// peer returns the path of a program to compare with.
func peer(b *testing.B, name string) string {
	path, err := exec.LookPath(name)
	if err != nil {
		b.Fatalf("%v (apt-get install %s)", err, name)
	}
	return path
}

// cpu returns the CPU time that this process has used.
func cpu(who int) time.Duration {
	var u unix.Rusage
	if unix.Getrusage(who, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// pump sends total packets through a stream with up to window in flight and
// returns the results that were not answers.
func pump(b *testing.B, e *Engine, window, total int, request func(int) Request) (lost int) {
	s := e.NewStream(window)
	requests, results := make([]Request, batchSize), make([]Result, window)
	for sent, done := 0, 0; done < total; {
		n := min(batchSize, total-sent)
		for i := range n {
			requests[i] = request(sent + i)
		}
		took := s.Submit(requests[:n])
		sent += took
		if took == n && sent < total {
			continue // fill the window first
		}
		got, err := s.Wait(context.Background(), results)
		if err != nil {
			b.Fatal(err)
		}
		done += got
		for _, r := range results[:got] {
			if r.Err != nil {
				b.Fatal(r.Err)
			}
			if r.Reply.Kind == NoReply {
				lost++
			}
		}
	}
	return lost
}

// BenchmarkNetnsEcho sends an echo request to each of 1,000 targets over and over.
func BenchmarkNetnsEcho(b *testing.B) {
	h := nettest.NewHost(b, "h")
	all := targets(1000)
	for _, window := range []int{64, 256, 1000} {
		b.Run(fmt.Sprintf("natrix/inflight=%d", window), func(b *testing.B) {
			e := open(b, h, Options{})
			b.ReportAllocs()
			b.ResetTimer()
			before := cpu(unix.RUSAGE_SELF)
			lost := pump(b, e, window, b.N, func(i int) Request {
				return Request{Dst: all[i%len(all)], Timeout: 2 * time.Second}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "echoes/s")
			b.ReportMetric(float64(cpu(unix.RUSAGE_SELF)-before)/float64(b.N), "cpu-ns/echo")
			b.ReportMetric(float64(lost), "lost")
			if s := e.Stats(); s.Overflow+s.Unstamped > 0 {
				b.Errorf("%+v", s)
			}
		})
	}
	b.Run("fping", func(b *testing.B) { benchFping(b, h, all) })
}

var fpingTotals = regexp.MustCompile(`xmt/rcv/%loss = (\d+)/(\d+)/`)

// benchFping does the same with fping. One run of it has sequence numbers for
// no more than 65 rounds of 1,000 targets.
func benchFping(b *testing.B, h *nettest.Host, all []netip.Addr) {
	path := peer(b, "fping")
	var list strings.Builder
	for _, a := range all {
		fmt.Fprintln(&list, a)
	}
	b.ResetTimer()
	before := cpu(unix.RUSAGE_CHILDREN)
	sent, received := 0, 0
	for sent < b.N {
		rounds := min(max(1, (b.N-sent)/len(all)), 60)
		cmd := exec.Command(path, "-q", "-i", "0", "-p", "10", "-c", strconv.Itoa(rounds))
		cmd.Stdin = strings.NewReader(list.String())
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := h.Start(cmd); err != nil {
			b.Fatal(err)
		}
		_ = cmd.Wait() // fping's exit status counts unreachable targets
		totals := fpingTotals.FindAllStringSubmatch(out.String(), -1)
		if len(totals) != len(all) {
			b.Fatalf("got totals of %d targets in %q", len(totals), out.String())
		}
		for _, m := range totals {
			n, _ := strconv.Atoi(m[2]) // digits, says the expression
			received += n
		}
		sent += rounds * len(all)
	}
	b.ReportMetric(float64(received)/b.Elapsed().Seconds(), "echoes/s")
	b.ReportMetric(float64(cpu(unix.RUSAGE_CHILDREN)-before)/float64(sent), "cpu-ns/echo")
	b.ReportMetric(float64(sent-received), "lost")
}

// BenchmarkNetnsTruth compares RTTs with those that an independent capture of
// the loopback link shows, while other processes keep every CPU busy. The
// engine's error is in error-p99-ns; what a clock around the same Do would
// have been wrong by is in user-error-p99-ns.
func BenchmarkNetnsTruth(b *testing.B) {
	h := nettest.NewHost(b, "h")
	e := open(b, h, Options{})
	for range runtime.NumCPU() {
		busy := exec.Command("sh", "-c", "while :; do :; done")
		if err := busy.Start(); err != nil {
			b.Fatal(err)
		}
		defer func() {
			_ = busy.Process.Kill()
			_ = busy.Wait() // killed
		}()
	}
	watch := openCapture(b, h)
	ours, user := make([]time.Duration, b.N), make([]time.Duration, b.N)
	b.ResetTimer()
	for i := range b.N {
		start := time.Now()
		r, err := e.Do(b.Context(), Request{Dst: targets(1)[0]})
		user[i] = time.Since(start)
		if err != nil || r.Clock != Kernel {
			b.Fatalf("got %+v, %v, want an answer by the kernel's clock", r, err)
		}
		truth := watch.rtt(b)
		ours[i] = (r.RTT - truth).Abs()
		user[i] = (user[i] - truth).Abs()
	}
	b.ReportMetric(float64(percentile(ours, 99)), "error-p99-ns")
	b.ReportMetric(float64(percentile(user, 99)), "user-error-p99-ns")
}

func percentile(d []time.Duration, p int) time.Duration {
	slices.Sort(d)
	return d[min(len(d)*p/100, len(d)-1)]
}

// capture is a packet socket (packet(7)) on the loopback link.
type capture int

func openCapture(b *testing.B, h *nettest.Host) capture {
	var fd int
	var err error
	h.Do(func() { fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.ETH_P_ALL<<8) })
	if err != nil {
		b.Fatalf("packet socket: %v", err)
	}
	b.Cleanup(func() { unix.Close(fd) })
	o := options{fd: fd}
	o.set(unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20)
	o.set(unix.SOL_SOCKET, unix.SO_TIMESTAMPING_NEW, unix.SOF_TIMESTAMPING_RX_SOFTWARE|unix.SOF_TIMESTAMPING_SOFTWARE)
	if o.err != nil {
		b.Fatal(o.err)
	}
	return capture(fd)
}

// rtt returns the time between the next request's leaving and its reply's arrival.
func (c capture) rtt(b *testing.B) time.Duration {
	buf, control := make([]byte, 256), make([]byte, 256)
	var left int64
	for {
		size, oobn, _, from, err := unix.Recvmsg(int(c), buf, control, unix.MSG_DONTWAIT)
		if err != nil {
			b.Fatalf("capture: %v", err)
		}
		var at stamps
		eachControl(control[:oobn], func(level, typ int32, data []byte) {
			if level == unix.SOL_SOCKET && typ == unix.SO_TIMESTAMPING_NEW {
				at = parseStamps(data)
			}
		})
		if size < ip4Len+icmpLen || buf[9] != unix.IPPROTO_ICMP {
			continue
		}
		outgoing := from.(*unix.SockaddrLinklayer).Pkttype == unix.PACKET_OUTGOING
		switch typ := buf[ip4Len]; {
		case typ == 8 && outgoing:
			left = at.software
		case typ == 0 && !outgoing:
			return time.Duration(at.software - left)
		}
	}
}

// BenchmarkNetnsMemory shows the resident memory of this process with many packets in flight.
func BenchmarkNetnsMemory(b *testing.B) {
	for _, many := range []int{10_000, 100_000} {
		b.Run(fmt.Sprintf("inflight=%d", many), func(b *testing.B) {
			h1, h2 := nettest.Line(b, nettest.Router{BlackHole: true})
			for b.Loop() {
				b.ReportMetric(float64(residentWith(b, h1, h2.Addr4, many))/(1<<20), "rss-MB")
			}
		})
	}
}

// residentWith returns the resident memory while that many packets are in flight.
func residentWith(b *testing.B, h *nettest.Host, dst netip.Addr, many int) int {
	var e *Engine
	var err error
	h.Do(func() { e, err = Open(Options{}) })
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	s := e.NewStream(many)
	requests := make([]Request, 100)
	for i := range requests {
		requests[i] = Request{Dst: dst, Timeout: time.Minute}
	}
	for range many / len(requests) {
		s.Submit(requests)
	}
	debug.FreeOSMemory()
	if n := e.Stats().InFlight; n != many {
		b.Fatalf("got %d in flight, want %d", n, many)
	}
	return resident(b)
}

// resident returns the resident set of this process in bytes.
func resident(b *testing.B) int {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Fatal(err)
	}
	var size, rss int
	if _, err := fmt.Sscan(string(text), &size, &rss); err != nil {
		b.Fatal(err)
	}
	return rss * os.Getpagesize()
}
