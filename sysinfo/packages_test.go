package sysinfo

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const status = `Package: chromium
Status: install ok installed
Priority: optional
Version: 120.0.6099.224-1~deb12u1
Description: web browser
 Package: not-a-field

Package: python3
Status: install ok installed
Version: 3.11.2-1+b1

Package: vim
Status: deinstall ok config-files
Version: 2:9.0.1378-2

Package: iputils-ping
Version: 3:20221126-1
Status: install ok installed`

func TestPackages(t *testing.T) {
	root := t.TempDir()
	if _, err := (Machine{Root: root}).Packages(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v of a machine without dpkg", err)
	}
	file := filepath.Join(root, "var/lib/dpkg/status")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(status), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := Machine{Root: root}.Packages()
	want := map[string]string{"chromium": "120.0.6099.224", "python3": "3.11.2", "iputils-ping": "20221126"}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	if m := (Machine{Root: root}); !m.Has("var/lib/dpkg/status") || m.Has("var/lib/dpkg") || m.Has("usr/bin/none") {
		t.Error("a file is seen where there is none, or the other way round")
	}
}

func FuzzPackages(f *testing.F) {
	f.Add(status)
	f.Add("Package: a\nVersion: 1:-\nStatus: installed\n\n")
	f.Fuzz(func(t *testing.T, s string) {
		packages, err := parsePackages(strings.NewReader(s))
		for name, version := range packages {
			if name == "" || version == "" {
				t.Errorf("got %q %q of %q, %v", name, version, s, err)
			}
		}
	})
}
