package packet

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
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
