package image

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"

	"github.com/natrix-os/natrix/agent/medium"
)

// loader is what the firmware of a PC starts from a disk: under BIOS the code
// in the first sector, which knows where the core is; under UEFI a file.
type loader struct {
	code []byte
	core []byte // from the second sector on
	efi  []byte
}

// grubModules are all that grub.cfg needs.
var grubModules = []string{"part_msdos", "fat", "normal", "configfile", "linux", "loadenv", "test", "echo", "regexp", "sleep", "reboot"}

// grubPlaces in Debian's packages.
const (
	grubMkimage = "usr/bin/grub-mkimage"
	grubLibs    = "usr/lib/x86_64-linux-gnu:lib/x86_64-linux-gnu"
	grubBIOS    = "usr/lib/grub/i386-pc"
	grubUEFI    = "usr/lib/grub/x86_64-efi"
)

// buildGRUB makes the loaders of Debian's GRUB, unpacked in dir. Both look for
// grub/grub.cfg in the first partition of the disk that they were started
// from, whatever other disks there are.
func buildGRUB(ctx context.Context, dir string) (l loader, err error) {
	l.core, err = grubImage(ctx, dir, grubBIOS, "i386-pc", "(,msdos1)/grub", "biosdisk")
	if err != nil {
		return loader{}, err
	}
	if l.efi, err = grubImage(ctx, dir, grubUEFI, "x86_64-efi", "/grub", "efi_gop"); err != nil {
		return loader{}, err
	}
	boot, err := os.ReadFile(filepath.Join(dir, grubBIOS, "boot.img"))
	if err != nil {
		return loader{}, err
	}
	return l, l.install(boot)
}

// install tells boot.img where the core is, and the core's first sector where
// the rest of it is (grub-core/boot/i386/pc/boot.S and diskboot.S: at 0x5c the
// sector of the core, at the end of the first sector a list of start, length
// and segment).
func (l *loader) install(boot []byte) error {
	const segment = 0x820 // behind the core's first sector, which is loaded to 0x8000
	if room := (medium.RecordSector - 1) * sectorSize; len(boot) < sectorSize || len(l.core) < sectorSize || len(l.core) > room {
		return fmt.Errorf("GRUB's boot.img has %d bytes and its core %d, want %d and at most %d", len(boot), len(l.core), sectorSize, room)
	}
	l.code = append([]byte(nil), boot[:440]...)
	binary.LittleEndian.PutUint64(l.code[0x5c:], 1)
	list := l.core[sectorSize-12:]
	binary.LittleEndian.PutUint64(list, 2)
	binary.LittleEndian.PutUint16(list[8:], uint16((len(l.core)-1)/sectorSize))
	binary.LittleEndian.PutUint16(list[10:], segment)
	return nil
}

// grubImage runs grub-mkimage as it is in the package: nothing is installed.
func grubImage(ctx context.Context, dir, modules, format, prefix string, more ...string) ([]byte, error) {
	tmp, err := os.MkdirTemp("", "natrix-grub-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	out := filepath.Join(tmp, "core")
	args := append([]string{"-d", filepath.Join(dir, modules), "-O", format, "-p", prefix, "-o", out}, append(grubModules, more...)...)
	var libs string
	for _, lib := range filepath.SplitList(grubLibs) {
		libs += filepath.Join(dir, lib) + ":"
	}
	if _, err := run(ctx, dir, []string{"LD_LIBRARY_PATH=" + libs}, filepath.Join(dir, grubMkimage), args...); err != nil {
		return nil, err
	}
	return os.ReadFile(out)
}
