package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ulikunitz/xz"
)

// deb makes a Debian package of files, name to content.
func deb(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var data bytes.Buffer
	packed, err := xz.NewWriter(&data)
	if err != nil {
		t.Fatal(err)
	}
	archive := tar.NewWriter(packed)
	for name, content := range files {
		header := &tar.Header{Name: name, Mode: 0o644, Size: int64(len(content)), Typeflag: tar.TypeReg}
		if err := archive.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if _, err := archive.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	if err := packed.Close(); err != nil {
		t.Fatal(err)
	}
	return ar("debian-binary", "2.0\n", "control.tar.xz", "odd", "data.tar.xz", data.String())
}

// ar writes an ar archive of names and contents.
func ar(members ...string) []byte {
	out := bytes.NewBufferString("!<arch>\n")
	for ; len(members) > 0; members = members[2:] {
		fmt.Fprintf(out, "%-16s%-12d%-6d%-6d%-8s%-10d`\n%s", members[0], 0, 0, 0, "100644", len(members[1]), members[1])
		if out.Len()%2 == 1 {
			out.WriteByte('\n')
		}
	}
	return out.Bytes()
}

// debian puts programs in apt's place: apt-get delivers the package named pkg,
// apt-cache knows a kernel. It returns a cache.
func debian(t *testing.T, pkg []byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"pkg.deb": string(pkg),
		"apt-get": `#!/bin/sh
echo "$*" >>` + dir + `/calls
case "$*" in
update*) echo "one source is stale" >&2; exit 100;;
"download -qq linux-image-1:armhf=1.0") cp ` + dir + `/pkg.deb linux-image-1_1.0_armhf.deb;;
*) echo "E: not found" >&2; exit 100;;
esac
`,
		"apt-cache": `#!/bin/sh
case "$*" in
*linux-image-armmp) printf 'Package: linux-image-armmp\nVersion: 1.0\nDepends: linux-image-1 (= 1.0)\n';;
*linux-image-1) printf 'Package: linux-image-1\nVersion: 1.0\nDescription: kernel\n Version: 9\nSHA256: ` + hash(pkg) + `\n';;
*) exit 100;;
esac
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":/usr/bin:/bin")
	return filepath.Join(dir, "cache")
}

func hash(content []byte) string { return fmt.Sprintf("%x", sha256.Sum256(content)) }

func TestDebianIsFetchedOnce(t *testing.T) {
	pkg := deb(t, map[string]string{"./boot/vmlinuz-1": "kernel", "./lib/modules/1/a.ko": "module"})
	cache := debian(t, pkg)
	source := Debian{Lock: "linux-image-1:armhf 1.0 " + hash(pkg) + "\n"}
	for range 2 {
		dir, err := source.Dir(t.Context(), "", cache)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(read(t, dir, "boot/vmlinuz-1")); got != "kernel" {
			t.Errorf("kernel is %q", got)
		}
	}
	calls := string(read(t, filepath.Dir(cache), "calls"))
	if got := strings.Count(calls, "download"); got != 1 {
		t.Errorf("%d downloads, want 1:\n%s", got, calls)
	}
	if left, _ := filepath.Glob(filepath.Join(cache, "de*")); len(left) != 1 {
		t.Errorf("the cache holds %q, want the package alone", left)
	}
}

func TestDebianChecksTheHash(t *testing.T) {
	cache := debian(t, deb(t, nil))
	source := Debian{Lock: "linux-image-1:armhf 1.0 " + strings.Repeat("0", 64)}
	if _, err := source.Dir(t.Context(), "", cache); err == nil || !strings.Contains(err.Error(), "SHA-256") {
		t.Errorf("error is %v, want one about the hash", err)
	}
}

func TestDebianVersionIsGone(t *testing.T) {
	cache := debian(t, nil)
	source := Debian{Lock: "linux-image-0:armhf 0.9 " + strings.Repeat("0", 64)}
	_, err := source.Dir(t.Context(), "", cache)
	for _, want := range []string{"E: not found", "one source is stale", "make lock"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want %q in it", err, want)
		}
	}
}

func TestDebianCurrent(t *testing.T) {
	pkg := []byte("package")
	cache := debian(t, pkg)
	got, err := Debian{Meta: "linux-image-armmp:armhf"}.Current(t.Context(), cache)
	if want := "linux-image-1:armhf 1.0 " + hash(pkg) + "\n"; err != nil || got != want {
		t.Errorf("Current = %q, %v, want %q", got, err, want)
	}
}

func TestParseLock(t *testing.T) {
	for _, lock := range []string{
		"", "a b c", "a:armhf 1.0", "a:armhf 1.0 " + strings.Repeat("0", 63), "a 1.0 " + strings.Repeat("0", 64),
		"../a:armhf 1.0 " + strings.Repeat("0", 64),
	} {
		if got, err := parseLock(lock); err == nil {
			t.Errorf("parseLock(%q) = %v, want an error", lock, got)
		}
	}
}

func TestUnpackStaysInside(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unpackInto(dir, deb(t, map[string]string{"../../evil": "x"})); err == nil {
		t.Error("unpacked a file outside of the directory")
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(dir), "*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestArMembersCutOff(t *testing.T) {
	archive := ar("data.tar.xz", "four")
	for n := range len(archive) {
		if members, err := arMembers(archive[:n]); err == nil && len(members) > 0 {
			t.Errorf("the first %d of %d bytes hold %v", n, len(archive), members)
		}
	}
}

func FuzzArMembers(f *testing.F) {
	f.Add(ar("debian-binary", "2.0\n", "data.tar.xz", "odd"))
	f.Add([]byte("!<arch>\n"))
	f.Fuzz(func(t *testing.T, archive []byte) {
		members, err := arMembers(archive)
		total := 0
		for _, content := range members {
			total += len(content)
		}
		if err == nil && total > len(archive) {
			t.Errorf("%d bytes of members in %d", total, len(archive))
		}
	})
}
