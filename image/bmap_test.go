package image

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/natrix-os/natrix/agent/flash"
	"github.com/natrix-os/natrix/agent/medium"
)

// TestMapCoversTheDisk writes a disk by its block map over old bytes, from the
// file as it is and compressed, as flash and bmaptool do: what is on it must be
// there, and nothing else must have been written.
func TestMapCoversTheDisk(t *testing.T) {
	date := time.Unix(1700000000, 0)
	boot, slot := bootVolume(date), slotVolume(date)
	for _, v := range []*volume{boot, slot} {
		for name, content := range several() {
			if err := v.add(name, content); err != nil {
				t.Fatal(err)
			}
		}
	}
	parts := make([][]byte, 2)
	for i, v := range []*volume{boot, slot} {
		var err error
		if parts[i], err = v.bytes(); err != nil {
			t.Fatal(err)
		}
	}
	d, err := newDisk(loader{code: []byte("code"), core: bytes.Repeat([]byte("core"), 5000)}, parts[0], parts[1], date)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "x.img")
	for _, save := range []func() error{
		func() error { return d.save(name) },
		func() error { return d.saveMap(name + ".bmap") },
		func() error { return d.saveCompressed(name + ".gz") },
	} {
		if err := save(); err != nil {
			t.Fatal(err)
		}
	}
	for _, source := range []string{name, name + ".gz"} {
		image, err := flash.OpenImage(source)
		if err != nil {
			t.Fatal(err)
		}
		if image.Size != medium.End*sectorSize || image.Used >= image.Size/10 || !image.Natrix {
			t.Errorf("%s: %d of %d bytes used, natrix %v", source, image.Used, image.Size, image.Natrix)
		}
		checkWritten(t, image, d)
	}
}

// checkWritten writes an image and compares the disk with its pieces.
func checkWritten(t *testing.T, image *flash.Image, d disk) {
	t.Helper()
	target := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(target, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(target, image.Size); err != nil {
		t.Fatal(err)
	}
	to, err := flash.System(medium.Root()).Inspect(target)
	if err != nil {
		t.Fatal(err)
	}
	if err := (flash.Writer{Image: image, Disk: to}).Write(t.Context()); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(target)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range d {
		got := make([]byte, len(p.content))
		if _, err := f.ReadAt(got, int64(p.sector)*sectorSize); err != nil || !bytes.Equal(got, p.content) {
			t.Errorf("the piece at sector %d is not on the disk: %v", p.sector, err)
		}
	}
}
