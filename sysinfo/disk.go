package sysinfo

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Space is the room in one mounted file system, in bytes.
type Space struct {
	Total     uint64
	Used      uint64
	Available uint64 // to ordinary users; root may have more
}

// Share is the used fraction, 0 to 1, of what ordinary users can ever have,
// which is how df(1) counts. It is 0 for a file system without a size.
func (s Space) Share() float64 {
	if s.Used+s.Available == 0 {
		return 0
	}
	return float64(s.Used) / float64(s.Used+s.Available)
}

// Space asks for the file system that holds path.
func (m Machine) Space(path string) (Space, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(m.path(path), &st); err != nil {
		return Space{}, fmt.Errorf("space of %s: %w", m.path(path), err)
	}
	unit := uint64(st.Bsize)
	return Space{
		Total:     st.Blocks * unit,
		Used:      (st.Blocks - min(st.Bfree, st.Blocks)) * unit,
		Available: st.Bavail * unit,
	}, nil
}

// Disk is a block device as the machine has it, whole.
type Disk struct {
	Name      string // "mmcblk0", "sda"
	Model     string // as the maker calls it; empty if it does not say
	Serial    string
	Size      uint64 // bytes
	Removable bool
	Type      string // "SD", "MMC"; empty for other disks
	Wear      Wear
}

// Wear is what an eMMC tells of its flash (JEDEC JESD84-B51, 7.4: life time
// estimation and pre-EOL information). SD cards tell nothing of the kind.
type Wear struct {
	Known    bool
	LifeUsed int    // percent, rounded up to 10; 110 means past its estimated life
	Reserve  string // "normal", "warning" (80 % of the spare blocks used) or "urgent" (90 %)
}

// Disks lists the block devices that are hardware, sorted by name.
func (m Machine) Disks() ([]Disk, error) {
	var disks []Disk
	for _, dir := range m.glob("sys/block", "*", "device") {
		if d := m.disk(filepath.Dir(dir)); d.Size > 0 { // 0: a reader without a card
			disks = append(disks, d)
		}
	}
	if len(disks) == 0 {
		return nil, errors.New("no disk in " + m.path("sys/block"))
	}
	return disks, nil
}

func (m Machine) disk(dir string) Disk {
	value := func(file string) string {
		s, _ := m.line(dir, file) // each bus has its own set of files
		return s
	}
	d := Disk{
		Name:      filepath.Base(dir),
		Model:     genuine(value("device/model"), value("device/name")),
		Serial:    genuine(value("device/serial"), value("serial")),
		Removable: value("removable") == "1",
	}
	if sectors, err := strconv.ParseUint(value("size"), 10, 54); err == nil {
		d.Size = sectors * 512 // whatever the device's own sectors are
	}
	if strings.HasPrefix(d.Name, "mmcblk") {
		d.Type = value("device/type")
		d.Wear = parseWear(value("device/life_time"), value("device/pre_eol_info"))
	}
	return d
}

// parseWear reads the two estimates, for the two kinds of cells a card may
// have, in steps of 10 %, and the state of its reserve.
func parseWear(life, eol string) Wear {
	var w Wear
	for f := range strings.FieldsSeq(life) {
		if n, err := strconv.ParseUint(f, 0, 8); err == nil && n > 0 && n <= 11 {
			w.Known, w.LifeUsed = true, max(w.LifeUsed, int(n)*10)
		}
	}
	reserves := [...]string{1: "normal", 2: "warning", 3: "urgent"}
	if n, err := strconv.ParseUint(eol, 0, 8); err == nil && n > 0 && n < uint64(len(reserves)) {
		w.Known, w.Reserve = true, reserves[n]
	}
	return w
}
