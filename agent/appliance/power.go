package appliance

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/natrix-os/natrix/agent/update"
)

// order is how the machine is to go down, as the control socket spells it.
type order string

const (
	reboot   order = "reboot"
	powerOff order = "poweroff"
	tryOut   order = "reboot on trial" // which the firmware of a Raspberry Pi has to be told
)

// bySignal has the signals that mean the same to busybox's init, besides those
// of the kernel: SIGINT is Ctrl-Alt-Del, SIGPWR a failing power supply.
var bySignal = map[os.Signal]order{
	unix.SIGTERM: reboot,
	unix.SIGINT:  reboot,
	unix.SIGUSR1: powerOff,
	unix.SIGUSR2: powerOff,
	unix.SIGPWR:  powerOff,
}

// shutDown ends everything and stops the machine: first the services, which
// may finish what they are at, then every other process, then the disks. It
// returns only if the kernel refuses.
func (m *machine) shutDown(o order) error {
	m.log.Info(string(o))
	within(2*patience, m.retire)
	m.stop()
	within(2*patience, m.wait.Wait)
	for _, s := range [...]unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		unix.Kill(-1, s)
		within(2*time.Second, m.children.drain)
	}
	for _, s := range m.screens {
		within(time.Second, s.flush)
	}
	m.disarm()
	unix.Sync()
	unmountDisks()
	return fmt.Errorf("%s: %w", o, os.NewSyscallError("reboot", o.do()))
}

// do returns only if the kernel refuses.
func (o order) do() error {
	switch o {
	case powerOff:
		return unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	case tryOut:
		argument, err := unix.BytePtrFromString(update.TrialArgument)
		if err != nil {
			return err
		}
		_, _, errno := unix.Syscall6(unix.SYS_REBOOT, unix.LINUX_REBOOT_MAGIC1, unix.LINUX_REBOOT_MAGIC2,
			unix.LINUX_REBOOT_CMD_RESTART2, uintptr(unsafe.Pointer(argument)), 0, 0)
		return errno
	}
	return unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}

// within gives f a while. What takes longer is left behind: nothing may keep
// the machine from going down.
func within(d time.Duration, f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(d):
	}
}

// unmountDisks unmounts what is on a device, the latest first, or else makes it
// read-only.
func unmountDisks() {
	b, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return
	}
	lines := slices.Collect(strings.Lines(string(b)))
	for _, line := range slices.Backward(lines) {
		fields := strings.Fields(line)
		if len(fields) < 2 || !strings.HasPrefix(fields[0], "/dev/") {
			continue
		}
		if unix.Unmount(fields[1], 0) != nil {
			unix.Mount("", fields[1], "", unix.MS_REMOUNT|unix.MS_RDONLY, "")
		}
	}
}
