package sysinfo

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestClock(t *testing.T) {
	for name, test := range map[string]struct {
		timex unix.Timex
		state int
		want  Clock
	}{
		"never set": {unix.Timex{Status: unix.STA_UNSYNC, Maxerror: 16_000_000}, unix.TIME_ERROR,
			Clock{MaxError: 16 * time.Second}},
		"just corrected, in nanoseconds": {unix.Timex{Status: unix.STA_PLL | unix.STA_NANO, Offset: -1500, Maxerror: 500}, unix.TIME_OK,
			Clock{Synchronised: true, Offset: -1500, MaxError: 500 * time.Microsecond, Corrected: time.Second}},
		"some time ago": {unix.Timex{Status: unix.STA_PLL, Offset: 3, Maxerror: 300_000}, unix.TIME_OK,
			Clock{Synchronised: true, Offset: 3 * time.Microsecond, MaxError: 300 * time.Millisecond, Corrected: 10 * time.Minute}},
	} {
		if got := clockOf(test.timex, test.state); got != test.want {
			t.Errorf("%s: got %+v, want %+v", name, got, test.want)
		}
	}
}

func TestClockOfThisMachine(t *testing.T) {
	c, err := Machine{}.Clock()
	if err != nil {
		t.Fatal(err)
	}
	if c.MaxError < 0 || c.Offset.Abs() > time.Second {
		t.Errorf("got %+v", c)
	}
}
