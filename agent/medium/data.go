package medium

import (
	"encoding/binary"
	"errors"
)

// kindLinux is the MBR's type of a partition with a file system of Linux.
const kindLinux = 0x83

// AddData puts partition 4 into an MBR of ours, behind the slots, with a size
// in sectors.
func AddData(mbr []byte, sectors uint32) error {
	if len(mbr) != SectorSize || binary.LittleEndian.Uint32(mbr[440:]) != DiskID || mbr[510] != 0x55 || mbr[511] != 0xaa {
		return errors.New("the disk has no partition table of natrix")
	}
	entry := mbr[446+16*(Data-1) : 510]
	if [16]byte(entry) != [16]byte{} {
		return errors.New("the disk has a fourth partition already")
	}
	copy(entry[1:], "\xfe\xff\xff") // an address in cylinders that says: take the other one
	entry[4] = kindLinux
	copy(entry[5:], "\xfe\xff\xff")
	binary.LittleEndian.PutUint32(entry[8:], End)
	binary.LittleEndian.PutUint32(entry[12:], sectors)
	return nil
}

// HasData reports whether partition 4 of the disk is where AddData puts it.
func (s System) HasData(disk Disk) bool { return s.has(disk, Data, End) }
