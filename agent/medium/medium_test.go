package medium

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestEnvironmentRoundTrip(t *testing.T) {
	for _, want := range []Choice{{Slot: A}, {Slot: B}, {Slot: A, Trial: B}, {Slot: B, Trial: A}} {
		file := want.Environment()
		if len(file) != 1024 {
			t.Errorf("environment of %+v has %d bytes, want 1024", want, len(file))
		}
		if got, err := ParseEnvironment(file); err != nil || got != want {
			t.Errorf("ParseEnvironment = %+v, %v, want %+v", got, err, want)
		}
	}
}

func TestEnvironmentAsGRUBLeavesIt(t *testing.T) {
	text := "# GRUB Environment Block\nslot=b\ntrial=\n"
	file := []byte(text + strings.Repeat("#", 1024-len(text)))
	if got, err := ParseEnvironment(file); err != nil || got != (Choice{Slot: B}) {
		t.Errorf("ParseEnvironment = %+v, %v, want slot b", got, err)
	}
}

func TestEnvironmentThatIsNone(t *testing.T) {
	for _, file := range []string{"", "slot=a\n", string(Choice{Slot: A}.Environment()[:1023]), string(Choice{Slot: "c"}.Environment()), string(Choice{Slot: A, Trial: "x"}.Environment())} {
		if got, err := ParseEnvironment([]byte(file)); err == nil {
			t.Errorf("ParseEnvironment(%.40q) = %+v, want an error", file, got)
		}
	}
}

func TestAutobootChoosesThePartition(t *testing.T) {
	for _, ordinary := range []Slot{A, B} {
		file := Choice{Slot: ordinary}.Autoboot()
		if len(file) >= 512 {
			t.Errorf("autoboot.txt has %d bytes, want fewer than 512", len(file))
		}
		for tryboot, want := range map[bool]Slot{false: ordinary, true: ordinary.Other()} {
			if got, err := ParseAutoboot(file, tryboot); err != nil || got != want {
				t.Errorf("slot %s, tryboot %v: firmware takes %q, %v, want %s", ordinary, tryboot, got, err, want)
			}
		}
	}
}

func TestAutobootThatIsNone(t *testing.T) {
	for _, file := range []string{"", "boot_partition=1\n", "[tryboot]\nboot_partition=2\n", "boot_partition=x\n"} {
		if got, err := ParseAutoboot([]byte(file), false); err == nil {
			t.Errorf("ParseAutoboot(%q) = %q, want an error", file, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(Choice{Slot: A, Trial: B}.Environment(), true)
	f.Add(Choice{Slot: B}.Autoboot(), false)
	f.Fuzz(func(t *testing.T, file []byte, tryboot bool) {
		if c, err := ParseEnvironment(file); err == nil && c.Slot != A && c.Slot != B {
			t.Errorf("environment %q gives slot %q", file, c.Slot)
		}
		if s, err := ParseAutoboot(file, tryboot); err == nil && s != A && s != B {
			t.Errorf("autoboot %q gives slot %q", file, s)
		}
	})
}

// machine is the directories of a machine with the disks given: name to the
// signature in the MBR.
func machine(t *testing.T, cmdline string, disks map[string]uint32) System {
	t.Helper()
	root := t.TempDir()
	s := System{Sys: filepath.Join(root, "sys"), Dev: filepath.Join(root, "dev"), Proc: filepath.Join(root, "proc")}
	write := func(name string, content []byte) {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for disk, id := range disks {
		write(filepath.Join(s.Sys, "block", disk, Disk(disk).name(1), "start"), []byte("8192\n"))
		mbr := make([]byte, 512)
		binary.LittleEndian.PutUint32(mbr[440:], id)
		write(filepath.Join(s.Dev, disk), mbr)
	}
	write(filepath.Join(s.Proc, "cmdline"), []byte(cmdline+"\n"))
	return s
}

func TestFindKnowsTheMediumByItsSignature(t *testing.T) {
	s := machine(t, "", map[string]uint32{"sda": 0x1234, "mmcblk0": DiskID, "nvme0n1": DiskID})
	disk, err := s.Find()
	if err != nil || disk != "mmcblk0" {
		t.Errorf("Find = %q, %v, want mmcblk0", disk, err)
	}
	for disk, want := range map[Disk]string{"mmcblk0": "mmcblk0p2", "sda": "sda2", "nvme0n1": "nvme0n1p2"} {
		if got := filepath.Base(s.Device(disk, SlotA)); got != want {
			t.Errorf("slot A of %s is %s, want %s", disk, got, want)
		}
	}
}

func TestFindNone(t *testing.T) {
	for _, s := range []System{{}, machine(t, "", nil), machine(t, "", map[string]uint32{"sda": 7})} {
		if disk, err := s.Find(); !errors.Is(err, ErrNone) {
			t.Errorf("Find = %q, %v, want ErrNone", disk, err)
		}
	}
}

func TestBooted(t *testing.T) {
	for _, test := range []struct {
		cmdline  string
		firmware []byte
		slot     Slot
		present  bool
	}{
		{"quiet", nil, "", false},
		{"quiet natrix_slot=b", nil, B, true},
		{"natrix_slot=firmware", []byte{0, 0, 0, 3}, B, true},
		{"natrix_slot=firmware", []byte{0, 0, 0, 2}, A, true},
		{"natrix_slot=firmware", []byte{0, 0, 0, 1}, "", true},
		{"natrix_slot=firmware", []byte{2}, "", true},
		{"natrix_slot=firmware", nil, "", true},
	} {
		s := machine(t, test.cmdline, nil)
		if test.firmware != nil {
			dir := filepath.Join(s.Proc, "device-tree/chosen/bootloader")
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "partition"), test.firmware, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if slot, present := s.Booted(); slot != test.slot || present != test.present {
			t.Errorf("%q with %v: slot %q, medium %v, want %q, %v", test.cmdline, test.firmware, slot, present, test.slot, test.present)
		}
	}
}

func TestAddData(t *testing.T) {
	mbr := make([]byte, SectorSize)
	binary.LittleEndian.PutUint32(mbr[440:], DiskID)
	mbr[510], mbr[511] = 0x55, 0xaa
	if err := AddData(mbr, 1000); err != nil {
		t.Fatal(err)
	}
	entry := mbr[446+48 : 510]
	if start, size := binary.LittleEndian.Uint32(entry[8:]), binary.LittleEndian.Uint32(entry[12:]); start != End || size != 1000 || entry[4] != 0x83 {
		t.Errorf("the partition is of type %#x, at %d with %d sectors, want 0x83, %d, 1000", entry[4], start, size, End)
	}
	if err := AddData(mbr, 1000); err == nil {
		t.Error("a second one is added, want an error")
	}
	if err := AddData(make([]byte, SectorSize), 1000); err == nil {
		t.Error("a foreign table is taken, want an error")
	}
}
