package sysinfo

import (
	"bufio"
	"io"
	"os"
	"strings"
)

// maxPackages bounds what is read of dpkg's status file, which has about a
// kilobyte for each package.
const maxPackages = 16 << 20

// Packages returns the versions of all installed Debian packages by name, as
// their authors count: without Debian's epoch and revision. A machine without
// dpkg has none; the error is then one of [io/fs.ErrNotExist].
func (m Machine) Packages() (map[string]string, error) {
	f, err := os.Open(m.path("var/lib/dpkg/status"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parsePackages(io.LimitReader(f, maxPackages))
}

// parsePackages reads stanzas of dpkg's status file (deb-control(5)).
func parsePackages(r io.Reader) (map[string]string, error) {
	packages := make(map[string]string)
	var name, version string
	installed := false
	keep := func() {
		if name != "" && version != "" && installed {
			packages[name] = version
		}
		name, version, installed = "", "", false
	}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ":")
		switch value = clean(value); field {
		case "":
			keep()
		case "Package":
			name = value
		case "Version":
			version = upstream(value)
		case "Status":
			installed = strings.HasSuffix(value, " installed")
		}
	}
	keep()
	return packages, lines.Err()
}

// upstream is the middle of epoch:version-revision (deb-version(7)).
func upstream(version string) string {
	if _, rest, found := strings.Cut(version, ":"); found {
		version = rest
	}
	if i := strings.LastIndexByte(version, '-'); i >= 0 {
		version = version[:i]
	}
	return version
}

// Has reports whether a file is there, by its path from the root.
func (m Machine) Has(path string) bool {
	info, err := os.Stat(m.path(path))
	return err == nil && info.Mode().IsRegular()
}
