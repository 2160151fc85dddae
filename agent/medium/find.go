package medium

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// ErrNone is that no disk of this machine is the medium.
var ErrNone = errors.New("no disk has the partitions of natrix")

// System is where the kernel shows its disks; the zero value is nowhere.
type System struct {
	Sys, Dev, Proc string // /sys, /dev and /proc
}

// Root is the running system.
func Root() System { return System{Sys: "/sys", Dev: "/dev", Proc: "/proc"} }

// Disk is a medium that was found, by the kernel's name: mmcblk0, sda.
type Disk string

// Find returns the medium, the first in the order of names if there are
// several. Disks take a while to appear: the kernel announces each (a uevent of
// the subsystem block), and then is the time to look again.
func (s System) Find() (Disk, error) {
	names, err := filepath.Glob(filepath.Join(s.Sys, "block/*"))
	if err != nil {
		return "", err
	}
	slices.Sort(names)
	for _, name := range names {
		disk := Disk(filepath.Base(name))
		if s.has(disk, Boot, BootStart) && s.signed(disk) {
			return disk, nil
		}
	}
	return "", ErrNone
}

// has reports whether a disk has the partition at that place.
func (s System) has(disk Disk, partition int, start int64) bool {
	b, err := os.ReadFile(filepath.Join(s.Sys, "block", string(disk), disk.name(partition), "start"))
	return err == nil && strings.TrimSpace(string(b)) == fmt.Sprint(start)
}

// signed reports whether the disk's MBR is ours.
func (s System) signed(disk Disk) bool {
	f, err := os.Open(filepath.Join(s.Dev, string(disk)))
	if err != nil {
		return false
	}
	defer f.Close()
	var mbr [SectorSize]byte
	if _, err := io.ReadFull(f, mbr[:]); err != nil {
		return false
	}
	return binary.LittleEndian.Uint32(mbr[440:]) == DiskID
}

// Device is the path of a partition's device.
func (s System) Device(disk Disk, partition int) string {
	return filepath.Join(s.Dev, disk.name(partition))
}

// name is what the kernel calls a partition: sda1, mmcblk0p1, nvme0n1p1.
func (d Disk) name(partition int) string {
	if last := d[len(d)-1]; last >= '0' && last <= '9' {
		return fmt.Sprintf("%sp%d", d, partition)
	}
	return fmt.Sprintf("%s%d", d, partition)
}

// Booted returns the slot that runs. Without one, the terminal was booted over
// the network or from memory, and there is no medium to wait for: present is
// false then. A slot that is "" is one that nobody told.
func (s System) Booted() (slot Slot, present bool) {
	cmdline, err := os.ReadFile(filepath.Join(s.Proc, "cmdline"))
	if err != nil {
		return "", false
	}
	for word := range strings.FieldsSeq(string(cmdline)) {
		name, value, _ := strings.Cut(word, "=")
		if name != SlotWord {
			continue
		}
		present, slot = true, Slot(value)
	}
	if slot != A && slot != B {
		slot = s.firmwareSlot()
	}
	return slot, present
}

// firmwareSlot is what the Raspberry Pi's firmware booted: a number of 32 bits,
// most significant byte first.
func (s System) firmwareSlot() Slot {
	b, err := os.ReadFile(filepath.Join(s.Proc, "device-tree/chosen/bootloader/partition"))
	if err != nil || len(b) != 4 {
		return ""
	}
	slot, _ := slotOf(int(binary.BigEndian.Uint32(b)))
	return slot
}
