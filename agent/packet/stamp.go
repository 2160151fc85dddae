package packet

import (
	"encoding/binary"
	"time"

	"golang.org/x/sys/unix"
)

// clock reads time as nanoseconds since the engine was opened, on the
// monotonic clock.
type clock struct{ start time.Time }

func newClock() clock { return clock{time.Now()} }

func (c clock) monotonic() int64 { return int64(time.Since(c.start)) }

// offset is wall clock minus engine clock at one moment. Between two moments
// it changes when somebody steps the wall clock, and only then: slewing moves both.
type offset struct {
	ns   int64
	slop int64 // the true value is in [ns, ns+slop]
}

// offset reads both clocks. A thread can lose the CPU between two readings, so
// it takes the tightest of a few.
func (c clock) offset() (int64, offset) {
	var best offset
	var now int64
	for try := range 4 {
		before := c.monotonic()
		wall := time.Now().UnixNano()
		now = c.monotonic()
		if o := (offset{wall - now, now - before}); try == 0 || o.slop < best.slop {
			best = o
		}
		if best.slop < 500 {
			break
		}
	}
	return now, best
}

// stepped reports whether the wall clock was set between the two readings.
func (o offset) stepped(p offset) bool {
	return o.ns+o.slop < p.ns || p.ns+p.slop < o.ns
}

// stamps are the kernel's times of one packet passing the driver, in
// nanoseconds; 0 is unknown. software is on the wall clock, hardware on the
// network card's own.
type stamps struct{ software, hardware int64 }

// moment is when a batch of answers was read.
type moment struct {
	now    int64
	offset offset
}

// departure is when f left, on the wall clock as it was then.
func (f *flight) departure() time.Time { return time.Unix(0, f.sent+f.offset.ns) }

// rtt measures f's round trip, with the best clock that saw both ends of it.
// Kernel stamps are on the wall clock, so they do not count if it was stepped
// meanwhile. A card's clock may be set too, which shows if it says more than
// this process saw, but for the rate of another quartz.
func (f *flight) rtt(arrival stamps, m moment) (time.Duration, Clock) {
	seen := m.now - f.sent
	card := arrival.hardware - f.stamps.hardware
	if f.stamps.hardware != 0 && arrival.hardware != 0 && card >= 0 && card <= seen+seen/1000 {
		return time.Duration(card), Hardware
	}
	if f.stamps.software != 0 && arrival.software >= f.stamps.software && !f.offset.stepped(m.offset) {
		return time.Duration(arrival.software - f.stamps.software), Kernel
	}
	return time.Duration(seen), Monotonic
}

// What sockets ask of the kernel (Documentation/networking/timestamping.rst).
// Stamped packets come back whole rather than as bare stamps, because only
// their own bytes say beyond doubt which packet it was.
const (
	softwareStamps = unix.SOF_TIMESTAMPING_TX_SOFTWARE | unix.SOF_TIMESTAMPING_RX_SOFTWARE | unix.SOF_TIMESTAMPING_SOFTWARE
	hardwareStamps = unix.SOF_TIMESTAMPING_TX_HARDWARE | unix.SOF_TIMESTAMPING_RX_HARDWARE | unix.SOF_TIMESTAMPING_RAW_HARDWARE |
		unix.SOF_TIMESTAMPING_OPT_TX_SWHW
)

// parseStamps reads an SCM_TIMESTAMPING_NEW message: three timespecs of 64-bit
// halves, of which the second is no longer used.
func parseStamps(b []byte) (s stamps) {
	if len(b) < 48 {
		return s
	}
	return stamps{software: timespec(b), hardware: timespec(b[32:])}
}

func timespec(b []byte) int64 {
	return int64(binary.NativeEndian.Uint64(b))*1e9 + int64(binary.NativeEndian.Uint64(b[8:]))
}
