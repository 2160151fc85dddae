package sysinfo

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Clock says how far the wall clock can be trusted, as the kernel knows it from
// whoever keeps it right: NTP, PTP or natrix itself (adjtimex(2)).
type Clock struct {
	Synchronised bool          // somebody keeps it right
	Offset       time.Duration // still to be corrected
	MaxError     time.Duration // how wrong it can be; grows by 0.5 ms a second until it is corrected again
	Corrected    time.Duration // how long ago it was corrected at most, by the growth of MaxError; 0 unless Synchronised
}

// driftBound is how fast the kernel has MaxError grow: 500 ppm (MAXFREQ in
// kernel/time/ntp.c).
const driftBound = 500e-6

// Clock reads the state of the wall clock.
func (Machine) Clock() (Clock, error) {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil {
		return Clock{}, os.NewSyscallError("adjtimex", err)
	}
	return clockOf(t, state), nil
}

func clockOf(t unix.Timex, state int) Clock {
	unit := time.Microsecond
	if t.Status&unix.STA_NANO != 0 {
		unit = time.Nanosecond
	}
	c := Clock{
		Synchronised: state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0,
		Offset:       time.Duration(t.Offset) * unit,
		MaxError:     time.Duration(t.Maxerror) * time.Microsecond,
	}
	if c.Synchronised {
		c.Corrected = time.Duration(float64(c.MaxError) / driftBound).Round(time.Second)
	}
	return c
}
