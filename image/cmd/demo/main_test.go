package main

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"
)

var boot = flag.Bool("boot", false, "also build the image, and boot it in QEMU")

// TestDemo is the whole way of a command: broker, booted terminal, broker.
func TestDemo(t *testing.T) {
	if !*boot && !strings.Contains(os.Getenv("NATRIX_MUST"), "boot") {
		t.Skip("boots a machine: go test -boot")
	}
	t.Chdir("../../..")
	out := new(bytes.Buffer)
	d := demo{out: out, image: t.TempDir()}
	err := d.run(t.Context())
	t.Logf("\n%s", out)
	if err != nil {
		t.Fatal(err)
	}
	for _, bar := range []struct {
		what string
		got  int64
		most int64
	}{
		{"initramfs", size(t, d.image+"/initramfs.zst"), 10e6},
		{"natrix", size(t, d.image+"/natrix"), 24e6},
	} {
		if bar.got > bar.most {
			t.Errorf("%s is %d bytes, want at most %d", bar.what, bar.got, bar.most)
		}
	}
}

func size(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}
