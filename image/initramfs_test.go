package image

import (
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/u-root/mkuimage/cpio"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// describe lists an archive in its own order: mode, owner, time, size, device,
// name, and the text of links and short files.
func describe(t *testing.T, archive *cpio.Archive) string {
	t.Helper()
	var list strings.Builder
	err := cpio.ForEachRecord(archive.Reader(), func(r cpio.Record) error {
		text := make([]byte, min(r.FileSize, 200))
		if _, err := r.ReadAt(text, 0); err != nil && err != io.EOF {
			return err
		}
		fmt.Fprintf(&list, "%06o %d:%d %d %3d %d,%d %s", r.Mode, r.UID, r.GID, r.MTime, r.FileSize, r.Rmajor, r.Rminor, r.Name)
		if len(text) > 0 {
			fmt.Fprintf(&list, " %q", text)
		}
		fmt.Fprintln(&list)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list.String()
}

func TestAssemble(t *testing.T) {
	o := Options{Version: "1.2", Revision: "v1.2-3-gabc", Date: time.Unix(1700000000, 0), Location: map[string][]byte{"ip2region.db": []byte("data")}}
	tools := toolRecords([]byte("busybox"), []string{"x/cmds/core/gosh", "x/cmds/core/ls"})
	raw, err := assemble(pc, o, []byte("natrix"), tools)
	if err != nil {
		t.Fatal(err)
	}
	got := describe(t, unpack(t, compress(raw)))
	const golden = "testdata/initramfs.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want := string(read(t, golden)); got != want {
		t.Errorf("initramfs holds\n%s\nwant\n%s", got, want)
	}
}

// TestConfigIsBehindTheInitramfs: the kernel unpacks both, and only one of them
// is in an update.
func TestConfigIsBehindTheInitramfs(t *testing.T) {
	packed, err := configArchive([]byte("[RABBITMQ]\n"))
	if err != nil {
		t.Fatal(err)
	}
	const want = "040755 0:0 0   0 0,0 etc\n040755 0:0 0   0 0,0 etc/natrix\n" +
		"100600 0:0 0  11 0,0 etc/natrix/natrix.ini \"[RABBITMQ]\\n\"\n"
	if got := describe(t, unpack(t, packed)); got != want {
		t.Errorf("archive is\n%s\nwant\n%s", got, want)
	}
	if packed, err := configArchive(nil); err != nil || packed != nil {
		t.Errorf("without a configuration: %d bytes, %v", len(packed), err)
	}
}

func TestArchiveRefusesTwoFilesOfOneName(t *testing.T) {
	_, err := archive([]cpio.Record{cpio.StaticFile("etc/a", "1", 0o644), cpio.StaticFile("etc/a", "12", 0o644)})
	if err == nil {
		t.Error("archive took two files of one name")
	}
}
