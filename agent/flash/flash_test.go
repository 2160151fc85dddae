package flash

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/fat32"
	"github.com/klauspost/compress/zstd"
	"github.com/natrix-os/natrix/agent/medium"
)

const (
	blockSize = 4096
	imageSize = (medium.BootStart + medium.BootSectors) * medium.SectorSize
	start     = medium.BootStart * medium.SectorSize
)

// sample writes an image of natrix with nothing but partition 1, whose file
// system is of 2 MiB of bytes, and returns its name and its content.
func sample(t *testing.T) (string, []byte) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "sample.img")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(imageSize); err != nil {
		t.Fatal(err)
	}
	if _, err := fat32.Create(file.New(f, false), imageSize-start, start, medium.SectorSize, medium.BootLabel, true); err != nil {
		t.Fatal(err)
	}
	if err := writeConfig(f, bytes.Repeat([]byte("# of the image\n"), 1000)); err != nil {
		t.Fatal(err)
	}
	mbr := make([]byte, medium.SectorSize)
	binary.LittleEndian.PutUint32(mbr[440:], medium.DiskID)
	entry := mbr[446:]
	entry[4] = 0x0c
	binary.LittleEndian.PutUint32(entry[8:], medium.BootStart)
	binary.LittleEndian.PutUint32(entry[12:], medium.BootSectors)
	mbr[510], mbr[511] = 0x55, 0xaa
	if _, err := f.WriteAt(mbr, 0); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return name, content
}

// blocks is the block map of content that lists what is not zero.
func blocks(content []byte) []byte {
	const zeros = "0000000000000000000000000000000000000000000000000000000000000000"
	var ranges strings.Builder
	for at := 0; at < len(content); at += blockSize {
		b := content[at : at+blockSize]
		if at == 0 || !bytes.Equal(b, make([]byte, blockSize)) {
			fmt.Fprintf(&ranges, "<Range chksum=\"%x\"> %d </Range>\n", sha256.Sum256(b), at/blockSize)
		}
	}
	text := fmt.Sprintf("<?xml version=\"1.0\" ?>\n<bmap version=\"2.0\"><ImageSize> %d </ImageSize><BlockSize> %d </BlockSize>"+
		"<ChecksumType> sha256 </ChecksumType><BmapFileChecksum> %s </BmapFileChecksum><BlockMap>%s</BlockMap></bmap>\n",
		len(content), blockSize, zeros, ranges.String())
	return []byte(strings.Replace(text, zeros, fmt.Sprintf("%x", sha256.Sum256([]byte(text))), 1))
}

func compressed(t *testing.T, ending string, content []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	var err error
	switch ending {
	case ".gz":
		z := gzip.NewWriter(&out)
		_, err = z.Write(content)
		err = errors.Join(err, z.Close())
	case ".zst":
		var z *zstd.Encoder
		if z, err = zstd.NewWriter(&out); err == nil {
			_, err = z.Write(content)
			err = errors.Join(err, z.Close())
		}
	default:
		return content
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// target is a file in place of a disk, full of old bytes.
func target(t *testing.T, size int) Disk {
	t.Helper()
	name := filepath.Join(t.TempDir(), "disk")
	write(t, name, bytes.Repeat([]byte("old "), size/4))
	d, err := System(medium.Root()).Inspect(name)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func write(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func open(t *testing.T, name string) *Image {
	t.Helper()
	i, err := OpenImage(name)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func TestWriteInEveryForm(t *testing.T) {
	_, content := sample(t)
	for _, ending := range []string{"", ".gz", ".zst"} {
		for _, mapped := range []bool{true, false} {
			t.Run(fmt.Sprintf("img%s map=%v", ending, mapped), func(t *testing.T) {
				name := filepath.Join(t.TempDir(), "x.img")
				write(t, name+ending, compressed(t, ending, content))
				if mapped {
					write(t, name+".bmap", blocks(content))
				}
				image := open(t, name+ending)
				if image.Size != imageSize || !image.Natrix {
					t.Errorf("image of %d bytes, natrix %v, want %d and true", image.Size, image.Natrix, imageSize)
				}
				disk := target(t, imageSize+1<<20)
				var last int64
				if err := (Writer{Image: image, Disk: disk, Progress: func(_ Phase, done int64) { last = done }}).Write(t.Context()); err != nil {
					t.Fatal(err)
				}
				if last != image.Used {
					t.Errorf("done %d at the end, want %d", last, image.Used)
				}
				checkDisk(t, read(t, disk.Path), content, mapped)
			})
		}
	}
}

// checkDisk compares a disk with the image: with a map, what is zero in it was
// not written, but for the places of partition tables.
func checkDisk(t *testing.T, got, content []byte, mapped bool) {
	t.Helper()
	old := bytes.Repeat([]byte("old "), blockSize/4)
	for at := 0; at < len(content); at += blockSize {
		want := content[at : at+blockSize]
		if mapped && at >= 34*512 && bytes.Equal(want, make([]byte, blockSize)) {
			want = old
		}
		if at < 34*512 && at+blockSize > 34*512 {
			continue // half of it erased
		}
		if !bytes.Equal(got[at:at+blockSize], want) {
			t.Fatalf("block at %d differs from the image", at)
		}
	}
	if !bytes.Equal(got[len(content):len(content)+blockSize], old) {
		t.Error("something was written behind the image")
	}
	if !bytes.Equal(got[len(got)-34*512:], make([]byte, 34*512)) {
		t.Error("the copy of an old GPT is still there")
	}
}

func TestConfigIsPutIn(t *testing.T) {
	name, _ := sample(t)
	for _, want := range []string{"[RABBITMQ]\nurl = amqp://192.0.2.1/\n", strings.Repeat("# a long one\n", 4000), "#\n"} {
		disk := target(t, imageSize)
		if err := (Writer{Image: open(t, name), Disk: disk, Config: []byte(want)}).Write(t.Context()); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(disk.Path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := readConfig(f)
		f.Close()
		if err != nil || string(got) != want {
			t.Errorf("natrix.ini has %d bytes, %v, want %d", len(got), err, len(want))
		}
	}
}

func TestDamagedImageLeavesNoPartitions(t *testing.T) {
	name, content := sample(t)
	write(t, name+".bmap", blocks(content))
	content[start+3]++
	write(t, name, content)
	disk := target(t, imageSize)
	err := Writer{Image: open(t, name), Disk: disk}.Write(t.Context())
	if err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("write of a damaged image: %v", err)
	}
	if got := read(t, disk.Path)[:512]; !bytes.Equal(got, make([]byte, 512)) {
		t.Error("the disk has a partition table")
	}
}

func TestInterruptedWriting(t *testing.T) {
	name, _ := sample(t)
	for phase, want := range map[Phase]string{Writing: "has no partitions", Verifying: "neither verified nor configured"} {
		ctx, stop := context.WithCancel(t.Context())
		disk := target(t, imageSize)
		err := Writer{Image: open(t, name), Disk: disk, Progress: func(p Phase, done int64) {
			if p == phase && done > imageSize/2 {
				stop()
			}
		}}.Write(ctx)
		if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), want) {
			t.Errorf("interrupted at %s: %v, want that it %s", phase, err, want)
		}
		erased := bytes.Equal(read(t, disk.Path)[:512], make([]byte, 512))
		if erased != (phase == Writing) {
			t.Errorf("interrupted at %s: the partition table is gone: %v", phase, erased)
		}
		stop()
	}
}

func TestDiskThatLies(t *testing.T) {
	name, _ := sample(t)
	image, disk := open(t, name), target(t, imageSize)
	f, err := os.OpenFile(disk.Path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	err = Writer{Image: image, Disk: disk, Progress: func(p Phase, done int64) {
		if p == Writing && done == image.Used {
			f.WriteAt([]byte("worn"), start+10*blockSize)
		}
	}}.Write(t.Context())
	if !errors.Is(err, ErrDiffers) {
		t.Errorf("write to a disk that changes its bytes: %v, want %v", err, ErrDiffers)
	}
}

func TestImagesThatAreNone(t *testing.T) {
	_, content := sample(t)
	good := string(blocks(content))
	for name, test := range map[string]struct{ content, bmap, want string }{
		"empty":       {"", "", "ends too early"},
		"odd":         {strings.Repeat("x", 1000), "", "whole sectors"},
		"xz":          {"\xfd7zXZ\x00 and so on", "", "unpack it"},
		"no gzip":     {"\x1f\x8b and so on", "", "gzip"},
		"no map":      {string(content), "<html>", "block map"},
		"map changed": {string(content), strings.Replace(good, "<ImageSize> 4", "<ImageSize> 5", 1), "own sum"},
		"map of 1.4":  {string(content), strings.Replace(good, `"2.0"`, `"1.4"`, 1), "version"},
	} {
		file := filepath.Join(t.TempDir(), "x.img")
		write(t, file, []byte(test.content))
		if test.bmap != "" {
			write(t, file+".bmap", []byte(test.bmap))
		}
		if _, err := OpenImage(file); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

func TestImageThatEndsBeforeItsMap(t *testing.T) {
	_, content := sample(t)
	for _, ending := range []string{"", ".gz"} {
		name := filepath.Join(t.TempDir(), "x.img")
		write(t, name+".bmap", blocks(content))
		write(t, name+ending, compressed(t, ending, content[:start+blockSize]))
		err := Writer{Image: open(t, name+ending), Disk: target(t, imageSize)}.Write(t.Context())
		if err == nil || !strings.Contains(err.Error(), "ends too early") {
			t.Errorf("%s: %v, want that it ends too early", ending, err)
		}
	}
}

func FuzzParseMap(f *testing.F) {
	f.Add(blocks(make([]byte, 16*blockSize)))
	f.Add([]byte("<bmap version=\"2.0\"></bmap>"))
	f.Fuzz(func(t *testing.T, text []byte) {
		size, spans, err := parseMap(text)
		if err != nil {
			return
		}
		var at int64
		for _, s := range spans {
			if s.at < at || s.len <= 0 || s.at+s.len > size {
				t.Fatalf("span %+v of an image of %d bytes, after %d", s, size, at)
			}
			at = s.at + s.len
		}
	})
}

func FuzzRange(f *testing.F) {
	f.Add(" 1-5 ", int64(4096), int64(1<<20))
	f.Add("8796093022207", int64(1<<20), int64(1<<42))
	f.Fuzz(func(t *testing.T, text string, block, size int64) {
		if block < 512 || block > 1<<20 || size < 0 || size >= 1<<43 {
			return
		}
		s, err := parseRange(text, strings.Repeat("0", 64), block, size)
		if err == nil && (s.at < 0 || s.len <= 0 || s.at+s.len > size) {
			t.Errorf("range %q is %+v of an image of %d bytes", text, s, size)
		}
	})
}
