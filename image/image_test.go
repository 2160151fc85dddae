package image

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/u-root/mkuimage/cpio"
)

// files is a Source that is there already.
type files string

func (f files) Dir(context.Context, string, string) (string, error) { return string(f), nil }

var pc = Board{
	Name: "pc", GOARCH: "amd64", Cmdline: "console=ttyS0",
	Source: files("testdata/source"), Kernel: "kernel", DeviceTrees: []string{"dtb/pc.dtb"},
}

// tree writes a module with one program into a new directory.
func tree(t *testing.T) Options {
	t.Helper()
	root := t.TempDir()
	for name, content := range map[string]string{
		"go.mod":      "module example.test/tree\n\ngo 1.26\n",
		"cmd/main.go": "package main\n\nfunc main() { println(\"up\") }\n",
	} {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return Options{
		Root: root, Package: "./cmd", Cache: filepath.Join(root, "cache"),
		Version: "1.2", Revision: "v1.2-3-gabc", Date: time.Unix(1700000000, 0),
	}
}

func build(t *testing.T, b Board, o Options) (out string, sizes Sizes) {
	t.Helper()
	out = filepath.Join(t.TempDir(), "a", "b")
	sizes, err := Build(t.Context(), b, o, out)
	if err != nil {
		t.Fatal(err)
	}
	return out, sizes
}

func read(t *testing.T, names ...string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(names...))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func TestBuildWritesWhatABoardBoots(t *testing.T) {
	out, sizes := build(t, pc, tree(t))
	if got := string(read(t, out, KernelFile)); got != "a kernel\n" {
		t.Errorf("kernel is %q", got)
	}
	if got := string(read(t, out, "pc.dtb")); got != "a device tree\n" {
		t.Errorf("device tree is %q", got)
	}
	if got := string(read(t, out, CmdlineFile)); got != "console=ttyS0\n" {
		t.Errorf("command line is %q", got)
	}
	want := Sizes{Kernel: 9, Binary: int64(len(read(t, out, BinaryFile))), Initramfs: int64(len(read(t, out, InitramfsFile)))}
	if sizes != want {
		t.Errorf("sizes are %+v, want %+v", sizes, want)
	}
	natrix, ok := unpack(t, read(t, out, InitramfsFile)).Get("bin/natrix")
	if !ok || !cpio.Equal(natrix, executable("bin/natrix", read(t, out, BinaryFile))) {
		t.Errorf("/bin/natrix is %v, want the binary that was built", natrix)
	}
}

func TestBuildIsReproducible(t *testing.T) {
	one, _ := build(t, pc, tree(t))
	t.Setenv("GOAMD64", "v3")
	t.Setenv("GOFLAGS", "-buildvcs=true")
	two, _ := build(t, pc, tree(t))
	for _, name := range []string{KernelFile, InitramfsFile, BinaryFile} {
		if !bytes.Equal(read(t, one, name), read(t, two, name)) {
			t.Errorf("%s differs between two directories", name)
		}
	}
}

func TestBuildSaysWhatDoesNotCompile(t *testing.T) {
	o := tree(t)
	if err := os.WriteFile(filepath.Join(o.Root, "cmd/bad.go"), []byte("package main\n\nvar x int = undefined\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := Build(t.Context(), pc, o, t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "bad.go:3:13: undefined: undefined") {
		t.Errorf("error is %v, want the compiler's", err)
	}
}

func TestModuleDir(t *testing.T) {
	dir, err := Module("github.com/gokrazy/kernel.amd64").Dir(t.Context(), "..", "")
	if err != nil {
		t.Fatal(err)
	}
	if kernel := read(t, dir, "vmlinuz"); string(kernel[0x202:0x206]) != "HdrS" { // Documentation/arch/x86/boot.rst
		t.Errorf("%s/vmlinuz is not a bzImage", dir)
	}
	_, err = Module("example.test/none").Dir(t.Context(), "..", "")
	if err == nil || !strings.Contains(err.Error(), "not a known dependency") {
		t.Errorf("error is %v, want that go.mod does not have the module", err)
	}
}

func TestSourceDate(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	if got, err := SourceDate(t.Context(), "."); err != nil || got.Unix() != 1700000000 {
		t.Errorf("SourceDate = %v, %v, want 1700000000", got, err)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "yesterday")
	if got, err := SourceDate(t.Context(), "."); err == nil {
		t.Errorf("SourceDate took yesterday for %v", got)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "")
	if got, err := SourceDate(t.Context(), t.TempDir()); err == nil {
		t.Errorf("SourceDate outside of a repository is %v", got)
	}
}

func unpack(t *testing.T, packed []byte) *cpio.Archive {
	t.Helper()
	decoder, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer decoder.Close()
	raw, err := decoder.DecodeAll(packed, nil)
	if err != nil {
		t.Fatal(err)
	}
	archive, err := cpio.ArchiveFromReader(cpio.Newc.Reader(bytes.NewReader(raw)))
	if err != nil {
		t.Fatal(err)
	}
	return archive
}
