package appliance

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/natrix-os/natrix/agent/medium"
)

// BootDir is where partition 1 of the medium is, read-only. The file systems of
// laptops keep no owners: all of it is root's alone.
const BootDir = "/boot"

// mediumPatience is how long a terminal that was booted from a medium waits for
// it: USB sticks take seconds.
const mediumPatience = 10 * time.Second

// mountBoot mounts partition 1 of the medium, if the machine was booted from
// one. It says which it is.
func mountBoot(system medium.System) (disk medium.Disk, slot medium.Slot, err error) {
	slot, present := system.Booted()
	if !present {
		return "", "", nil
	}
	if disk, err = waitForMedium(system, mediumPatience); err != nil {
		return "", slot, err
	}
	device := system.Device(disk, medium.Boot)
	if err := os.MkdirAll(BootDir, 0o700); err != nil {
		return disk, slot, err
	}
	err = unix.Mount(device, BootDir, "vfat", bootFlags|unix.MS_RDONLY, "dmask=0077,fmask=0177")
	if err != nil {
		err = fmt.Errorf("%s on %s: %w", device, BootDir, err)
	}
	return disk, slot, err
}

const bootFlags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// UnlockBoot has BootDir writable while write runs. What was written is on the
// medium when it returns.
func UnlockBoot(write func() error) error {
	if err := lockBoot(false); err != nil {
		return err
	}
	err := write()
	unix.Sync()
	return errors.Join(err, lockBoot(true))
}

// lockBoot has BootDir read-only, or writable.
func lockBoot(lock bool) error {
	flags, what := uintptr(unix.MS_REMOUNT|bootFlags), "writable"
	if lock {
		flags, what = flags|unix.MS_RDONLY, "read-only"
	}
	if err := unix.Mount("", BootDir, "", flags, ""); err != nil {
		return fmt.Errorf("make %s %s: %w", BootDir, what, err)
	}
	return nil
}

// waitForMedium looks for the medium whenever a device has appeared.
func waitForMedium(system medium.System, patience time.Duration) (medium.Disk, error) {
	events, err := openUevents() // first: what appears while we look is not missed
	if err != nil {
		return "", err
	}
	defer events.Close()
	if err := events.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	for {
		disk, err := system.Find()
		if !errors.Is(err, medium.ErrNone) {
			return disk, err
		}
		if _, err := readUevent(events); errors.Is(err, os.ErrDeadlineExceeded) {
			return "", fmt.Errorf("%w, after %v", medium.ErrNone, patience)
		} else if err != nil {
			return "", err
		}
	}
}
