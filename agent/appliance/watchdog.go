package appliance

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	biteAfter = 15 * time.Second // as long as the Raspberry Pi's can wait
	feedEvery = 5 * time.Second
)

// dog is the hardware watchdog, which resets the machine when PID 1 is stuck, or
// when the agent is and rebooting in order hangs too
// (Documentation/watchdog/watchdog-api.rst).
type dog struct {
	device  *os.File
	well    func() bool // whether to feed it
	closing chan struct{}
	done    chan struct{}
}

// feed keeps the watchdog from biting until the machine has gone down. It is no
// error to have none.
func (m *machine) feed(device string) error {
	f, err := os.OpenFile(device, os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	well := func() bool {
		_, silence := m.watched().silence()
		return silence < m.silences.reboot+time.Minute
	}
	d := &dog{f, well, make(chan struct{}), make(chan struct{})}
	go d.feed()
	m.mu.Lock()
	m.dog = d
	m.mu.Unlock()
	if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.WDIOC_SETTIMEOUT, int(biteAfter.Seconds())); err != nil {
		return fmt.Errorf("set timeout: %w", err) // it keeps its own, which is rarely shorter
	}
	return nil
}

func (d *dog) feed() {
	defer close(d.done)
	tick := time.NewTicker(feedEvery)
	defer tick.Stop()
	for {
		if d.well() {
			unix.IoctlWatchdogKeepalive(int(d.device.Fd())) // if it fails for good, the watchdog does its work
		}
		select {
		case <-tick.C:
		case <-d.closing:
			return
		}
	}
}

// disarm stops the watchdog, as far as its driver lets it be stopped.
func (m *machine) disarm() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dog == nil {
		return
	}
	close(m.dog.closing)
	<-m.dog.done
	m.dog.device.WriteString("V") // the magic character
	m.dog.device.Close()
	m.dog = nil
}
