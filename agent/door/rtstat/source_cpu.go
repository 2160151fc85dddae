package rtstat

import (
	"math"
	"strconv"
	"time"

	"github.com/natrix-os/natrix/sysinfo"
)

// appendCPU writes the cpu_stat of a push, counted since an earlier reading.
// Processors that have gone are left out; one that did not count is all zeros.
// The original has steal and guests in nothing, waiting for disks in usage, and
// interrupts in both system and iowait.
func appendCPU(b []byte, now, before sysinfo.Stat) []byte {
	earlier := make(map[int]sysinfo.CPUTimes, len(before.Cores))
	for _, c := range before.Cores {
		earlier[c.ID] = c.CPUTimes
	}
	b = append(b, '{')
	for i, c := range now.Cores {
		was, known := earlier[c.ID]
		if !known {
			was = c.CPUTimes
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = append(strconv.AppendInt(append(b, `"cpu`...), int64(c.ID), 10), `":`...)
		b = appendCore(b, c.CPUTimes, was)
	}
	return append(b, '}')
}

func appendCore(b []byte, now, was sysinfo.CPUTimes) []byte {
	user := since(now.User, was.User) + since(now.Nice, was.Nice)
	system := since(now.System, was.System)
	wait := since(now.IOWait, was.IOWait)
	interrupts := since(now.IRQ, was.IRQ) + since(now.SoftIRQ, was.SoftIRQ)
	busy := user + system + wait + interrupts
	total := busy + since(now.Idle, was.Idle)
	for _, v := range []struct {
		name string
		time time.Duration
	}{{`{"usage":`, busy}, {`,"user":`, user}, {`,"system":`, system + interrupts}, {`,"iowait":`, wait + interrupts}} {
		b = append(b, v.name...)
		b = strconv.AppendFloat(b, ratio(v.time, total), 'f', -1, 64)
	}
	return append(b, '}')
}

// since is how much a counter has grown: that of iowait may go back (proc_stat(5)).
func since(now, was time.Duration) time.Duration { return max(0, now-was) }

func ratio(part, whole time.Duration) float64 {
	if whole <= 0 {
		return 0
	}
	return hundredths(float64(part) / float64(whole))
}

func hundredths(v float64) float64 { return math.Round(v*100) / 100 }
