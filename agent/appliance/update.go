package appliance

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
	"gopkg.in/ini.v1"

	"github.com/natrix-os/natrix/agent/medium"
	"github.com/natrix-os/natrix/agent/update"
)

// ErrNoMedium is that there are no slots: the machine was booted over the
// network, or from memory.
var ErrNoMedium = errors.New("this machine was booted over the network and has nothing to update: put the new files on the server that it boots from, and restart it")

// Medium is what this machine was booted from, for package update.
func Medium(system medium.System) (update.Medium, error) {
	slot, present := system.Booted()
	if !present {
		return update.Medium{}, ErrNoMedium
	}
	if slot == "" {
		return update.Medium{}, errors.New("the loader did not tell which slot it started")
	}
	disk, err := system.Find()
	if err != nil {
		return update.Medium{}, err
	}
	loader, file := update.Firmware(), filepath.Join(BootDir, medium.AutobootFile)
	if _, err := os.Stat(filepath.Join(BootDir, medium.EnvironmentFile)); err == nil {
		loader, file = update.GRUB(), filepath.Join(BootDir, medium.EnvironmentFile)
	}
	return update.Medium{
		Booted: slot,
		Loader: loader,
		Slot: func(s medium.Slot) (update.Device, error) {
			return openDevice(system.Device(disk, s.Partition()), 0)
		},
		Record: func() (update.Device, error) {
			return openDevice(filepath.Join(system.Dev, string(disk)), medium.RecordSector*medium.SectorSize)
		},
		Choice: func(writable bool) (update.Device, error) {
			if !writable {
				return os.Open(file)
			}
			return openLocked(file)
		},
	}, nil
}

// Tries reports whether this machine can restart for a trial: GRUB has the flag
// in its file; the firmware of the Raspberry Pi has it from the kernel, if that
// is one of the Raspberry Pi's own tree, which alone has this device.
func Tries(m update.Medium) bool {
	_, err := os.Stat("/dev/vcio")
	return m.Loader.InFile || err == nil
}

// device is a disk or partition from a certain byte on.
type device struct {
	*os.File
	start int64
}

func openDevice(path string, start int64) (update.Device, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return device{f, start}, nil
}

func (d device) ReadAt(p []byte, at int64) (int, error)  { return d.File.ReadAt(p, d.start+at) }
func (d device) WriteAt(p []byte, at int64) (int, error) { return d.File.WriteAt(p, d.start+at) }

// Sync has the kernel forget what it wrote, too, so that it is read from the
// medium (posix_fadvise(2)).
func (d device) Sync() error {
	if err := d.File.Sync(); err != nil {
		return err
	}
	return os.NewSyscallError("fadvise", unix.Fadvise(int(d.File.Fd()), 0, 0, unix.FADV_DONTNEED))
}

// locked is a file below BootDir, which is writable until it is closed.
type locked struct{ *os.File }

func openLocked(path string) (update.Device, error) {
	if err := lockBoot(false); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, errors.Join(err, lockBoot(true))
	}
	return locked{f}, nil
}

func (l locked) Close() error { return errors.Join(l.File.Close(), lockBoot(true)) }

// settle says what came of the last update, and watches a slot on trial until
// so long after the kernel's start.
func (m *machine) settle(gate []string, end time.Duration) error {
	slots, err := Medium(medium.Root())
	if errors.Is(err, ErrNoMedium) {
		return nil
	}
	if err != nil {
		return err
	}
	r, err := update.Settle(slots)
	if r.State != update.Untried {
		m.log.Info("update", "last", r)
	}
	if r.State == update.Trial {
		m.wait.Go(func() { m.try(gate, slots, end-sinceBoot()) })
	}
	return errors.Join(err, update.Status{Last: r}.Write(update.StatusFile))
}

// try runs the gate, which keeps the slot and ends with status 0, or else
// restarts the machine, which takes the other one.
func (m *machine) try(gate []string, slots update.Medium, left time.Duration) {
	ctx, cancel := context.WithTimeout(m.ctx, left)
	defer cancel()
	how, err := m.task(ctx, "trial", append(slices.Clone(gate), (left-5*time.Second).String()))
	if err == nil && how == 0 || m.ctx.Err() != nil {
		return
	}
	reason := fmt.Errorf("the trial ended with %s", describe(how))
	if err != nil {
		reason = err
	}
	r, err := slots.Last()
	switch {
	case err == nil && r.Reason != "": // the gate's own
		reason = errors.New(r.Reason)
	case err == nil:
		err = update.Reject(slots, r, reason)
	}
	if err != nil {
		m.log.Error("record the trial", "err", err)
	}
	m.log.Error("this version is not kept: reboot into the other slot", "err", reason)
	m.order(reboot)
}

// install starts the process that installs an update, and restarts the machine
// if it was right. It returns at once.
func (m *machine) install(args []string) error {
	slots, err := Medium(medium.Root())
	if err != nil {
		return err
	}
	if !m.updating.TryLock() {
		return errors.New("an update is under way: status says how far it is")
	}
	m.wait.Go(func() {
		defer m.updating.Unlock()
		how, err := m.task(m.ctx, "update", args)
		if err != nil || how != 0 {
			m.log.Error("no update", "how", describe(how), "err", err)
			return
		}
		if slots.Loader.InFile || !Tries(slots) {
			m.order(reboot)
		} else {
			m.order(tryOut)
		}
	})
	return nil
}

// task runs a process once, whose output goes to the journal.
func (m *machine) task(ctx context.Context, name string, args []string) (unix.WaitStatus, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer r.Close()
	p, err := m.children.start(args, false, null, w, w)
	w.Close()
	if err != nil {
		return 0, fmt.Errorf("start %s: %w", name, err)
	}
	read := make(chan struct{})
	go func() { defer close(read); m.journal.copy(r, func(string) {}) }()
	how := p.end(ctx)
	r.SetReadDeadline(time.Now().Add(time.Second))
	<-read
	return how, nil
}

// UpdateRequest asks for an update.
type UpdateRequest struct {
	Source string // URL or path
	Link   string // to download through; "" as the routes say
	Force  bool   // see [update.Order]
}

// String is the request in one word.
func (r UpdateRequest) String() string {
	return url.Values{"source": {r.Source}, "link": {r.Link}, "force": {strconv.FormatBool(r.Force)}}.Encode()
}

// ParseUpdateRequest reads what String has written.
func ParseUpdateRequest(s string) (UpdateRequest, error) {
	v, err := url.ParseQuery(s)
	if err != nil || v.Get("source") == "" {
		return UpdateRequest{}, fmt.Errorf("%q asks for no update", s)
	}
	return UpdateRequest{Source: v.Get("source"), Link: v.Get("link"), Force: v.Get("force") == "true"}, nil
}

// Running is the version that runs, by os-release(5) and the time of its sources.
func Running() (update.Running, error) {
	release, err := ini.Load("/etc/os-release")
	if err != nil {
		return update.Running{}, err
	}
	value := func(name string) string { return release.Section("").Key(name).String() }
	return update.Running{Board: value("VARIANT_ID"), Version: value("VERSION_ID"), Built: Built()}, nil
}
