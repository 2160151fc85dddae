package image

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Debian is packages of the Debian archive. Superseded versions disappear from
// the mirrors, so the lock says what was built, and moves when asked.
type Debian struct {
	Meta string // for a kernel: the package that depends on the newest, as in linux-image-armmp:armhf
	File string // the lock's file, in the directory of the board
	Lock string // a line for each package, all of one architecture: its name and architecture, its version, and the SHA-256 of its .deb
}

// Dir returns the directory that the packages are unpacked in, one over the
// other. They are fetched once, from the sources that this machine's apt is
// configured with.
func (d Debian) Dir(ctx context.Context, _, cache string) (string, error) {
	packages, err := parseLock(d.Lock)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, fmt.Sprintf("debian-%x", sha256.Sum256([]byte(d.Lock)))[:len("debian-")+16])
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	var debs [][]byte
	a, err := newApt(ctx, cache, packages[0].arch)
	if err != nil {
		return "", err
	}
	for _, pkg := range packages {
		deb, err := a.fetch(ctx, pkg, cache)
		if err != nil {
			return "", err
		}
		debs = append(debs, deb)
	}
	return dir, unpackInto(dir, debs...)
}

// Current returns the lock for what is in the archive today.
func (d Debian) Current(ctx context.Context, cache string) (string, error) {
	if d.Meta != "" {
		return d.currentKernel(ctx, cache)
	}
	packages, err := parseLock(d.Lock)
	if err != nil {
		return "", err
	}
	a, err := newApt(ctx, cache, packages[0].arch)
	if err != nil {
		return "", err
	}
	var lock strings.Builder
	for _, pkg := range packages {
		found, err := a.show(ctx, pkg.name)
		if err != nil {
			return "", err
		}
		lock.WriteString(locked{pkg.name, pkg.arch, found["Version"], found["SHA256"]}.String())
	}
	return lock.String(), nil
}

// currentKernel is the kernel that Meta stands for today.
func (d Debian) currentKernel(ctx context.Context, cache string) (string, error) {
	name, arch, _ := strings.Cut(d.Meta, ":")
	a, err := newApt(ctx, cache, arch)
	if err != nil {
		return "", err
	}
	meta, err := a.show(ctx, name)
	if err != nil {
		return "", err
	}
	kernel, _, _ := strings.Cut(meta["Depends"], " ")
	if kernel == "" {
		return "", fmt.Errorf("%s depends on no kernel", d.Meta)
	}
	found, err := a.show(ctx, kernel)
	if err != nil {
		return "", err
	}
	return locked{kernel, arch, found["Version"], found["SHA256"]}.String(), nil
}

// locked is one package, exactly.
type locked struct {
	name, arch, version, sha256 string
}

func parseLock(lock string) ([]locked, error) {
	var packages []locked
	for line := range strings.Lines(lock) {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			return nil, fmt.Errorf("lock %q: want package:architecture, version and SHA-256", line)
		}
		name, arch, ok := strings.Cut(fields[0], ":")
		if !ok || len(fields[2]) != 2*sha256.Size || strings.Contains(line, "/") {
			return nil, fmt.Errorf("lock %q: want package:architecture, version and SHA-256", line)
		}
		packages = append(packages, locked{name, arch, fields[1], fields[2]})
	}
	if len(packages) == 0 {
		return nil, errors.New("the lock names no package")
	}
	return packages, nil
}

func (l locked) String() string {
	return fmt.Sprintf("%s:%s %s %s\n", l.name, l.arch, l.version, l.sha256)
}

// fetch returns the .deb of a package, which has the hash that was locked.
func (a *apt) fetch(ctx context.Context, l locked, cache string) ([]byte, error) {
	dir, err := os.MkdirTemp(cache, "deb-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := a.download(ctx, l, dir); err != nil {
		return nil, fmt.Errorf("%w\nif Debian has a newer version now, make lock moves to it", err)
	}
	file, err := one(dir, "*.deb")
	if err != nil {
		return nil, err
	}
	deb, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if got := fmt.Sprintf("%x", sha256.Sum256(deb)); got != l.sha256 {
		return nil, fmt.Errorf("%s: SHA-256 is %s, want %s", filepath.Base(file), got, l.sha256)
	}
	return deb, nil
}

// apt is an apt with a state of its own: the host's sources and keys, but
// nothing of its packages, and another architecture.
type apt struct {
	env    []string
	update error // why the indices may be old or incomplete; nil if they are not
}

func newApt(ctx context.Context, cache, arch string) (*apt, error) {
	cache, err := filepath.Abs(cache)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(cache, "apt-"+arch)
	for _, d := range []string{"lists/partial", "archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	config := filepath.Join(dir, "apt.conf")
	err = errors.Join(os.WriteFile(config, []byte(aptConfig(dir, arch)), 0o644),
		os.WriteFile(filepath.Join(dir, "status"), nil, 0o644))
	if err != nil {
		return nil, err
	}
	a := &apt{env: []string{"APT_CONFIG=" + config, "LC_ALL=C"}}
	// One source without this architecture makes the whole update fail, though
	// it fetched the others.
	_, a.update = run(ctx, dir, a.env, "apt-get", "update", "-qq")
	return a, nil
}

// aptConfig moves what apt writes to dir. Downloads stay with this user, since
// apt's own user may not write there.
func aptConfig(dir, arch string) string {
	return fmt.Sprintf(`Dir::State %[1]q;
Dir::State::lists "lists";
Dir::State::status %[2]q;
Dir::Cache %[1]q;
Dir::Cache::archives "archives";
APT::Architecture %[3]q;
APT::Architectures { %[3]q; };
APT::Sandbox::User "";
Acquire::Languages "none";
`, dir, filepath.Join(dir, "status"), arch)
}

// download puts the package into the directory dir.
func (a *apt) download(ctx context.Context, l locked, dir string) error {
	_, err := run(ctx, dir, a.env, "apt-get", "download", "-qq", l.name+":"+l.arch+"="+l.version)
	if err != nil {
		return errors.Join(err, a.update)
	}
	return nil
}

// show returns the fields of the newest version of a package.
func (a *apt) show(ctx context.Context, name string) (map[string]string, error) {
	text, err := run(ctx, "", a.env, "apt-cache", "show", "--no-all-versions", name)
	if err != nil {
		return nil, errors.Join(err, a.update)
	}
	fields := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(line, ": "); ok && name[0] != ' ' {
			fields[name] = strings.TrimSpace(value)
		}
	}
	return fields, nil
}
