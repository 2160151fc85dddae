package image

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"time"

	"github.com/natrix-os/natrix/agent/medium"
)

const sectorSize = medium.SectorSize

// piece is some bytes of a disk.
type piece struct {
	sector  int
	content []byte
}

// kindFAT32 is the MBR's type of a FAT32 partition, which every system and
// every firmware opens; the type of an EFI system partition is hidden on
// laptops, where natrix.ini is edited.
const kindFAT32 = 0x0c

// disk is the medium of a board, in pieces by their place: what is between
// them is not written, and zero in a new file.
type disk []piece

// newDisk is a disk whose slot B has no files: laptops would offer to format a
// partition with nothing in it.
func newDisk(l loader, boot, slot []byte, date time.Time) (disk, error) {
	empty, err := slotVolume(date).bytes()
	if err != nil {
		return nil, err
	}
	d := disk{{0, mbr(l.code)}}
	if len(l.core) > 0 {
		d = append(d, piece{1, l.core})
	}
	fresh := piece{medium.RecordSector, make([]byte, sectorSize)} // over that of what the medium was before
	return append(d, fresh, piece{medium.BootStart, boot}, piece{medium.SlotAStart, slot}, piece{medium.SlotBStart, empty}), nil
}

// bootVolume and slotVolume are the partitions, without files.
func bootVolume(date time.Time) *volume {
	return &volume{label: medium.BootLabel, id: medium.DiskID + medium.Boot, start: medium.BootStart,
		sectors: medium.BootSectors, cluster: 1, date: date}
}

func slotVolume(date time.Time) *volume {
	return &volume{label: medium.SlotLabel, id: medium.DiskID + medium.SlotA, sectors: medium.SlotSectors, cluster: 2, date: date}
}

// mbr is the first sector: boot code, the disk's id, and the table.
func mbr(code []byte) []byte {
	b := make([]byte, sectorSize)
	copy(b[:440], code)
	binary.LittleEndian.PutUint32(b[440:], medium.DiskID)
	for i, p := range [...]struct{ start, sectors uint32 }{
		{medium.BootStart, medium.BootSectors},
		{medium.SlotAStart, medium.SlotSectors},
		{medium.SlotBStart, medium.SlotSectors},
	} {
		entry := b[446+16*i:]
		if i == 0 {
			entry[0] = 0x80 // what BIOSes want to see once
		}
		copy(entry[1:], "\xfe\xff\xff") // an address in cylinders that says: take the other one
		entry[4] = kindFAT32
		copy(entry[5:], "\xfe\xff\xff")
		binary.LittleEndian.PutUint32(entry[8:], p.start)
		binary.LittleEndian.PutUint32(entry[12:], p.sectors)
	}
	b[510], b[511] = 0x55, 0xaa
	return b
}

// save writes a disk to a new file, with holes in it.
func (d disk) save(name string) error {
	f, err := os.Create(name + ".new")
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(medium.End * sectorSize); err != nil {
		return err
	}
	for _, p := range d {
		if _, err := f.WriteAt(p.content, int64(p.sector)*sectorSize); err != nil {
			return err
		}
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

// WriteTo writes the whole disk, holes and all.
func (d disk) WriteTo(w io.Writer) (int64, error) {
	var at int64
	put := func(b []byte) error {
		n, err := w.Write(b)
		at += int64(n)
		return err
	}
	zeros := make([]byte, 1<<20)
	fill := func(to int64) error {
		for at < to {
			if err := put(zeros[:min(to-at, int64(len(zeros)))]); err != nil {
				return err
			}
		}
		return nil
	}
	for _, p := range d {
		if err := errors.Join(fill(int64(p.sector)*sectorSize), put(p.content)); err != nil {
			return at, err
		}
	}
	return at, fill(medium.End * sectorSize)
}
