package appliance

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	diskfile "github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/ext4"
	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"github.com/natrix-os/natrix/agent/medium"
)

// DataDir is where the data partition of the medium is, if it has one: results
// that wait for the server, the history of the shells, the time. A terminal
// without it works as well, and forgets all that when its power goes.
const DataDir = "/data"

// The size of a data partition, in sectors: what is left on the medium, if that
// is worth it, but no more than anybody needs. Less to make is less to wait for.
const (
	leastData = 32 << 11
	mostData  = 256 << 11
)

// dataFlags: nothing on it is run, and reading it writes nothing.
const dataFlags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME

// mountData mounts the data partition. One that was made before and is sound
// takes the kernel milliseconds, with what its journal has to mend; the rest is
// left to the process by prepare, as it is more than PID 1 should do itself.
func (m *machine) mountData(system medium.System, disk medium.Disk, prepare []string) error {
	if err := os.MkdirAll(DataDir, 0o700); err != nil {
		return err
	}
	device := system.Device(disk, medium.Data)
	if sound(device) && mountExt4(device) == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(m.ctx, time.Minute)
	defer cancel()
	how, err := m.task(ctx, "data", prepare)
	if err != nil {
		return err
	}
	if how != 0 {
		return fmt.Errorf("no data partition: %s", describe(how))
	}
	return nil
}

func mountExt4(device string) error {
	err := unix.Mount(device, DataDir, "ext4", dataFlags, "errors=remount-ro")
	if err != nil {
		return fmt.Errorf("%s on %s: %w", device, DataDir, err)
	}
	return os.Chmod(DataDir, 0o700)
}

// ErrNoRoom is that the medium has nothing left for data.
var ErrNoRoom = errors.New("the medium has no room for a data partition")

// PrepareData makes the data partition, or mends it, and mounts it. There is no
// e2fsck on an appliance. What the kernel's journal cannot mend is made anew,
// with the files that can still be read.
func PrepareData(system medium.System) (done string, err error) {
	disk, err := system.Find()
	if err != nil {
		return "", err
	}
	device := system.Device(disk, medium.Data)
	if _, err := os.Stat(device); errors.Is(err, fs.ErrNotExist) {
		if err := addPartition(system, disk); err != nil {
			return "", err
		}
		return "made", errors.Join(format(device), mountExt4(device))
	}
	if !system.HasData(disk) {
		return "", fmt.Errorf("%s is not a data partition of ours, and is left alone", device)
	}
	saved := salvage(device)
	if err := format(device); err != nil {
		return "", err
	}
	if err := mountExt4(device); err != nil {
		return "", err
	}
	for name, content := range saved {
		path := filepath.Join(DataDir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, content, 0o600)); err != nil {
			return "made anew", err
		}
	}
	return fmt.Sprintf("made anew, with %d files of the old one", len(saved)), nil
}

// The superblock of ext4 is at byte 1024; of its fields we read the magic
// number, and the state, in which the kernel notes that it found errors
// (Documentation/filesystems/ext4/super.rst).
const (
	superblock  = 1024
	superMagic  = 0x38
	superState  = 0x3a
	magicNumber = 0xef53
	stateErrors = 2
)

// sound reports whether there is a file system without errors that are known.
func sound(device string) bool {
	f, err := os.Open(device)
	if err != nil {
		return false
	}
	defer f.Close()
	var b [4]byte
	if _, err := f.ReadAt(b[:], superblock+superMagic); err != nil {
		return false
	}
	return binary.LittleEndian.Uint16(b[:]) == magicNumber && binary.LittleEndian.Uint16(b[superState-superMagic:])&stateErrors == 0
}

// addPartition puts partition 4 into the table, in one write of its sector, and
// tells the kernel.
func addPartition(system medium.System, disk medium.Disk) error {
	sectors, err := diskSectors(system, disk)
	if err != nil {
		return err
	}
	size := min(sectors-medium.End, mostData)
	if size < leastData {
		return ErrNoRoom
	}
	f, err := os.OpenFile(filepath.Join(system.Dev, string(disk)), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	mbr := make([]byte, medium.SectorSize)
	if _, err := f.ReadAt(mbr, 0); err != nil {
		return err
	}
	if err := medium.AddData(mbr, uint32(size)); err != nil {
		return err
	}
	if _, err := f.WriteAt(mbr, 0); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return tellKernel(f, size)
}

// tellKernel adds partition 4 to those of an open disk (linux/blkpg.h).
func tellKernel(disk *os.File, sectors int64) error {
	p := unix.BlkpgPartition{Start: medium.End * medium.SectorSize, Length: sectors * medium.SectorSize, Pno: medium.Data}
	return addToKernel(disk, &p)
}

func diskSectors(system medium.System, disk medium.Disk) (int64, error) {
	b, err := os.ReadFile(filepath.Join(system.Sys, "block", string(disk), "size"))
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
}

// format makes a file system with a journal on the whole device.
func format(device string) error {
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Seek(0, 2)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(make([]byte, 4096), 0); err != nil { // half a file system must not look like one
		return err
	}
	if _, err := ext4.Create(diskfile.New(f, false), size, 0, medium.SectorSize, &ext4.Params{VolumeName: "natrix"}); err != nil {
		return fmt.Errorf("make a file system on %s: %w", device, err)
	}
	return f.Sync()
}

// The most that is carried over from a file system that is given up, in bytes.
const (
	mostSaved     = 16 << 20
	mostSavedFile = 8 << 20
)

// salvage reads what it can of a file system with errors, without its journal.
func salvage(device string) map[string][]byte {
	saved := make(map[string][]byte)
	if unix.Mount(device, DataDir, "ext4", dataFlags|unix.MS_RDONLY, "noload") != nil {
		return saved
	}
	defer unix.Unmount(DataDir, 0)
	left := int64(mostSaved)
	filepath.WalkDir(DataDir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil // what cannot be read is lost
		}
		name, err := filepath.Rel(DataDir, path)
		if err != nil {
			return nil
		}
		info, err := d.Info()
		if err != nil || info.Size() > min(left, mostSavedFile) {
			return nil
		}
		if content, err := os.ReadFile(path); err == nil {
			saved[name] = content
			left -= int64(len(content))
		}
		return nil
	})
	return saved
}

// clockFile has the time that was last known, in Unix seconds.
const clockFile = DataDir + "/clock"

// keepTime notes the time now and then, for a machine without a hardware clock
// to start with: once an hour, which is no wear.
func (m *machine) keepTime() {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			m.noteTime()
		case <-m.ctx.Done():
			m.noteTime()
			return
		}
	}
}

// noteTime notes the time if it is right: a wrong one would be believed for good.
func (m *machine) noteTime() {
	var t unix.Timex
	if _, err := unix.Adjtimex(&t); err != nil || t.Status&unix.STA_UNSYNC != 0 {
		return
	}
	if err := renameio.WriteFile(clockFile, []byte(fmt.Sprintln(time.Now().Unix())), 0o600); err != nil {
		m.log.Warn("note the time", "err", err)
	}
}
