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

// BenchmarkProbes keeps a number of ICMP probes in flight through natrix and
// Debian's mtr-packet in turn, each alone on the host: every raw socket there
// costs the kernel a copy of every answer. Beside them runs the floor, which is
// what the kernel alone costs, without and with stamps of every packet. The
// figures are probes per second, microseconds of CPU per probe, and probes
// without a reply. With source the probes name their source address, as mtr's
// do; without, as those of Python's mtrpacket, mtr-packet looks it up.
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
	for _, dst := range []struct{ name, addr, source string }{
		{"loopback", "127.0.0.1", ""},
		{"loopback+source", "127.0.0.1", "127.0.0.1"},
		{"chain", h2.Addr4.String(), ""},
		{"chain+source", h2.Addr4.String(), h1.Addr4.String()},
		{"path", h3.Addr4.String(), ""},
	} {
		for _, inFlight := range []int{1, 16, 256, 1000} {
			b.Run(fmt.Sprintf("%s/%d", dst.name, inFlight), func(b *testing.B) {
				needDebian(b)
				command := " send-probe ip-4 " + dst.addr + " timeout 1"
				if dst.source != "" {
					command += " local-ip-4 " + dst.source
				}
				compare(b, h1, command+"\n", inFlight)
			})
		}
	}
}

// rounds is how often the peers take turns, so that other load on the machine
// meets all of them alike.
const rounds = 5

func compare(b *testing.B, h *nettest.Host, command string, inFlight int) {
	ours, bare, stamped := natrix(b, "0.95"), natrix(b, "0.95"), natrix(b, "0.95")
	bare.env = append(bare.env, floorEnv+"=bare")
	stamped.env = append(stamped.env, floorEnv+"="+floorStamps)
	peers := []implementation{ours, debian, bare, stamped}
	efforts := make([]effort, len(peers))
	for range rounds {
		for i, p := range peers {
			efforts[i].add(p.effort(b, h, command, max(b.N/rounds, 1), inFlight))
		}
	}
	for i, name := range []string{"natrix", "debian", "floor", "floor+stamps"} {
		efforts[i].report(b, name)
	}
	b.ReportMetric(efforts[0].rate()/efforts[1].rate(), "x-rate")
	b.ReportMetric(efforts[0].cpuPerProbe()/efforts[1].cpuPerProbe(), "x-cpu")
}

// effort is what n probes take the implementation, in a session of its own.
func (i implementation) effort(b *testing.B, h *nettest.Host, command string, n, inFlight int) effort {
	s := i.start(b, h)
	defer s.end()
	s.pump(command, 1000, inFlight) // what a session costs once
	return s.pump(command, n, inFlight)
}

// effort is what a number of probes took.
type effort struct {
	probes, lost int
	wall, cpu    time.Duration
}

func (e *effort) add(f effort) {
	e.probes += f.probes
	e.lost += f.lost
	e.wall += f.wall
	e.cpu += f.cpu
}

func (e effort) rate() float64        { return float64(e.probes) / e.wall.Seconds() }
func (e effort) cpuPerProbe() float64 { return float64(e.cpu.Nanoseconds()) / float64(e.probes) / 1e3 }

func (e effort) report(b *testing.B, who string) {
	b.ReportMetric(e.rate(), who+"/s")
	b.ReportMetric(e.cpuPerProbe(), who+"-µs")
	b.ReportMetric(float64(e.lost), who+"-lost")
}

// pump sends n probes, as many as given in flight: for the replies that one
// read brings it writes as many commands at once.
func (s *session) pump(command string, n, inFlight int) effort {
	s.t.Helper()
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
