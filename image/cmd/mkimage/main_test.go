package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/natrix-os/natrix/image"
	"github.com/natrix-os/natrix/image/qemu"
)

var boot = flag.Bool("boot", false, "also build all boards in full, and boot them in QEMU")

// slow skips a test that takes long, unless it was asked for.
func slow(t *testing.T) {
	t.Helper()
	if !*boot && !strings.Contains(os.Getenv("NATRIX_MUST"), "boot") {
		t.Skip("takes long: run it with -boot")
	}
}

func TestBoardsAreComplete(t *testing.T) {
	for _, b := range boards() {
		if _, err := os.Stat(filepath.Join("../../../board", b.Name, "board.go")); err != nil {
			t.Errorf("board %q is not in its directory: %v", b.Name, err)
		}
		if b.GOARCH == "" || b.Source == nil || b.Kernel == "" || !strings.Contains(b.Cmdline, "console=") {
			t.Errorf("board %s is incomplete: %+v", b.Name, b)
		}
	}
}

func TestFind(t *testing.T) {
	if b, err := find("amd64"); err != nil || b.Name != "amd64" {
		t.Errorf("find(amd64) = %s, %v", b.Name, err)
	}
	if _, err := find("pdp11"); err == nil || !strings.Contains(err.Error(), "amd64") {
		t.Errorf("find(pdp11): %v, want the list of boards", err)
	}
}

func TestOptionsOutsideOfTheSources(t *testing.T) {
	t.Chdir(t.TempDir())
	if o, err := options(t.Context(), ""); err == nil {
		t.Errorf("options = %+v, want an error", o)
	}
}

// maxBinary is the size that natrix does not exceed, stripped, in bytes.
const maxBinary = 24_000_000

// TestImages builds each board's image, boots it, and has the shell on its
// console answer and switch the machine off.
func TestImages(t *testing.T) {
	slow(t)
	for _, b := range boards() {
		t.Run(b.Name, func(t *testing.T) {
			dir := t.TempDir()
			if _, err := image.Build(t.Context(), b, described(t), dir); err != nil {
				t.Fatal(err)
			}
			bootAndPowerOff(t, b.Name, dir)
		})
	}
}

func bootAndPowerOff(t *testing.T, board, dir string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	m, err := qemu.Start(ctx, qemu.Config{
		Board: board, Dir: dir, Links: []qemu.Link{{MAC: mac}},
		// QEMU's Raspberry Pi resets when its watchdog is opened, and the
		// machine shall ask nobody outside for the time.
		Cmdline: "natrix.watchdog=off natrix.ntp=" + qemu.Host,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for _, phase := range []string{"init", "network"} {
		match, err := m.WaitLine(ctx, regexp.MustCompile(`msg=boot phase=`+phase+` .*at=([0-9.]+)`))
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %s after %s s", board, phase, match[1])
	}
	for _, step := range []func() error{
		func() error { return m.WriteLine("") },
		func() error { return m.WaitPrompt(ctx, "natrix> ") },
		func() error { return m.WriteLine("version") },
		func() error { _, err := m.WaitLine(ctx, regexp.MustCompile(`^natrix \S+`)); return err },
		func() error { return m.WaitPrompt(ctx, "natrix> ") },
		func() error { return checkMachine(ctx, m, board) },
		func() error { return checkLink(ctx, m) },
		func() error { return m.WriteLine("poweroff") },
		func() error { return m.Wait(ctx) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
}

// mac is the address of the machine's link.
const mac = "52:54:00:6e:61:07"

// machines is what each board's machine in QEMU is.
var machines = map[string]struct {
	product     string
	cores       int
	least, most int64  // bytes of memory
	model       string // part of the processor's
}{
	"amd64": {"Standard PC (Q35", 1, 180 << 20, 256 << 20, "QEMU"},
	"rpi2":  {"Raspberry Pi 2 Model B", 4, 800 << 20, 1 << 30, "ARMv7"},
	"rpi3":  {"Raspberry Pi 3 Model B", 4, 800 << 20, 1 << 30, ""},
}

// checkMachine asks the terminal what it knows of its hardware.
func checkMachine(ctx context.Context, m *qemu.Machine, board string) error {
	var h struct {
		Hardware struct {
			SN, Hostname, Product string
			CPU                   struct {
				Model string `json:"cpu_model"`
				Cores int    `json:"cpu_core"`
			} `json:"cpu_info"`
			Memory struct {
				Total int64 `json:"memory_total"`
			} `json:"memory_info"`
		}
	}
	if err := ask(ctx, m, "check -o json hardware", &h); err != nil {
		return err
	}
	want, got := machines[board], h.Hardware
	if !strings.Contains(got.Product, want.product) || got.CPU.Cores != want.cores || !strings.Contains(got.CPU.Model, want.model) ||
		got.Memory.Total < want.least || got.Memory.Total > want.most {
		return fmt.Errorf("the hardware is %+v, want %+v", got, want)
	}
	// QEMU gives its machines no serial number: the link's address stands in.
	if got.SN != strings.ReplaceAll(mac, ":", "") || got.Hostname != "natrix-6e6107" {
		return fmt.Errorf("the terminal calls itself %q, %q", got.SN, got.Hostname)
	}
	return nil
}

// checkLink asks the terminal for its links: one, with the lease of QEMU's network.
func checkLink(ctx context.Context, m *qemu.Machine) error {
	var n struct {
		Networks map[string]struct {
			Type, MACAddress string
			IP               string `json:"local_ip"`
			Gateway          string
			Default          bool `json:"is_default"`
		}
	}
	if err := ask(ctx, m, "check -o json network", &n); err != nil {
		return err
	}
	for _, l := range n.Networks {
		if l.Type == "wired" && l.MACAddress == strings.ReplaceAll(mac, ":", "") && l.IP == "10.0.2.15" && l.Gateway == "10.0.2.2" && l.Default && len(n.Networks) == 1 {
			return nil
		}
	}
	return fmt.Errorf("the links are %+v", n.Networks)
}

// ask types a command on the console and reads the JSON that it prints.
func ask(ctx context.Context, m *qemu.Machine, line string, answer any) error {
	if err := m.WriteLine(line); err != nil {
		return err
	}
	match, err := m.WaitLine(ctx, regexp.MustCompile(`^\{.*\}$`))
	if err != nil {
		return fmt.Errorf("%s: %w", line, err)
	}
	if err := json.Unmarshal([]byte(match[0]), answer); err != nil {
		return fmt.Errorf("%s: %w: %s", line, err, match[0])
	}
	return m.WaitPrompt(ctx, "natrix> ")
}

// TestSameBytesElsewhere builds each board from two copies of the sources, the
// second time with nothing cached but the kernels.
func TestSameBytesElsewhere(t *testing.T) {
	slow(t)
	one := described(t)
	root := t.TempDir()
	copySources(t, root, one.Root)
	one.Root = root
	two := one
	two.Root, two.Cache = t.TempDir(), t.TempDir()
	copySources(t, two.Root, one.Root)
	for _, b := range boards() {
		first, second := t.TempDir(), t.TempDir()
		if _, err := image.Build(t.Context(), b, one, first); err != nil {
			t.Fatal(err)
		}
		linkKernels(t, two.Cache, one.Cache)
		if _, err := image.Build(t.Context(), b, two, second); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{image.KernelFile, image.InitramfsFile, image.BinaryFile, b.DiskFile(), b.SlotFile(), b.DiskFile() + ".bmap", b.DiskFile() + ".gz"} {
			if !bytes.Equal(read(t, first, name), read(t, second, name)) {
				t.Errorf("%s of %s differs between two directories", name, b.Name)
			}
		}
	}
}

func described(t *testing.T) image.Options {
	t.Helper()
	o, err := options(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// linkKernels gives one cache the kernels of another.
func linkKernels(t *testing.T, to, from string) {
	t.Helper()
	kernels, err := filepath.Glob(filepath.Join(from, "debian-*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, kernel := range kernels {
		err := os.Symlink(kernel, filepath.Join(to, filepath.Base(kernel)))
		if err != nil && !errors.Is(err, fs.ErrExist) {
			t.Fatal(err)
		}
	}
}

// copySources copies what a build reads: neither the repository nor its output.
func copySources(t *testing.T, to, from string) {
	t.Helper()
	err := filepath.WalkDir(from, func(name string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(from, name)
		switch {
		case err != nil:
			return err
		case rel == ".git" || rel == "build":
			return filepath.SkipDir
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		}
		return os.WriteFile(filepath.Join(to, rel), read(t, name), 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, names ...string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(names...))
	if err != nil {
		t.Fatal(err)
	}
	return content
}
