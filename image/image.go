// Package image builds what a board boots: kernel, device trees and an
// initramfs with natrix in it, the medium with them in it, and what a server
// needs to boot a board over the network. It needs neither root nor a mount, and
// the same inputs give the same bytes in any directory, for any user, on any day.
//
// Package medium says how the medium is laid out. The files of its partitions
// come from the board: those in its directory as they are, and those of its
// sources, below boot/ for partition 1 and below slot/ for the slots. A slot
// holds
//
//	vmlinuz         the kernel
//	initramfs.zst   natrix, the same bytes whatever the configuration
//	cmdline.txt     the kernel command line, on a Raspberry Pi,
//	config.txt, start_cd.elf, *.dtb   its firmware and what that reads
//	grub.cfg        the lines that start the kernel, on a PC
//
// and natrix-BOARD.slot is its file system, up to the last byte that counts: an
// update writes it to the start of the idle slot's partition.
package image

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Names of what Build writes into its output directory. Device trees keep the
// names that they have in the board's source.
const (
	KernelFile    = "vmlinuz"
	InitramfsFile = "initramfs.zst" // with the configuration, if there is one
	CmdlineFile   = "cmdline.txt"   // the kernel command line for the real machine
	BinaryFile    = "natrix"        // the agent as it is in the initramfs, for a look at its size
)

// DiskFile, SlotFile and UpdateFile are the names of the medium, of a slot of
// it, and of an update with that slot in it.
func (b Board) DiskFile() string   { return "natrix-" + b.Name + ".img" }
func (b Board) SlotFile() string   { return "natrix-" + b.Name + ".slot" }
func (b Board) UpdateFile() string { return "natrix-" + b.Name + ".update" }

// Board is a machine an image is built for. Boards differ only by this data;
// the agent finds out at run time what it runs on.
type Board struct {
	Name    string // its directory under board/, and VARIANT_ID in /etc/os-release
	GOARCH  string
	GOARM   string // only where GOARCH is arm
	Cmdline string // kernel command line for the real machine's consoles

	Source      Source   // where the kernel and what belongs to it come from
	Kernel      string   // path of the kernel in Source, a pattern of filepath.Match
	GzipKernel  bool     // whether its loader unpacks a kernel that is compressed
	DeviceTrees []string // paths in Source, likewise
	Modules     []string // kernel modules to load at boot, in this order; what they need comes by itself

	Files  fs.FS  // boot/ and slot/: files of the partitions, as they are
	Parts  []Part // further files of the partitions
	Loader Source // Debian's GRUB, for a PC; nil if the firmware is loader enough

	Imager []string // what the Raspberry Pi Imager calls these machines, for its list of images
}

// Part is a file of a partition that comes from a source.
type Part struct {
	Source Source
	File   string // path in Source, a pattern of filepath.Match
	To     string // as in slot/overlays/a.dtbo
}

// Sources are all that the board's files come from, each once.
func (b Board) Sources() []Source {
	sources := []Source{b.Source}
	for _, p := range b.Parts {
		if !slices.Contains(sources, p.Source) {
			sources = append(sources, p.Source)
		}
	}
	if b.Loader != nil {
		sources = append(sources, b.Loader)
	}
	return sources
}

// RaspberryPi is the firmware of the models 2 and 3. The cut-down start_cd.elf
// is what it takes with gpu_mem=16: a terminal has no use for codecs.
func RaspberryPi() []Part {
	firmware := Module("github.com/gokrazy/firmware")
	return []Part{
		{firmware, "bootcode.bin", "boot/bootcode.bin"},
		{firmware, "LICENSE.broadcom", "boot/LICENSE.broadcom"},
		{firmware, "start_cd.elf", "slot/start_cd.elf"},
		{firmware, "fixup_cd.dat", "slot/fixup_cd.dat"},
	}
}

// Options are the inputs of Build that are not the board's.
type Options struct {
	Root     string    // the source tree: the directory of go.mod
	Package  string    // main package to install as natrix, relative to Root
	Cache    string    // directory for what is slow to make; safe to delete at any time
	Version  string    // VERSION_ID in /etc/os-release
	Revision string    // of the sources, BUILD_ID in /etc/os-release
	Date     time.Time // of the sources; the clock of a board without one starts here
	Config   []byte    // becomes natrix.ini on the medium, and /etc/natrix/natrix.ini in what boots without one; nil for none

	URL string // of the directory that the medium will be fetched from, for the Raspberry Pi Imager; "" for where it is built

	Keys     []byte            // becomes /etc/natrix/update.pub: who may sign updates, as update.ParsePublic reads it; nil for nobody
	Location map[string][]byte // become files of /etc/natrix/location, by name
}

// Sizes are what Build measured, in bytes.
type Sizes struct {
	Kernel    int64
	Binary    int64 // natrix, stripped
	Initramfs int64 // compressed
	Medium    int64 // all files of partition 1 and of one slot
}

// built is what a medium and a network server share.
type built struct {
	kernel    []byte
	trees     map[string][]byte // device trees by name
	initramfs []byte            // without a configuration
}

// Build writes board b's files into the directory out, which it creates. What
// was there under the same names is replaced, each file at once.
func Build(ctx context.Context, b Board, o Options, out string) (Sizes, error) {
	out, err := filepath.Abs(out) // the compiler runs in another directory
	if err != nil {
		return Sizes{}, err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return Sizes{}, err
	}
	source, err := b.Source.Dir(ctx, o.Root, o.Cache)
	if err != nil {
		return Sizes{}, fmt.Errorf("fetch the kernel of %s: %w", b.Name, err)
	}
	var made built
	if made.kernel, made.trees, err = readBoot(b, source); err != nil {
		return Sizes{}, err
	}
	natrix, err := compile(ctx, b, o.Root, o.Package, filepath.Join(out, BinaryFile))
	if err != nil {
		return Sizes{}, err
	}
	if made.initramfs, err = buildInitramfs(ctx, b, o, source, natrix); err != nil {
		return Sizes{}, err
	}
	if err := writeBoot(b, o, made, out); err != nil {
		return Sizes{}, err
	}
	sizes := Sizes{Kernel: int64(len(made.kernel)), Binary: int64(len(natrix)), Initramfs: int64(len(made.initramfs))}
	if b.Files == nil {
		return sizes, nil
	}
	if sizes.Medium, err = buildMedium(ctx, b, o, made, out); err != nil || b.Loader == nil {
		return sizes, err
	}
	return sizes, buildNet(ctx, b, o, made, out)
}

// buildInitramfs returns the initramfs without a configuration.
func buildInitramfs(ctx context.Context, b Board, o Options, source string, natrix []byte) ([]byte, error) {
	modules, err := moduleRecords(source, b.Modules)
	if err != nil {
		return nil, err
	}
	tools, err := fieldTools(ctx, b, o)
	if err != nil {
		return nil, fmt.Errorf("build the field tools: %w", err)
	}
	archive, err := assemble(b, o, natrix, append(tools, modules...))
	if err != nil {
		return nil, fmt.Errorf("assemble the initramfs: %w", err)
	}
	return compress(archive), nil
}

// writeBoot writes what QEMU and network servers take: kernel, device trees,
// initramfs and command line.
func writeBoot(b Board, o Options, made built, out string) error {
	config, err := configArchive(o.Config)
	if err != nil {
		return err
	}
	files := map[string][]byte{
		KernelFile:    made.kernel,
		InitramfsFile: append(made.initramfs[:len(made.initramfs):len(made.initramfs)], config...),
		CmdlineFile:   []byte(b.Cmdline + "\n"),
	}
	for name, tree := range made.trees {
		files[name] = tree
	}
	for name, content := range files {
		if err := replaceFile(filepath.Join(out, name), content); err != nil {
			return err
		}
	}
	return nil
}

// readBoot returns the kernel and the device trees, by name.
func readBoot(b Board, source string) (kernel []byte, trees map[string][]byte, err error) {
	trees = make(map[string][]byte)
	for _, pattern := range b.DeviceTrees {
		tree, err := one(source, pattern)
		if err != nil {
			return nil, nil, err
		}
		if trees[filepath.Base(tree)], err = os.ReadFile(tree); err != nil {
			return nil, nil, err
		}
	}
	file, err := one(source, b.Kernel)
	if err != nil {
		return nil, nil, err
	}
	kernel, err = os.ReadFile(file)
	return kernel, trees, err
}

// one returns the one file in dir that matches pattern.
func one(dir, pattern string) (string, error) {
	names, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		return "", err
	}
	if len(names) != 1 {
		return "", fmt.Errorf("%d files match %s in %s, want one", len(names), pattern, dir)
	}
	return names[0], nil
}

// replaceFile writes name through a temporary file: an interrupted build leaves
// the old file, never half of the new one. It does not wait for the disk, since
// a build can be repeated.
func replaceFile(name string, content []byte) error {
	tmp := name + ".new"
	if err := os.WriteFile(tmp, content, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, name)
}
