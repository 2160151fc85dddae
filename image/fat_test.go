package image

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// need skips a test whose program is not installed, unless it must run.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			if strings.Contains(os.Getenv("NATRIX_MUST"), "fat") {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
}

func testVolume(t *testing.T, files map[string][]byte) []byte {
	t.Helper()
	v := slotVolume(time.Unix(1700000000, 0))
	for name, content := range files {
		if err := v.add(name, content); err != nil {
			t.Fatal(err)
		}
	}
	b, err := v.bytes()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// several are files of all kinds: names that are short, long, alike in their
// short form, and outside of ASCII, an empty file, and one in a deep directory.
func several() map[string][]byte {
	files := map[string][]byte{
		"README":                    []byte("short\n"),
		"EFI/BOOT/BOOTX64.EFI":      bytes.Repeat([]byte("efi"), 5000),
		"bcm2837-rpi-3-b-plus.dtb":  []byte("tree one"),
		"bcm2837-rpi-3-b.dtb":       []byte("tree two"),
		"vmlinuz":                   bytes.Repeat([]byte{1, 2, 3}, 100_000),
		"empty":                     nil,
		"thirteen.char":             []byte("a long name that fills its entry"),
		"grüße an alle.txt":         []byte("hi"),
		"a/b/c/deep.file.with.dots": []byte("deep"),
		"overlays/disable-bt.dtbo":  make([]byte, 1024),
		"overlays/miniuart-bt.dtbo": make([]byte, 1025),
	}
	for i := range 60 { // a directory of several clusters
		files[fmt.Sprintf("many/file number %d", i)] = []byte{byte(i)}
	}
	return files
}

func TestVolumePassesFsck(t *testing.T) {
	need(t, "fsck.vfat")
	for name, files := range map[string]map[string][]byte{"files": several(), "none": nil} {
		file := filepath.Join(t.TempDir(), "v.fat")
		if err := os.WriteFile(file, testVolume(t, files), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(file, int64(slotVolume(time.Time{}).sectors)*sectorSize); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("fsck.vfat", "-n", "-v", file).CombinedOutput()
		if err != nil {
			t.Errorf("%s: fsck.vfat: %v\n%s", name, err, out)
		}
	}
}

// TestVolumeReadsBack reads all files with mtools.
func TestVolumeReadsBack(t *testing.T) {
	need(t, "mcopy")
	dir := t.TempDir()
	file := filepath.Join(dir, "v.fat")
	if err := os.WriteFile(file, testVolume(t, several()), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("mcopy", "-s", "-n", "-Q", "-i", file, "::/", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("mcopy: %v\n%s", err, out)
	}
	for name, want := range several() {
		if strings.ContainsRune(name, 'ü') {
			continue // mtools writes it in the character set of the locale
		}
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v, want the %d that were written", name, len(got), err, len(want))
		}
	}
}

func TestVolumeIsReproducible(t *testing.T) {
	if !bytes.Equal(testVolume(t, several()), testVolume(t, several())) {
		t.Error("the same files give different volumes")
	}
}

func TestVolumeRefuses(t *testing.T) {
	v := slotVolume(time.Time{})
	for _, name := range []string{"a/b", "c"} {
		if err := v.add(name, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"c/d", "C", "a"} {
		if err := v.add(name, nil); err == nil {
			t.Errorf("added %s beside a/b and c", name)
		}
	}
	if err := v.add("big", make([]byte, v.sectors*sectorSize)); err != nil {
		t.Fatal(err)
	}
	if _, err := v.bytes(); err == nil || !strings.Contains(err.Error(), "KiB") {
		t.Errorf("a file as big as the partition: %v, want an error with its size", err)
	}
	small := &volume{sectors: 4096, cluster: 1}
	if _, err := small.bytes(); err == nil {
		t.Error("made FAT32 of 2 MiB, which readers take for FAT16")
	}
}

func TestShortNames(t *testing.T) {
	taken := make(map[[11]byte]bool)
	var got []string
	for _, name := range []string{"BOOTX64.EFI", "vmlinuz", "bcm2837-rpi-3-b-plus.dtb", "bcm2837-rpi-3-b.dtb", ".hidden", "a.b.c"} {
		short := shortName(name, taken)
		taken[short] = true
		got = append(got, string(short[:]))
	}
	want := []string{"BOOTX64 EFI", "VMLINU~1   ", "BCM283~1DTB", "BCM283~2DTB", "HIDDEN~1   ", "AB~1    C  "}
	if !slices.Equal(got, want) {
		t.Errorf("short names are %q, want %q", got, want)
	}
}
