// Package medium is the layout of the medium that an appliance boots from: an
// SD card, a USB stick or a disk. It is the same on every board.
//
//	partition 1  FAT32 "NATRIX"   what chooses the slot, and natrix.ini, which people edit
//	partition 2  FAT32 "SLOT"     slot A: kernel, initramfs, device trees, command line
//	partition 3  FAT32 "SLOT"     slot B: the same, of another version; empty in a new image
//	partition 4  ext4             data; made at the first boot of what is left, and optional
//
// The table is an MBR (the Raspberry Pi's boot ROM reads nothing else), and
// [DiskID] in it is how a running terminal finds the medium again. A slot holds
// nothing that says which one it is: an update is one file system image, written
// from the first byte of either partition. What is not written to stays as it
// is, so an update that is cut short harms neither the other slot nor
// partition 1.
//
// One small file in partition 1 chooses the slot, and has a flag that is good
// for one boot, the trial. The two loaders that there are spell it differently:
//
//   - On a Raspberry Pi, autoboot.txt ([Autoboot]) names the partition for an
//     ordinary boot and the one for a boot by the firmware's tryboot flag, which
//     a reset clears. The firmware says in the device tree which it took.
//   - On a PC, GRUB reads grub/grubenv ([Environment]) under BIOS and UEFI
//     alike. It clears the trial in the file before it starts the slot, and says
//     in the kernel's command line which it took.
//
// Either way a slot that hangs or panics on trial is left by the next reset.
// To keep it, write its name as that of the ordinary boot.
package medium

// Partitions, as the MBR counts them.
const (
	Boot  = 1
	SlotA = 2
	SlotB = 3
	Data  = 4
)

// SectorSize is the unit of the table, in bytes.
const SectorSize = 512

// Where the partitions are, in sectors. Data begins at [End] and takes the rest.
const (
	BootStart   = 8192 // 4 MiB, the erase block of SD cards; GRUB's core is in front of it
	BootSectors = 40 << 11
	SlotSectors = 72 << 11
	SlotAStart  = BootStart + BootSectors
	SlotBStart  = SlotAStart + SlotSectors
	End         = SlotBStart + SlotSectors
)

// RecordSector is outside of all partitions and of GRUB's core. What an update
// has to remember over a restart is in it, and is written as a whole or not at
// all, whatever becomes of the file systems.
const RecordSector = BootStart - 1

// DiskID is the disk signature in the MBR, the first half of the PARTUUIDs.
const DiskID = 0x7872746e // "ntrx"

// Labels of the FAT file systems.
const (
	BootLabel = "NATRIX"
	SlotLabel = "SLOT"
)

// Files in partition 1.
const (
	ConfigFile      = "natrix.ini"
	AutobootFile    = "autoboot.txt" // on a Raspberry Pi
	EnvironmentFile = "grub/grubenv" // on a PC
)

// SlotWord is the word of the kernel's command line that says that the terminal
// has a medium and which slot was booted: a or b, or "firmware", whose device
// tree says it.
const SlotWord = "natrix_slot"

// Slot is a or b.
type Slot string

// The slots.
const (
	A Slot = "a"
	B Slot = "b"
)

// Partition is the slot's number in the MBR.
func (s Slot) Partition() int {
	if s == B {
		return SlotB
	}
	return SlotA
}

// Other is the slot that an update of a terminal running in s is written to.
func (s Slot) Other() Slot {
	if s == B {
		return A
	}
	return B
}

// slotOf is the slot in a partition, if it is one.
func slotOf(partition int) (Slot, bool) {
	switch partition {
	case SlotA:
		return A, true
	case SlotB:
		return B, true
	}
	return "", false
}
