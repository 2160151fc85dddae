package mtr

import (
	"bytes"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/natrix-os/natrix/sysinfo/netif/nettest"
	"golang.org/x/sys/unix"
)

// BenchmarkProbes keeps a number of ICMP probes in flight through natrix, and
// then through Debian's mtr-packet if there is one. The time is that of
// natrix. Its further figures are probes per second, microseconds of CPU per
// probe, and probes without a reply, each as natrix's and as Debian's.
//
// On loopback and over the chain h1 ── r1 ── r2 ── h2 the CPU time includes
// the network's: the kernel forwards, and answers, while it sends. Over the
// path h1 ── ● ── ● ── h3 the routers are in the test's process, so that the
// CPU time is that of the program alone, and the rate theirs.
func BenchmarkProbes(b *testing.B) {
	n := nettest.New(b)
	h1, r1, r2, h2, h3 := n.Host("h1"), n.Host("r1"), n.Host("r2"), n.Host("h2"), n.Host("h3")
	n.Connect(h1, r1)
	n.Connect(r1, r2)
	n.Connect(r2, h2)
	n.Connect(h1, h3, nettest.Router{}, nettest.Router{})
	n.Route()
	for _, dst := range []struct{ name, addr string }{
		{"loopback", "127.0.0.1"}, {"chain", h2.Addr4.String()}, {"path", h3.Addr4.String()},
	} {
		for _, inFlight := range []int{1, 16, 256, 1000} {
			b.Run(fmt.Sprintf("%s/%d", dst.name, inFlight), func(b *testing.B) {
				needDebian(b)
				ours := natrix(b, "0.95").start(b, h1)
				theirs := debian.start(b, h1)
				ours.pump(dst.addr, 1000, inFlight) // what a session costs once
				theirs.pump(dst.addr, 1000, inFlight)
				b.ResetTimer()
				natrix := ours.pump(dst.addr, b.N, inFlight)
				b.StopTimer()
				debian := theirs.pump(dst.addr, b.N, inFlight)
				natrix.report(b, "natrix")
				debian.report(b, "debian")
				b.ReportMetric(natrix.rate()/debian.rate(), "x-rate")
				b.ReportMetric(natrix.cpuPerProbe()/debian.cpuPerProbe(), "x-cpu")
			})
		}
	}
}

// effort is what a number of probes took.
type effort struct {
	probes, lost int
	wall, cpu    time.Duration
}

func (e effort) rate() float64        { return float64(e.probes) / e.wall.Seconds() }
func (e effort) cpuPerProbe() float64 { return float64(e.cpu.Nanoseconds()) / float64(e.probes) / 1e3 }

func (e effort) report(b *testing.B, who string) {
	b.ReportMetric(e.rate(), who+"/s")
	b.ReportMetric(e.cpuPerProbe(), who+"-µs")
	b.ReportMetric(float64(e.lost), who+"-lost")
}

// pump sends n probes, as many as given in flight: for the replies that one
// read brings it writes as many commands at once. They name no source address,
// as those of Python's mtrpacket do not.
func (s *session) pump(dst string, n, inFlight int) effort {
	s.t.Helper()
	command := []byte(" send-probe ip-4 " + dst + " timeout 1\n")
	buf := make([]byte, 1<<17)
	var commands, partial []byte
	sent, replied, lost := 0, 0, 0
	cpu, start := s.cpu(), time.Now()
	for replied < n {
		commands = commands[:0]
		for ; sent < n && sent-replied < inFlight; sent++ {
			commands = strconv.AppendInt(commands, int64(sent), 10)
			commands = append(commands, command...)
		}
		if _, err := s.in.Write(commands); err != nil {
			s.t.Fatal(err)
		}
		m, err := s.out.Read(buf)
		if err != nil {
			s.t.Fatal(err)
		}
		partial = append(partial, buf[:m]...)
		end := bytes.LastIndexByte(partial, '\n') + 1
		lines := bytes.Count(partial[:end], []byte("\n"))
		lost += lines - bytes.Count(partial[:end], []byte(" reply ip-4 "))
		replied += lines
		partial = append(partial[:0], partial[end:]...)
	}
	return effort{probes: n, lost: lost, wall: time.Since(start), cpu: s.cpu() - cpu}
}

// cpu is the CPU time that the process has used on all its threads
// (clock_getcpuclockid(3)).
func (s *session) cpu() time.Duration {
	s.t.Helper()
	const perProcessScheduled = 2
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^s.cmd.Process.Pid<<3|perProcessScheduled), &ts); err != nil {
		s.t.Fatal(err)
	}
	return time.Duration(ts.Nano())
}
