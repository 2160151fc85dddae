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

func benchFping(b *testing.B, h *nettest.Host, all []netip.Addr) {
	path := peer(b, "fping")
	var list strings.Builder
	for _, a := range all {
		fmt.Fprintln(&list, a)
	}
	rounds := min(max(1, b.N/len(all)), 60) // beyond it has "not enough sequence numbers"
	cmd := exec.Command(path, "-q", "-i", "0", "-p", "10", "-c", strconv.Itoa(rounds))
	cmd.Stdin = strings.NewReader(list.String())
	cmd.Env = os.Environ()
	b.ResetTimer()
	before := cpu(unix.RUSAGE_CHILDREN)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := h.Start(cmd); err != nil {
		b.Fatal(err)
	}
	_ = cmd.Wait() // fping's exit status counts unreachable targets
	received := 0
	for _, m := range fpingTotals.FindAllStringSubmatch(out.String(), -1) {
		n, _ := strconv.Atoi(m[2])
		received += n
	}
	if received == 0 {
		b.Fatalf("no totals in %q", out.String())
	}
	b.ReportMetric(float64(received)/b.Elapsed().Seconds(), "echoes/s")
	b.ReportMetric(float64(cpu(unix.RUSAGE_CHILDREN)-before)/float64(received), "cpu-ns/echo")
	b.ReportMetric(float64(rounds*len(all)-received), "lost")
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
		ours[i] = r.RTT
	}
	b.StopTimer()
	for i, truth := range watch.rtts(b, b.N) {
		ours[i] = (ours[i] - truth).Abs()
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

// rtts returns the time between each request's leaving and its reply's arrival.
func (c capture) rtts(b *testing.B, n int) (all []time.Duration) {
	buf, control := make([]byte, 256), make([]byte, 256)
	var left int64
	for len(all) < n {
		size, oobn, _, from, err := unix.Recvmsg(int(c), buf, control, unix.MSG_DONTWAIT)
		if err != nil {
			b.Fatalf("capture after %d of %d: %v", len(all), n, err)
		}
		var at stamps
		eachControl(control[:oobn], func(level, typ int32, data []byte) {
			if level == unix.SOL_SOCKET && typ == unix.SO_TIMESTAMPING_NEW {
				at = parseStamps(data)
			}
		})
		if size < ip4Len+icmpLen || buf[9] != 1 {
			continue
		}
		outgoing := from.(*unix.SockaddrLinklayer).Pkttype == unix.PACKET_OUTGOING
		switch typ := buf[ip4Len]; {
		case typ == 8 && outgoing:
			left = at.software
		case typ == 0 && !outgoing:
			all = append(all, time.Duration(at.software-left))
		}
	}
	return all
}

// BenchmarkNetnsMemory shows the resident memory of this process with many packets in flight.
func BenchmarkNetnsMemory(b *testing.B) {
	for _, many := range []int{10_000, 100_000} {
		b.Run(fmt.Sprintf("inflight=%d", many), func(b *testing.B) {
			h1, h2 := nettest.Line(b, nettest.Router{BlackHole: true})
			for b.Loop() {
				e := open(b, h1, Options{})
				s := e.NewStream(many)
				var requests [100]Request
				for i := range requests {
					requests[i] = Request{Dst: h2.Addr4, Timeout: time.Minute}
				}
				for range many / len(requests) {
					s.Submit(requests[:])
				}
				debug.FreeOSMemory()
				if n := e.Stats().InFlight; n != many {
					b.Fatalf("got %d in flight, want %d", n, many)
				}
				b.ReportMetric(float64(resident(b))/(1<<20), "rss-MB")
				e.Close()
			}
		})
	}
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
