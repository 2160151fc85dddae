package flash

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/natrix-os/natrix/agent/medium"
	"golang.org/x/sys/unix"
)

// Disk is what an image may be written to.
type Disk struct {
	Path       string
	Name       string // the kernel's: sdb, mmcblk0; of a file its base name
	Model      string // "" if the kernel does not know
	Transport  string // usb, sd card, nvme, sata, virtio, loop, file; "" if unknown
	Size       int64  // bytes
	Block      bool   // it is a device, rather than a file
	Partitions []Partition
}

// Partition is one that will be gone.
type Partition struct {
	Name  string // sdb1; sdb:1 if only the disk's table has it; sdb for a file system on the whole disk
	Size  int64  // bytes
	Kind  string // fat, ext, ...; "" if unknown
	Label string
}

// System is where the kernel shows its disks; its zero value is nowhere.
type System medium.System

// Inspect finds out about the disk at path, and that it may be erased: the
// error says why not.
func (s System) Inspect(path string) (Disk, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return Disk{}, fmt.Errorf("%s: %w", path, err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		d := Disk{Path: path, Name: filepath.Base(path), Transport: "file", Size: st.Size}
		d.Partitions = describe(d, nil)
		return d, nil
	case unix.S_IFBLK:
		return s.inspect(path, number64(st.Rdev))
	}
	return Disk{}, fmt.Errorf("%s is neither a disk nor a file", path)
}

// number64 is a device's number as the kernel writes it: 8:16.
func number64(device uint64) string {
	return fmt.Sprintf("%d:%d", unix.Major(device), unix.Minor(device))
}

func (s System) inspect(path, number string) (Disk, error) {
	dir, err := filepath.EvalSymlinks(filepath.Join(s.Sys, "dev/block", number))
	if err != nil {
		return Disk{}, fmt.Errorf("%s: the kernel does not know this disk: %w", path, err)
	}
	d := Disk{Path: path, Name: filepath.Base(dir), Block: true}
	if _, err := os.Stat(filepath.Join(dir, "partition")); err == nil {
		whole := filepath.Join(s.Dev, filepath.Base(filepath.Dir(dir)))
		return Disk{}, fmt.Errorf("%s is one partition of a disk: an image takes a whole disk, such as %s", path, whole)
	}
	if word(dir, "ro") == "1" {
		return Disk{}, fmt.Errorf("%s cannot be written to: look for the slider on the card, or its adapter", path)
	}
	sectors, _ := strconv.ParseInt(word(dir, "size"), 10, 64) // none is no medium, below
	if d.Size = sectors * medium.SectorSize; d.Size == 0 {
		return Disk{}, fmt.Errorf("%s has no medium in it", path)
	}
	parts := partitions(dir)
	if err := s.idle(path, dir, parts); err != nil {
		return Disk{}, err
	}
	d.Model = strings.TrimSpace(word(dir, "device/vendor") + " " + firstOf(word(dir, "device/model"), word(dir, "device/name")))
	d.Transport = transport(dir)
	d.Partitions = describe(d, parts)
	return d, nil
}

// word is the content of a file of sysfs, "" if it is not there.
func word(dir, name string) string {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	return strings.Join(strings.Fields(string(b)), " ")
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// partitions are the directories of a disk's partitions.
func partitions(dir string) []string {
	files, _ := filepath.Glob(filepath.Join(dir, "*/partition")) // the pattern is right
	for i := range files {
		files[i] = filepath.Dir(files[i])
	}
	number := func(dir string) int { n, _ := strconv.Atoi(word(dir, "partition")); return n }
	slices.SortFunc(files, func(a, b string) int { return number(a) - number(b) })
	return files
}

// transport is how a disk is connected, by where in sysfs it is.
func transport(dir string) string {
	for _, t := range []struct{ part, name string }{
		{"/usb", "usb"}, {"/mmc", "sd card"}, {"/nvme", "nvme"}, {"/ata", "sata"}, {"/virtio", "virtio"}, {"/loop", "loop"}, {"/nbd", "network"},
	} {
		if strings.Contains(dir, t.part) {
			return t.name
		}
	}
	return ""
}

// idle returns an error unless nobody uses the disk or a partition of it.
func (s System) idle(path, dir string, parts []string) error {
	if booted, ok := s.medium(); ok && booted == filepath.Base(dir) {
		return fmt.Errorf("%s is the medium that this terminal was booted from: use natrix update", path)
	}
	mounts, swaps, err := s.used()
	if err != nil {
		return err
	}
	for _, part := range append([]string{dir}, parts...) {
		name, number := filepath.Base(part), word(part, "dev")
		if holders, _ := os.ReadDir(filepath.Join(part, "holders")); len(holders) > 0 {
			return fmt.Errorf("%s is in use: %s is a part of %s (LVM, RAID, encryption)", path, name, holders[0].Name())
		}
		if at := firstOf(mounts[number], mounts[filepath.Join(s.Dev, name)]); at == "/" {
			return fmt.Errorf("%s is the disk that this system runs from", path)
		} else if at != "" {
			return fmt.Errorf("%s is in use: %s is mounted on %s; umount %s", path, name, at, at)
		}
		if swaps[filepath.Join(s.Dev, name)] {
			return fmt.Errorf("%s is in use: %s is swap; swapoff %s", path, name, filepath.Join(s.Dev, name))
		}
	}
	return nil
}

// medium is the disk that an appliance was booted from.
func (s System) medium() (string, bool) {
	m := medium.System(s)
	if _, present := m.Booted(); !present {
		return "", false
	}
	disk, err := m.Find()
	return string(disk), err == nil
}

// used returns where file systems are mounted, by their device's number and by
// its path (Btrfs has a number that no disk has), and what is swap
// (proc_pid_mountinfo(5), proc_swaps(5)).
func (s System) used() (mounts map[string]string, swaps map[string]bool, err error) {
	mounts, swaps = make(map[string]string), make(map[string]bool)
	add := func(key, at string) {
		if mounts[key] != "/" { // which is the one to name
			mounts[key] = at
		}
	}
	err = lines(filepath.Join(s.Proc, "self/mountinfo"), func(fields []string) {
		if len(fields) < 6 {
			return
		}
		add(fields[2], fields[4])
		if dash := slices.Index(fields, "-"); dash > 0 && dash+2 < len(fields) {
			add(fields[dash+2], fields[4])
		}
	})
	if err != nil {
		return nil, nil, fmt.Errorf("find out what is mounted: %w", err)
	}
	err = lines(filepath.Join(s.Proc, "swaps"), func(fields []string) {
		if len(fields) > 0 {
			swaps[fields[0]] = true
		}
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) { // a kernel without swap
		return nil, nil, fmt.Errorf("find out what is swap: %w", err)
	}
	return mounts, swaps, nil
}

func lines(name string, each func(fields []string)) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	scanner := bufio.NewScanner(f)
	for scanner.Scan() {
		each(strings.Fields(scanner.Text()))
	}
	return scanner.Err()
}

// open opens the disk for writing. O_EXCL makes the kernel refuse one that
// anything else has a claim to, whatever this package has looked at.
func (d Disk) open() (*os.File, error) {
	flags := os.O_RDWR
	if d.Block {
		flags |= unix.O_EXCL
	}
	f, err := os.OpenFile(d.Path, flags, 0)
	if errors.Is(err, unix.EBUSY) {
		return nil, fmt.Errorf("%s is in use: %w", d.Path, err)
	}
	return f, err
}

// reread has the kernel read the disk's partition table. One that has no
// partitions, as a loop device may be, is right as it is.
func (d Disk) reread(f *os.File) error {
	if err := f.Sync(); err != nil || !d.Block {
		return err
	}
	err := unix.IoctlSetInt(int(f.Fd()), unix.BLKRRPART, 0)
	if err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("%s is written, but the kernel does not read its partitions: %w; take it out and put it in again", d.Path, err)
	}
	return nil
}

// Fits returns an error unless the image has room on the disk.
func (d Disk) Fits(i *Image) error {
	if d.Size < i.Size {
		return fmt.Errorf("%s is too small: it has %d bytes, the image needs %d", d.Path, d.Size, i.Size)
	}
	return nil
}
