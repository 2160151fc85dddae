// Package image builds what a board boots: the kernel, its device trees and an
// initramfs with natrix in it. It needs neither root nor a mount, and the same
// inputs give the same bytes in any directory, for any user, on any day.
package image

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Names of what Build writes into its output directory. Device trees keep the
// names that they have in the board's source.
const (
	KernelFile    = "vmlinuz"
	InitramfsFile = "initramfs.zst"
	CmdlineFile   = "cmdline.txt" // the kernel command line for the real machine
	BinaryFile    = "natrix"      // the agent as it is in the initramfs, for a look at its size
)

// Board is a machine an image is built for. Boards differ only by this data;
// the agent finds out at run time what it runs on.
type Board struct {
	Name    string // its directory under board/, and VARIANT_ID in /etc/os-release
	GOARCH  string
	GOARM   string // only where GOARCH is arm
	Cmdline string // kernel command line for the real machine's consoles

	Source      Source   // where the kernel and what belongs to it come from
	Kernel      string   // path of the kernel in Source, a pattern of filepath.Match
	DeviceTrees []string // paths in Source, likewise
	Modules     []string // kernel modules to load at boot, in this order; what they need comes by itself
}

// Options are the inputs of Build that are not the board's.
type Options struct {
	Root     string    // the source tree: the directory of go.mod
	Package  string    // main package to install as natrix, relative to Root
	Cache    string    // directory for what is slow to make; safe to delete at any time
	Version  string    // VERSION_ID in /etc/os-release
	Revision string    // of the sources, BUILD_ID in /etc/os-release
	Date     time.Time // of the sources; the clock of a board without one starts here
	Config   []byte    // becomes /etc/natrix/natrix.ini; nil leaves that file out

	Location map[string][]byte // become files of /etc/natrix/location, by name
}

// Sizes are what Build measured, in bytes.
type Sizes struct {
	Kernel    int64
	Binary    int64 // natrix, stripped
	Initramfs int64 // compressed
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
	kernel, err := copyBoot(b, source, out)
	if err != nil {
		return Sizes{}, err
	}
	modules, err := moduleRecords(source, b.Modules)
	if err != nil {
		return Sizes{}, err
	}
	natrix, err := compile(ctx, b, o.Root, o.Package, filepath.Join(out, BinaryFile))
	if err != nil {
		return Sizes{}, err
	}
	tools, err := fieldTools(ctx, b, o)
	if err != nil {
		return Sizes{}, fmt.Errorf("build the field tools: %w", err)
	}
	archive, err := assemble(b, o, natrix, append(tools, modules...))
	if err != nil {
		return Sizes{}, fmt.Errorf("assemble the initramfs: %w", err)
	}
	packed := compress(archive)
	if err := replaceFile(filepath.Join(out, InitramfsFile), packed); err != nil {
		return Sizes{}, err
	}
	if err := replaceFile(filepath.Join(out, CmdlineFile), []byte(b.Cmdline+"\n")); err != nil {
		return Sizes{}, err
	}
	return Sizes{Kernel: kernel, Binary: int64(len(natrix)), Initramfs: int64(len(packed))}, nil
}

// copyBoot copies the kernel and the device trees, and returns the kernel's size.
func copyBoot(b Board, source, out string) (int64, error) {
	for _, pattern := range b.DeviceTrees {
		tree, err := one(source, pattern)
		if err != nil {
			return 0, err
		}
		if _, err := copyFile(filepath.Join(out, filepath.Base(tree)), tree); err != nil {
			return 0, err
		}
	}
	kernel, err := one(source, b.Kernel)
	if err != nil {
		return 0, err
	}
	return copyFile(filepath.Join(out, KernelFile), kernel)
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

func copyFile(to, from string) (int64, error) {
	content, err := os.ReadFile(from)
	if err != nil {
		return 0, err
	}
	return int64(len(content)), replaceFile(to, content)
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
