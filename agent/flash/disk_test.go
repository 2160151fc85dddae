package flash

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/natrix-os/natrix/agent/medium"
	"golang.org/x/sys/unix"
)

// machine is the directories of a machine with a USB stick sdb of two
// partitions, and what else files say, by their names below the root.
func machine(t *testing.T, files map[string]string) System {
	t.Helper()
	root := t.TempDir()
	const usb = "sys/devices/pci0000:00/usb1/1-1/host6/block/sdb"
	all := map[string]string{
		usb + "/dev": "8:16", usb + "/ro": "0", usb + "/size": "1048576",
		usb + "/device/vendor": "SanDisk ", usb + "/device/model": "Ultra  ",
		usb + "/sdb1/dev": "8:17", usb + "/sdb1/partition": "1", usb + "/sdb1/start": "2048", usb + "/sdb1/size": "409600",
		usb + "/sdb2/dev": "8:18", usb + "/sdb2/partition": "2", usb + "/sdb2/start": "411648", usb + "/sdb2/size": "204800",
		"proc/self/mountinfo": "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n",
		"proc/swaps":          "Filename Type Size Used Priority\n/dev/sda2 partition 1 0 -2\n",
		"proc/cmdline":        "quiet\n",
	}
	for name, content := range files {
		all[strings.Replace(name, "SDB", usb, 1)] = content
	}
	for name, content := range all {
		write(t, filepath.Join(root, name), []byte(strings.ReplaceAll(content, "/dev/", root+"/dev/")))
	}
	write(t, filepath.Join(root, "dev/sdb"), make([]byte, 1<<20))
	if err := os.MkdirAll(filepath.Join(root, "sys/dev/block"), 0o755); err != nil {
		t.Fatal(err)
	}
	for number, to := range map[string]string{"8:16": usb, "8:17": usb + "/sdb1"} {
		if err := os.Symlink(filepath.Join(root, to), filepath.Join(root, "sys/dev/block", number)); err != nil {
			t.Fatal(err)
		}
	}
	return System{Sys: filepath.Join(root, "sys"), Dev: filepath.Join(root, "dev"), Proc: filepath.Join(root, "proc")}
}

func TestInspect(t *testing.T) {
	s := machine(t, nil)
	got, err := s.inspect(filepath.Join(s.Dev, "sdb"), "8:16")
	if err != nil {
		t.Fatal(err)
	}
	if got.Name != "sdb" || got.Model != "SanDisk Ultra" || got.Transport != "usb" || got.Size != 512<<20 || !got.Block {
		t.Errorf("got %+v, want the USB stick sdb of 512 MiB", got)
	}
	if want := "[{sdb1 209715200  } {sdb2 104857600  }]"; fmt.Sprint(got.Partitions) != want {
		t.Errorf("partitions %v, want %s", got.Partitions, want)
	}
}

func TestInspectRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		number string
		files  map[string]string
		want   string
	}{
		"partition":       {"8:17", nil, "whole disk, such as"},
		"unknown":         {"8:99", nil, "does not know"},
		"read-only":       {"8:16", map[string]string{"SDB/ro": "1"}, "cannot be written to"},
		"no medium":       {"8:16", map[string]string{"SDB/size": "0"}, "no medium"},
		"mounted":         {"8:16", map[string]string{"proc/self/mountinfo": "30 1 8:18 / /mnt rw - vfat /dev/sdb2 rw\n"}, "mounted on /mnt"},
		"mounted whole":   {"8:16", map[string]string{"proc/self/mountinfo": "30 1 8:16 / /media/x rw - vfat /dev/sdb rw\n"}, "mounted on /media/x"},
		"mounted btrfs":   {"8:16", map[string]string{"proc/self/mountinfo": "30 1 0:33 / /srv rw shared:1 - btrfs /dev/sdb1 rw\n"}, "mounted on /srv"},
		"system":          {"8:16", map[string]string{"proc/self/mountinfo": "30 1 8:17 / / rw - ext4 /dev/sdb1 rw\n31 1 8:17 / /snap rw - ext4 /dev/sdb1 rw\n"}, "system runs from"},
		"swap":            {"8:16", map[string]string{"proc/swaps": "Filename\n/dev/sdb2 partition 1 0 -2\n"}, "is swap"},
		"LVM":             {"8:16", map[string]string{"SDB/sdb2/holders/dm-0/dev": "253:0"}, "a part of dm-0"},
		"RAID":            {"8:16", map[string]string{"SDB/holders/md0/dev": "9:0"}, "a part of md0"},
		"nothing mounted": {"8:16", map[string]string{"proc/self/mountinfo": ""}, ""},
	} {
		s := machine(t, test.files)
		_, err := s.inspect(filepath.Join(s.Dev, "sdb"), test.number)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

func TestInspectRefusesWhatIsNoDisk(t *testing.T) {
	for _, path := range []string{t.TempDir(), os.DevNull, "/nowhere"} {
		if d, err := System(medium.Root()).Inspect(path); err == nil {
			t.Errorf("Inspect(%s) = %+v, want an error", path, d)
		}
	}
}

func TestTooSmall(t *testing.T) {
	if err := (Disk{Path: "/dev/sdb", Size: 99}).Fits(&Image{Size: 100}); err == nil {
		t.Error("100 bytes fit 99")
	}
	if err := (Disk{Size: 100}).Fits(&Image{Size: 100}); err != nil {
		t.Error(err)
	}
}

func TestIdentify(t *testing.T) {
	head := func(parts map[int]string) []byte {
		b := make([]byte, headSize)
		for at, text := range parts {
			copy(b[at:], text)
		}
		return b
	}
	for _, test := range []struct {
		parts       map[int]string
		kind, label string
	}{
		{nil, "", ""},
		{map[int]string{82: "FAT32   ", 71: "NATRIX     "}, "fat", "NATRIX"},
		{map[int]string{1080: "\x53\xef", 1144: "rootfs"}, "ext", "rootfs"},
		{map[int]string{65600: "_BHRfS_M", 65835: "home\x1b[2J"}, "btrfs", "home[2J"},
		{map[int]string{0: "LUKS\xba\xbe"}, "LUKS", ""},
		{map[int]string{4096: "\xfc\x4e\x2b\xa9"}, "RAID", ""},
	} {
		if kind, label := identify(head(test.parts)); kind != test.kind || label != test.label {
			t.Errorf("identify(%v) = %q, %q, want %q, %q", test.parts, kind, label, test.kind, test.label)
		}
	}
}

func FuzzIdentify(f *testing.F) {
	f.Add([]byte("XFSB"))
	f.Fuzz(func(t *testing.T, head []byte) {
		if _, label := identify(head); strings.ContainsAny(label, "\x1b\n\r") {
			t.Errorf("label %q is no good on a terminal", label)
		}
	})
}

// loop makes a loop device of an empty file, or skips: it takes root and a
// kernel with such devices.
func loop(t *testing.T, size int64) string {
	t.Helper()
	skip := t.Skip
	if strings.Contains(os.Getenv("NATRIX_MUST"), "loop") {
		skip = t.Fatal
	} else if testing.Short() {
		t.Skip("uses a device: not with -short")
	}
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		skip(err)
	}
	defer control.Close()
	backing, err := os.Create(filepath.Join(t.TempDir(), "backing"))
	if err != nil {
		t.Fatal(err)
	}
	defer backing.Close()
	if err := backing.Truncate(size); err != nil {
		t.Fatal(err)
	}
	for range 10 { // another process may be quicker to take the free one
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			skip(err)
		}
		path := fmt.Sprintf("/dev/loop%d", n)
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			skip(err)
		}
		err = unix.IoctlLoopConfigure(int(f.Fd()), &unix.LoopConfig{Fd: uint32(backing.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_PARTSCAN}})
		if err != nil {
			f.Close()
			continue
		}
		t.Cleanup(func() {
			if err := unix.IoctlSetInt(int(f.Fd()), unix.LOOP_CLR_FD, 0); err != nil {
				t.Errorf("free %s: %v", path, err)
			}
			f.Close()
		})
		return path
	}
	skip("no free loop device")
	return ""
}

func TestDevice(t *testing.T) {
	path := loop(t, imageSize+1<<20)
	name, content := sample(t)
	s := System(medium.Root())
	disk, err := s.Inspect(path)
	if err != nil {
		t.Fatal(err)
	}
	if disk.Transport != "loop" || !disk.Block || disk.Size != imageSize+1<<20 {
		t.Errorf("got %+v, want a loop device", disk)
	}
	claim, err := os.OpenFile(path, os.O_RDWR|unix.O_EXCL, 0)
	if err != nil {
		t.Fatal(err)
	}
	err = Writer{Image: open(t, name), Disk: disk}.Write(t.Context())
	if err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("write to a device that is claimed: %v", err)
	}
	claim.Close()

	if err := (Writer{Image: open(t, name), Disk: disk, Config: []byte("[COMMON]\n")}).Write(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := read(t, path)
	if string(got[:512]) != string(content[:512]) {
		t.Error("the device has not the image's first sector")
	}
	if disk, err = s.Inspect(path); err != nil {
		t.Fatal(err)
	}
	if len(disk.Partitions) != 1 || disk.Partitions[0].Kind != "fat" || disk.Partitions[0].Label != medium.BootLabel {
		t.Errorf("the kernel sees the partitions %+v, want one with FAT called %s", disk.Partitions, medium.BootLabel)
	}
}
