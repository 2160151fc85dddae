package sysinfo

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestUsage(t *testing.T) {
	const s = time.Second
	for _, tt := range []struct {
		name           string
		earlier, later CPUTimes
		want           Usage
	}{
		{"half idle", CPUTimes{User: s, Idle: s}, CPUTimes{User: 2 * s, Idle: 2 * s}, Usage{Busy: .5, User: .5}},
		{"stolen time is busy", CPUTimes{}, CPUTimes{User: s, Steal: s, Idle: 2 * s}, Usage{Busy: .5, User: .25, Steal: .25}},
		{"a guest is counted once", CPUTimes{}, CPUTimes{User: 2 * s, Guest: 2 * s, Idle: 2 * s}, Usage{Busy: .5, User: .5}},
		{"waiting is not busy", CPUTimes{}, CPUTimes{IOWait: s, Idle: 3 * s}, Usage{IOWait: .25}},
		{"interrupts are the system's", CPUTimes{}, CPUTimes{System: s, IRQ: s, SoftIRQ: s, Idle: s}, Usage{Busy: .75, System: .75}},
		{"iowait goes backwards", CPUTimes{IOWait: 5 * s}, CPUTimes{IOWait: 4 * s, User: s, Idle: s}, Usage{Busy: .5, User: .5}},
		{"off line", CPUTimes{User: s}, CPUTimes{User: s}, Usage{}},
	} {
		if got := tt.later.Usage(tt.earlier); got != tt.want {
			t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

// A core that went off line is missing from /proc/stat; its number stays its own.
func TestStatOfOffLineCore(t *testing.T) {
	s, ok := parseStat([]byte("cpu  3 0 0 3 0 0 0 0 0 0\ncpu0 1 0 0 1 0 0 0 0 0 0\ncpu2 2 0 0 2 0 0 0 0 0 0\n"))
	if !ok || len(s.Cores) != 2 || s.Cores[1].ID != 2 || s.Cores[1].User != 20*time.Millisecond {
		t.Errorf("got %+v, want cores 0 and 2", s.Cores)
	}
}

func TestStatOf128Cores(t *testing.T) {
	// 500 days of uptime: the sum over the cores is more than a Duration holds.
	const ticks = int64(500 * 24 * 3600 * 100)
	stat := func(more int64) Stat {
		var b strings.Builder
		fmt.Fprintf(&b, "cpu  %d 0 0 %d 0 0 0 0 0 0\n", 128*more, 128*(ticks+3*more))
		for i := range 128 {
			fmt.Fprintf(&b, "cpu%d %d 0 0 %d 0 0 0 0 0 0\n", i, more, ticks+3*more)
		}
		s, ok := parseStat([]byte(b.String()))
		if !ok {
			t.Fatal("no cpu line found")
		}
		return s
	}
	earlier, later := stat(0), stat(100)
	if len(later.Cores) != 128 || later.Cores[127].ID != 127 {
		t.Errorf("got %d cores, want 128", len(later.Cores))
	}
	if got, want := later.Total.Usage(earlier.Total), (Usage{Busy: .25, User: .25}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestStatOfOldKernel(t *testing.T) {
	// Linux 2.6.0 had seven columns.
	s, ok := parseStat([]byte("cpu 1 2 3 4 5 6 7\nbtime 1557980000\n"))
	want := CPUTimes{User: tick, Nice: 2 * tick, System: 3 * tick, Idle: 4 * tick, IOWait: 5 * tick, IRQ: 6 * tick, SoftIRQ: 7 * tick}
	if !ok || s.Total != want || s.Boot.Unix() != 1557980000 {
		t.Errorf("got %+v, %v, want %+v", s, ok, want)
	}
}

// cpu1 is unplugged, cpu2 plugged in, and cpu3 stands still between two readings.
func TestCoreUsagesOfCoresThatComeAndGo(t *testing.T) {
	read := func(text string) Stat {
		s, ok := parseStat([]byte(text))
		if !ok {
			t.Fatalf("no cpu line in %q", text)
		}
		return s
	}
	earlier := read("cpu 0 0 0 0\ncpu0 10 0 0 10\ncpu1 5 0 0 5\ncpu3 7 0 0 7\n")
	later := read("cpu 0 0 0 0\ncpu0 11 0 0 13\ncpu2 1 0 0 1\ncpu3 7 0 0 7\n")
	want := []CoreUsage{{0, Usage{Busy: .25, User: .25}}, {3, Usage{}}}
	if got := later.CoreUsages(earlier); !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
