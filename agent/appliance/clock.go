package appliance

import (
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/u-root/u-root/pkg/rtc"
	"golang.org/x/sys/unix"
)

// built is a file of the image with the time of its sources in Unix seconds.
const built = "/etc/natrix/built"

// startClock sets a clock that is behind the time in a file, that of the image
// or the one that was last known, to that, or to the hardware clock if it is
// later. A kernel with the driver of its
// hardware clock built in has set it already.
func startClock(file string) error {
	floor, err := buildTime(file)
	if err != nil || !time.Now().Before(floor) {
		return err
	}
	if hardware, err := readRTC(); err == nil && hardware.After(floor) {
		floor = hardware
	}
	tv := unix.NsecToTimeval(floor.UnixNano())
	return os.NewSyscallError("settimeofday", unix.Settimeofday(&tv))
}

// Built is when the sources of the image are from; long ago on a machine that
// was not booted from one.
func Built() time.Time {
	t, _ := buildTime(built)
	return t
}

// buildTime is the time in a file: long ago without one.
func buildTime(image string) (time.Time, error) {
	b, err := os.ReadFile(image)
	if errors.Is(err, fs.ErrNotExist) {
		return time.Unix(0, 0), nil
	}
	if err != nil {
		return time.Time{}, err
	}
	seconds, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("%s: %w", image, err)
	}
	return time.Unix(seconds, 0), nil
}

func readRTC() (time.Time, error) {
	clock, err := rtc.OpenRTC()
	if err != nil {
		return time.Time{}, err
	}
	defer clock.Close()
	return clock.Read()
}

// kernelClock is the clock of the machine, set and disciplined through
// adjtimex(2).
type kernelClock struct{}

// step adds offset to the clock at once.
func (kernelClock) step(offset time.Duration) error {
	t := stepBy(offset)
	return adjust(&t)
}

func stepBy(offset time.Duration) unix.Timex {
	sec := offset.Truncate(time.Second)
	if offset < sec { // the fraction must not be negative
		sec -= time.Second
	}
	t := unix.Timex{Modes: unix.ADJ_SETOFFSET | unix.ADJ_NANO}
	setLong(&t.Time.Sec, int64(sec/time.Second))
	setLong(&t.Time.Usec, int64(offset-sec)) // nanoseconds, by ADJ_NANO
	return t
}

// slew hands an offset of less than half a second to the kernel's phase-locked
// loop, which the next measurement will reach after interval. It tells the
// kernel that the clock is right to within distance, so that it is written to
// the hardware clock.
func (kernelClock) slew(offset, distance, interval time.Duration) error {
	t := slewBy(offset, distance, interval)
	return adjust(&t)
}

func slewBy(offset, distance, interval time.Duration) unix.Timex {
	t := unix.Timex{
		Modes:  unix.ADJ_OFFSET | unix.ADJ_STATUS | unix.ADJ_NANO | unix.ADJ_TIMECONST | unix.ADJ_MAXERROR | unix.ADJ_ESTERROR,
		Status: unix.STA_PLL, // and so not STA_UNSYNC
	}
	setLong(&t.Offset, int64(offset))
	setLong(&t.Constant, int64(bits.Len(uint(interval/time.Second))-1)) // log2 of seconds; with ADJ_NANO the kernel adds nothing
	setLong(&t.Maxerror, distance.Microseconds())
	setLong(&t.Esterror, offset.Abs().Microseconds())
	return t
}

func adjust(t *unix.Timex) error {
	_, err := unix.Adjtimex(t)
	return os.NewSyscallError("adjtimex", err)
}

// setLong sets a C long, whose size is the machine's.
func setLong[T int32 | int64](p *T, v int64) { *p = T(v) }
