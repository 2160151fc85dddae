package sysinfo

import (
	"bytes"
	"errors"
	"strconv"
	"time"
)

// Stat is /proc/stat: what the kernel counts since it started (proc(5)).
type Stat struct {
	Total           CPUTimes
	Cores           []Core    // those on line, by number; one that is off line is missing
	Boot            time.Time // whole seconds; follows the clock when that is set
	ContextSwitches uint64
	Forks           uint64
	Running         int // tasks that run or could
	Blocked         int // tasks that wait for a disk
}

// Core is one logical processor.
type Core struct {
	ID int
	CPUTimes
}

// CPUTimes says how a processor, or all of them together, spent its time.
// The kernel counts Guest in User as well, and GuestNice in Nice.
type CPUTimes struct {
	User, Nice, System, Idle, IOWait, IRQ, SoftIRQ, Steal, Guest, GuestNice time.Duration
}

// Usage is how a stretch of time was shared out, each as a fraction of it from
// 0 to 1. They count the machine as it would be seen from inside: Steal is
// time in which it had work but the hypervisor ran something else, and is part
// of Busy; a guest's time is part of User.
type Usage struct {
	Busy   float64 // all but idle and waiting for I/O
	User   float64 // with low priority too, and guests
	System float64 // the kernel's own, interrupts too
	IOWait float64
	Steal  float64
}

// Usage returns how the time since an earlier reading of the same processor
// was shared out. It is zero if no time went by, as on one that is off line.
func (t CPUTimes) Usage(earlier CPUTimes) Usage {
	since := func(f func(CPUTimes) time.Duration) float64 {
		return float64(max(0, f(t)-f(earlier))) // IOWait can go backwards: proc(5)
	}
	user := since(func(t CPUTimes) time.Duration { return t.User + t.Nice })
	system := since(func(t CPUTimes) time.Duration { return t.System + t.IRQ + t.SoftIRQ })
	steal := since(func(t CPUTimes) time.Duration { return t.Steal })
	iowait := since(func(t CPUTimes) time.Duration { return t.IOWait })
	idle := since(func(t CPUTimes) time.Duration { return t.Idle })
	all := user + system + steal + iowait + idle
	if all == 0 {
		return Usage{}
	}
	return Usage{
		Busy:   (user + system + steal) / all,
		User:   user / all,
		System: system / all,
		IOWait: iowait / all,
		Steal:  steal / all,
	}
}

// CoreUsage is how one processor spent its time.
type CoreUsage struct {
	ID int
	Usage
}

// CoreUsages returns how the time since an earlier reading was shared out on
// each processor. One that was off line in either of them is missing.
func (s Stat) CoreUsages(earlier Stat) []CoreUsage {
	before := make(map[int]CPUTimes, len(earlier.Cores))
	for _, c := range earlier.Cores {
		before[c.ID] = c.CPUTimes
	}
	var all []CoreUsage
	for _, c := range s.Cores {
		if t, ok := before[c.ID]; ok {
			all = append(all, CoreUsage{c.ID, c.Usage(t)})
		}
	}
	return all
}

// Stat reads /proc/stat.
func (m Machine) Stat() (Stat, error) {
	b, err := m.read("proc/stat")
	if err != nil {
		return Stat{}, err
	}
	s, ok := parseStat(b)
	var gaps []error
	if !ok {
		gaps = append(gaps, unreadable(m, "cpu line", "proc/stat"))
	}
	if s.Boot.IsZero() {
		gaps = append(gaps, unreadable(m, "boot time", "proc/stat"))
	}
	return s, errors.Join(gaps...)
}

// parseStat tells with ok whether there was a line for all processors.
func parseStat(b []byte) (s Stat, ok bool) {
	for l := range bytes.Lines(b) {
		key, rest, _ := bytes.Cut(bytes.TrimSpace(l), []byte(" "))
		switch k := string(key); {
		case k == "cpu":
			s.Total, ok = parseTimes(rest), true
		case len(k) > 3 && k[:3] == "cpu":
			if id, err := strconv.Atoi(k[3:]); err == nil && id >= 0 {
				s.Cores = append(s.Cores, Core{ID: id, CPUTimes: parseTimes(rest)})
			}
		case k == "btime":
			if n, err := strconv.ParseInt(string(rest), 10, 40); err == nil && n > 0 {
				s.Boot = time.Unix(n, 0)
			}
		case k == "ctxt":
			s.ContextSwitches = number(rest)
		case k == "processes":
			s.Forks = number(rest)
		case k == "procs_running":
			s.Running = int(min(number(rest), 1<<31-1))
		case k == "procs_blocked":
			s.Blocked = int(min(number(rest), 1<<31-1))
		}
	}
	return s, ok
}

// tick is the unit of /proc/stat: USER_HZ is 100 on every architecture that
// the program is built for.
const tick = 10 * time.Millisecond

// parseTimes reads up to ten numbers; older kernels have fewer. A sum over many
// processors wraps round after 292 years of their time; differences stay right.
func parseTimes(fields []byte) CPUTimes {
	var t [10]time.Duration
	i := 0
	for f := range bytes.FieldsSeq(fields) {
		if i == len(t) {
			break
		}
		t[i] = time.Duration(number(f)) * tick
		i++
	}
	return CPUTimes{t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], t[8], t[9]}
}

// number reads an unsigned decimal; what is none is 0.
func number(b []byte) uint64 {
	n, err := strconv.ParseUint(string(b), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
