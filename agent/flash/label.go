package flash

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/partition"
	"github.com/natrix-os/natrix/agent/medium"
)

// describe says what is in a disk: by the partitions that the kernel has made of
// it, at these directories of sysfs, else by its own table, which the kernel may
// not know how to read, else by the file system on the whole of it. A disk that
// cannot be read is described without labels: whoever may not read it may not
// write to it either.
func describe(d Disk, parts []string) []Partition {
	f, err := os.Open(d.Path)
	if err != nil {
		f = nil
	} else {
		defer f.Close()
	}
	var all []Partition
	for _, part := range parts {
		start, _ := strconv.ParseInt(word(part, "start"), 10, 64) // the kernel writes numbers
		sectors, _ := strconv.ParseInt(word(part, "size"), 10, 64)
		all = append(all, known(f, filepath.Base(part), start*medium.SectorSize, sectors*medium.SectorSize))
	}
	if len(all) == 0 && f != nil {
		all = tabled(f, d.Name)
	}
	if whole := known(f, d.Name, 0, d.Size); len(all) == 0 && whole.Kind != "" {
		return []Partition{whole}
	}
	return all
}

// tabled are the partitions in the disk's own table, MBR or GPT.
func tabled(f *os.File, disk string) []Partition {
	table, err := partition.Read(file.New(f, true), medium.SectorSize, medium.SectorSize)
	if err != nil {
		return nil // there is none
	}
	var all []Partition
	for i, p := range table.GetPartitions() {
		if p.GetSize() > 0 {
			all = append(all, known(f, fmt.Sprintf("%s:%d", disk, i+1), p.GetStart(), p.GetSize()))
		}
	}
	return all
}

func known(f *os.File, name string, start, size int64) Partition {
	p := Partition{Name: name, Size: size}
	p.Kind, p.Label = readLabel(f, start)
	return p
}

// headSize is how much of a partition has all labels in it.
const headSize = 68 << 10

func readLabel(f *os.File, at int64) (kind, label string) {
	if f == nil {
		return "", ""
	}
	head := make([]byte, headSize)
	n, _ := f.ReadAt(head, at) // a small partition has less
	return identify(head[:n])
}

// signatures are those of file systems: where in a partition which bytes are,
// and where its label is.
var signatures = []struct {
	kind      string
	at        int
	magic     string
	label, of int // where, and how many bytes; 0: none
}{
	{"LUKS", 0, "LUKS\xba\xbe", 0, 0},
	{"xfs", 0, "XFSB", 108, 12},
	{"ntfs", 3, "NTFS    ", 0, 0},
	{"exfat", 3, "EXFAT   ", 0, 0},
	{"fat", 82, "FAT32   ", 71, 11},
	{"fat", 54, "FAT1", 43, 11},
	{"ext", 1024 + 56, "\x53\xef", 1024 + 120, 16},
	{"swap", 4086, "SWAPSPACE2", 1024 + 28, 16},
	{"LVM", 536, "LVM2 001", 0, 0},
	{"squashfs", 0, "hsqs", 0, 0},
	{"iso9660", 32769, "CD001", 32808, 32},
	{"btrfs", 65600, "_BHRfS_M", 65536 + 299, 256},
}

// identify finds a file system by the first headSize bytes of its partition.
func identify(head []byte) (kind, label string) {
	for _, s := range signatures {
		if len(head) < max(s.at+len(s.magic), s.label+s.of) || string(head[s.at:s.at+len(s.magic)]) != s.magic {
			continue
		}
		return s.kind, clean(head[s.label : s.label+s.of])
	}
	if raid(head) {
		return "RAID", ""
	}
	return "", ""
}

// raid reports whether a member of Linux's RAID begins here, in the formats
// that have their header at the beginning (md(4)).
func raid(head []byte) bool {
	for _, at := range []int{0, 4096} {
		if len(head) >= at+4 && binary.LittleEndian.Uint32(head[at:]) == 0xa92b4efc {
			return true
		}
	}
	return false
}

// clean is a label that may be shown on a terminal: it comes from a stranger's
// disk.
func clean(label []byte) string {
	label, _, _ = bytes.Cut(label, []byte{0})
	text := strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) && r != unicode.ReplacementChar {
			return r
		}
		return -1
	}, string(label))
	return strings.TrimSpace(text)
}
