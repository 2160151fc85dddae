package sysinfo

import (
	"strconv"
	"strings"
	"time"
)

// Load is the number of tasks that run or wait for a disk, averaged over 1, 5
// and 15 minutes.
type Load struct {
	One, Five, Fifteen float64
	Tasks              int // threads there are
}

// Load reads /proc/loadavg.
func (m Machine) Load() (Load, error) {
	s, err := m.line("proc/loadavg")
	if err != nil {
		return Load{}, err
	}
	l, ok := parseLoad(s)
	if !ok {
		return Load{}, unreadable(m, "three averages", "proc/loadavg")
	}
	return l, nil
}

func parseLoad(s string) (Load, bool) {
	f := strings.Fields(s)
	if len(f) < 3 {
		return Load{}, false
	}
	var l Load
	for i, avg := range []*float64{&l.One, &l.Five, &l.Fifteen} {
		var ok bool
		if *avg, ok = decimal(f[i]); !ok {
			return Load{}, false
		}
	}
	if len(f) > 3 {
		_, tasks, _ := strings.Cut(f[3], "/")
		l.Tasks, _ = strconv.Atoi(tasks)
	}
	return l, true
}

// Uptime reads how long the kernel has run, to a hundredth of a second.
func (m Machine) Uptime() (time.Duration, error) {
	s, err := m.line("proc/uptime")
	if err != nil {
		return 0, err
	}
	up, _, _ := strings.Cut(s, " ")
	seconds, ok := decimal(up)
	if !ok {
		return 0, unreadable(m, "uptime", "proc/uptime")
	}
	return time.Duration(seconds * float64(time.Second)).Round(10 * time.Millisecond), nil
}

// decimal reads a number that is finite and not negative, and small enough to
// be a time in nanoseconds.
func decimal(s string) (float64, bool) {
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil && f >= 0 && f < 9e9
}
