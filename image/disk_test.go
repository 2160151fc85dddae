package image

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/natrix-os/natrix/agent/medium"
)

func testDisk(t *testing.T) disk {
	t.Helper()
	boot, err := bootVolume(time.Unix(1700000000, 0)).bytes()
	if err != nil {
		t.Fatal(err)
	}
	l := loader{code: bytes.Repeat([]byte{0x90}, 440), core: bytes.Repeat([]byte{7}, 10_000)}
	d, err := newDisk(l, boot, testVolume(t, several()), time.Unix(1700000000, 0))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func saved(t *testing.T, d disk) []byte {
	t.Helper()
	name := filepath.Join(t.TempDir(), "disk.img")
	if err := d.save(name); err != nil {
		t.Fatal(err)
	}
	return read(t, name)
}

func TestDiskHasTheLayout(t *testing.T) {
	whole := saved(t, testDisk(t))
	if len(whole) != medium.End*sectorSize {
		t.Errorf("disk has %d bytes, want %d", len(whole), medium.End*sectorSize)
	}
	if id := binary.LittleEndian.Uint32(whole[440:]); id != medium.DiskID {
		t.Errorf("signature is %x, want %x", id, medium.DiskID)
	}
	for i, want := range []uint32{medium.BootStart, medium.SlotAStart, medium.SlotBStart, 0} {
		entry := whole[446+16*i:]
		if start := binary.LittleEndian.Uint32(entry[8:]); start != want {
			t.Errorf("partition %d starts at %d, want %d", i+1, start, want)
		}
		if label := string(whole[int(want)*sectorSize+82 : int(want)*sectorSize+90]); want > 0 && label != "FAT32   " {
			t.Errorf("partition %d begins with %q", i+1, label)
		}
	}
}

func TestDiskIsTheSameInAFileAndAStream(t *testing.T) {
	d := testDisk(t)
	var stream bytes.Buffer
	if _, err := d.WriteTo(&stream); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(stream.Bytes(), saved(t, d)) {
		t.Error("the stream differs from the file")
	}
}

func TestBlockMapCoversTheDisk(t *testing.T) {
	d := testDisk(t)
	whole, text := saved(t, d), d.blockMap()
	rest := bytes.Clone(whole)
	for _, m := range regexp.MustCompile(`chksum="(\w+)"> (\d+)(?:-(\d+))? <`).FindAllSubmatch(text, -1) {
		first, err := strconv.Atoi(string(m[2]))
		if err != nil {
			t.Fatal(err)
		}
		last := first
		if len(m[3]) > 0 {
			if last, err = strconv.Atoi(string(m[3])); err != nil {
				t.Fatal(err)
			}
		}
		blocks := whole[first*blockSize : (last+1)*blockSize]
		if sum := fmt.Sprintf("%x", sha256.Sum256(blocks)); sum != string(m[1]) {
			t.Errorf("blocks %d-%d have the sum %s, the map says %s", first, last, sum, m[1])
		}
		clear(rest[first*blockSize : (last+1)*blockSize])
	}
	if bytes.ContainsFunc(rest, func(r rune) bool { return r != 0 }) {
		t.Error("there is something that the map leaves out")
	}
	sum := regexp.MustCompile(`(<BmapFileChecksum> )(\w+)( <)`)
	zeros := sum.ReplaceAll(text, []byte("${1}"+string(bytes.Repeat([]byte("0"), 64))+"${3}"))
	if want, got := fmt.Sprintf("%x", sha256.Sum256(zeros)), string(sum.FindSubmatch(text)[2]); got != want {
		t.Errorf("sum of the map is %s, want %s", got, want)
	}
}

// TestGzippedIsWhole: a stream that was not closed looks right until its end.
func TestGzippedIsWhole(t *testing.T) {
	want := bytes.Repeat([]byte("kernel "), 100_000)
	packed, err := gzipped(want)
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(z); err != nil || !bytes.Equal(got, want) {
		t.Errorf("unpacked %d bytes, %v, want %d", len(got), err, len(want))
	}
}

func TestUnifyRefusesWhatIsNoStub(t *testing.T) {
	for _, stub := range [][]byte{nil, []byte("MZ"), bytes.Repeat([]byte("MZ"), 100), make([]byte, 1000)} {
		if _, err := unify(stub, []ukiSection{{".linux", nil}}); err == nil {
			t.Errorf("took %d bytes for a stub", len(stub))
		}
	}
}
