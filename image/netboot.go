package image

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// NetDir is the directory, in the output of a PC's board, that a TFTP or HTTP
// server gives out as it is:
//
//	natrix.efi              what a DHCP server names for UEFI, over TFTP or HTTP: all in one
//	pxelinux.0              what it names for BIOS, with ldlinux.c32 and pxelinux.cfg/default
//	boot.ipxe               what it names for iPXE
//	vmlinuz, initramfs.zst  what the last two load
const NetDir = "pxe"

// netFiles are those of Debian's packages.
var netFiles = map[string]string{
	"pxelinux.0":  "usr/lib/PXELINUX/pxelinux.0",
	"ldlinux.c32": "usr/lib/syslinux/modules/bios/ldlinux.c32",
}

const ukiStub = "usr/lib/systemd/boot/efi/linuxx64.efi.stub"

// buildNet writes NetDir.
func buildNet(ctx context.Context, b Board, o Options, made built, out string) error {
	config, err := configArchive(o.Config)
	if err != nil {
		return err
	}
	initramfs := append(made.initramfs[:len(made.initramfs):len(made.initramfs)], config...)
	files := map[string][]byte{
		KernelFile:             made.kernel,
		InitramfsFile:          initramfs,
		"boot.ipxe":            ipxe(b),
		"pxelinux.cfg/default": pxelinux(b),
	}
	dir, err := b.Loader.Dir(ctx, o.Root, o.Cache)
	if err != nil {
		return err
	}
	for name, source := range netFiles {
		if files[name], err = os.ReadFile(filepath.Join(dir, source)); err != nil {
			return err
		}
	}
	stub, err := os.ReadFile(filepath.Join(dir, ukiStub))
	if err != nil {
		return err
	}
	files["natrix.efi"], err = unify(stub, []ukiSection{
		{".osrel", []byte(osRelease(b, o))},
		{".cmdline", []byte(b.Cmdline)},
		{".initrd", initramfs},
		{".linux", made.kernel},
	})
	if err != nil {
		return fmt.Errorf("make natrix.efi: %w", err)
	}
	for name, content := range files {
		name = filepath.Join(out, NetDir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := replaceFile(name, content); err != nil {
			return err
		}
	}
	return nil
}

// ipxe is a script. The name after initrd= is how the kernel, started by UEFI,
// finds what iPXE has loaded.
func ipxe(b Board) []byte {
	return fmt.Appendf(nil, `#!ipxe
# From where this script is. Words for natrix go behind those of the kernel:
# natrix.broker=URL
kernel %[1]s initrd=%[2]s %[3]s
initrd %[2]s
boot
`, KernelFile, InitramfsFile, b.Cmdline)
}

func pxelinux(b Board) []byte {
	return fmt.Appendf(nil, `# Words for natrix go to the end of APPEND: natrix.broker=URL
DEFAULT natrix
PROMPT 0
TIMEOUT 0
LABEL natrix
	KERNEL %s
	INITRD %s
	APPEND %s
`, KernelFile, InitramfsFile, b.Cmdline)
}
