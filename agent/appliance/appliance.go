// Package appliance is natrix as PID 1 of a machine that runs nothing else. It
// makes the machine usable, starts the network and the agent as processes of
// their own and restarts them when they end, offers the shell on each console,
// and takes the machine down in order. Nothing of it runs on an ordinary machine.
//
// What PID 1 does not do is part of the design: it parses nothing that comes
// from a network, because a panic of PID 1 is one of the kernel.
package appliance

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/natrix-os/natrix/agent/config"
	"github.com/natrix-os/natrix/agent/medium"
)

// Config says what the machine is to run. Arguments are those of this same
// program, without its name.
type Config struct {
	// Settings reads the settings. It is called once, when the file systems and
	// [BootDir] are there, and what it returns is used even if there is an error.
	Settings func() (config.Config, error)

	Network []string // the process that calls Network
	Agent   []string // the agent
	Shell   []string // the shell; the name of its console, such as ttyS0, is appended

	// Update installs what is asked for, which is appended, and Trial lets a slot
	// on trial through or not, within the time that is appended. Both end with
	// status 0 if all is well, and the machine is restarted after the first, or
	// else after the second.
	Update, Trial []string

	// Data makes or mends the data partition of the medium, and mounts it.
	Data []string
}

// Run is the life of PID 1, from the kernel to power-off or reboot. Whatever
// fails is logged, and the rest goes on. It returns if ctx ends or if the kernel
// refuses to stop the machine; the kernel panics then.
func Run(ctx context.Context, c Config) error {
	at := sinceBoot()
	signals := make(chan os.Signal, 16) // before anything can be sent
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGPWR, unix.SIGUSR1, unix.SIGUSR2)

	journal := newJournal()
	log := slog.New(slog.NewTextHandler(journal, nil))
	try := func(what string, err error) {
		if err != nil {
			log.Error(what, "err", err)
		}
	}
	try("mount", mountAll())
	try("start the clock", startClock(built))
	logPhase(log, "init", at)
	try("quieten the kernel", quietKernel("/proc/sys/kernel/printk"))
	try("keep Ctrl-Alt-Del from resetting", unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF))
	try("name the host", nameHost(""))
	try("set PATH", os.Setenv("PATH", "/bin:/sbin:/usr/bin:/usr/sbin"))

	m := newMachine(ctx, journal, log)
	m.update = c.Update
	m.openScreens()
	try("listen", m.listen(Socket))
	try("listen for the agent", m.hear(notifySocket))
	started := make(chan struct{})
	m.wait.Go(func() {
		defer close(started)
		m.start(c, try)
	})
	// The agent's work begins sooner when the shells do not start at the same
	// time. They do not wait for long, as they are needed most if it hangs.
	select {
	case <-started:
	case <-time.After(2 * time.Second):
	}
	m.keepShells(c.Shell)

	for {
		select {
		case s := <-signals:
			if o, ok := bySignal[s]; ok {
				return m.shutDown(o)
			}
		case o := <-m.orders:
			return m.shutDown(o)
		case <-ctx.Done():
			m.close()
			return fmt.Errorf("PID 1 ends: %w", context.Cause(ctx))
		}
	}
}

// start gets the machine to where its services run. The settings are on the
// medium, whose driver may be a module.
func (m *machine) start(c Config, try func(what string, err error)) {
	try("load modules", loadModules("/lib/modules/load"))
	disk, slot, err := mountBoot(medium.Root())
	try("open the medium", err)
	if disk != "" {
		logPhase(m.log, "medium", sinceBoot(), "disk", disk, "slot", slot)
	}
	all, err := c.Settings()
	try("read the settings", err)
	settings := all.Appliance
	if disk != "" {
		c.Agent = append(slices.Clone(c.Agent), m.openData(disk, c.Data, try)...)
		try("settle the last update", m.settle(c.Trial, all.Update.Trial))
	}
	try("name the host", nameHost(settings.Hostname))
	if settings.Watchdog {
		try("watchdog", m.feed("/dev/watchdog"))
	}
	try("loopback", bringUp("lo"))
	try("wait for entropy", waitForEntropy())
	m.keep("network", c.Network)
	m.keep("agent", c.Agent)
	if settings.Watchdog {
		m.wait.Go(m.guard)
	}
	logPhase(m.log, "services", sinceBoot())
}

// openData returns what the agent is told of the data partition.
func (m *machine) openData(disk medium.Disk, prepare []string, try func(what string, err error)) []string {
	if err := m.mountData(medium.Root(), disk, prepare); err != nil {
		m.log.Warn("data is kept in memory alone", "err", err)
		return nil
	}
	try("start the clock", startClock(clockFile))
	m.wait.Go(m.keepTime)
	logPhase(m.log, "data", sinceBoot())
	return []string{"--state-directory", DataDir}
}

// logPhase logs a milestone of the boot and how long after the kernel's start,
// in seconds, it was reached.
func logPhase(log *slog.Logger, phase string, at time.Duration, args ...any) {
	args = append([]any{"phase", phase}, args...)
	log.Info("boot", append(args, "at", strconv.FormatFloat(at.Seconds(), 'f', 3, 64))...)
}

// sinceBoot is 0 if the kernel does not tell.
func sinceBoot() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
