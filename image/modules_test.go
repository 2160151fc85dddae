package image

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/u-root/mkuimage/cpio"
)

// object is an ELF file with a section .modinfo and nothing else.
func object(t *testing.T, modinfo string) []byte {
	t.Helper()
	const names = "\x00.modinfo\x00.shstrtab\x00"
	header := elf.Header32{
		Ident:   [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS32), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:    uint16(elf.ET_REL),
		Machine: uint16(elf.EM_ARM),
		Version: uint32(elf.EV_CURRENT),
		Ehsize:  52, Shentsize: 40, Shnum: 3, Shstrndx: 2,
	}
	header.Shoff = uint32(header.Ehsize) + uint32(len(modinfo)+len(names))
	sections := []elf.Section32{
		{},
		{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: 52, Size: uint32(len(modinfo))},
		{Name: 10, Type: uint32(elf.SHT_STRTAB), Off: 52 + uint32(len(modinfo)), Size: uint32(len(names))},
	}
	var out bytes.Buffer
	for _, part := range []any{header, []byte(modinfo), []byte(names), sections} {
		if err := binary.Write(&out, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

// kernel writes a tree of modules: file name to its .modinfo, with | for NUL.
func kernel(t *testing.T, files map[string]string) string {
	t.Helper()
	source := t.TempDir()
	release := filepath.Join(source, "lib/modules/6.1.0")
	for name, modinfo := range files {
		name = filepath.Join(release, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		content := object(t, strings.ReplaceAll(modinfo, "|", "\x00")+"\x00")
		if err := os.WriteFile(name, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	builtin := "kernel/drivers/usb/common/usb-common.ko\nkernel/lib/crc32.ko\n"
	if err := os.WriteFile(filepath.Join(release, "modules.builtin"), []byte(builtin), 0o644); err != nil {
		t.Fatal(err)
	}
	return source
}

func TestModuleRecords(t *testing.T) {
	source := kernel(t, map[string]string{
		"kernel/usb/dwc2.ko":         "license=GPL|depends=usbcore,roles,udc-core|name=dwc2",
		"kernel/usb/usbcore.ko":      "depends=usb-common",
		"kernel/usb/roles.ko":        "depends=",
		"kernel/usb/udc-core.ko":     "depends=usb-common",
		"kernel/fs/ext4.ko":          "softdep=pre: crc32c|depends=jbd2|softdep=pre: mbcache post: quota",
		"kernel/fs/jbd2.ko":          "depends=",
		"kernel/fs/mbcache.ko":       "depends=",
		"kernel/fs/quota.ko":         "depends=",
		"kernel/watchdog/pi_wdt.ko":  "depends=",
		"kernel/sound/not-wanted.ko": "depends=",
	})
	records, err := moduleRecords(source, []string{"pi-wdt", "dwc2", "crc32", "ext4", "usbcore"})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"6.1.0/kernel/watchdog/pi_wdt.ko",
		"6.1.0/kernel/usb/usbcore.ko",
		"6.1.0/kernel/usb/roles.ko",
		"6.1.0/kernel/usb/udc-core.ko",
		"6.1.0/kernel/usb/dwc2.ko",
		"6.1.0/kernel/fs/jbd2.ko",
		"6.1.0/kernel/fs/mbcache.ko",
		"6.1.0/kernel/fs/ext4.ko",
	}
	list := records[len(records)-1]
	wantList := cpio.StaticFile("lib/modules/load", strings.Join(want, "\n")+"\n", 0o644)
	if !cpio.Equal(list, wantList) {
		text := make([]byte, list.FileSize)
		list.ReadAt(text, 0)
		t.Errorf("%s is\n%s\nwant\n%s", list.Name, text, strings.Join(want, "\n"))
	}
	var files []string
	for _, r := range records[:len(records)-1] {
		files = append(files, strings.TrimPrefix(r.Name, "lib/modules/"))
	}
	if !slices.Equal(files, want) {
		t.Errorf("files are %q, want %q", files, want)
	}
}

func TestModuleRecordsNeedsAll(t *testing.T) {
	source := kernel(t, map[string]string{"kernel/a.ko": "depends=b"})
	_, err := moduleRecords(source, []string{"a"})
	if err == nil || err.Error() != "a needs: there is no kernel module b" {
		t.Errorf("error is %v, want that b is missing", err)
	}
}

func TestModuleRecordsOfNone(t *testing.T) {
	records, err := moduleRecords("/nonexistent", nil)
	if err != nil || records != nil {
		t.Errorf("without modules: %v, %v", records, err)
	}
}

func TestModuleThatIsNone(t *testing.T) {
	source := kernel(t, map[string]string{"kernel/a.ko": ""})
	if err := os.WriteFile(filepath.Join(source, "lib/modules/6.1.0/kernel/a.ko"), []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := moduleRecords(source, []string{"a"}); err == nil {
		t.Error("took a text for a kernel module")
	}
}

func FuzzParseModinfo(f *testing.F) {
	f.Add("depends=a,b\x00softdep=pre: c d post: e\x00")
	f.Add("softdep=post: a\x00depends=,,\x00=\x00")
	f.Fuzz(func(t *testing.T, info string) {
		n := parseModinfo(info)
		for _, name := range slices.Concat(n.hard, n.soft) {
			if name == "" || strings.ContainsAny(name, "\x00") {
				t.Errorf("parseModinfo(%q) needs %q", info, name)
			}
		}
	})
}
