package sysinfo

import (
	"bytes"
	"errors"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// System is the operating system: os-release(5) and uname(2).
type System struct {
	Type     string // "Linux"
	Hostname string
	Kernel   string // release: "6.1.0-13-amd64"
	Arch     string // of the kernel: "x86_64", "armv7l", "aarch64"
	Bits     int    // of this program, 32 or 64, which is what the system's others are as a rule

	ID       string // "debian", "raspbian"
	Like     string // what ID derives from, else ID itself
	Name     string // "Debian GNU/Linux"
	Codename string // "bookworm"
	Version  string // "12", "22.04"
}

// System reads names and versions of the operating system. An appliance
// without os-release(5) leaves the distribution's fields empty.
func (m Machine) System() (System, error) {
	s := System{Bits: strconv.IntSize}
	var gaps []error
	for _, f := range []struct {
		file  string
		field *string
	}{{"ostype", &s.Type}, {"hostname", &s.Hostname}, {"osrelease", &s.Kernel}} {
		var err error
		if *f.field, err = m.line("proc/sys/kernel", f.file); err != nil {
			gaps = append(gaps, err)
		}
	}
	if s.Hostname == "(none)" { // what the kernel calls itself until it is told
		s.Hostname = ""
		gaps = append(gaps, errors.New("no host name was set"))
	}
	s.Arch = m.arch()
	if s.Arch == "" {
		gaps = append(gaps, errors.New("no architecture in /proc/sys/kernel/arch"))
	}
	release, err := m.read("etc/os-release")
	if err != nil {
		var vendor error // the copy that os-release(5) falls back to
		if release, vendor = m.read("usr/lib/os-release"); vendor != nil {
			gaps = append(gaps, err)
		}
	}
	s.release(release)
	return s, errors.Join(gaps...)
}

// arch reads the kernel's architecture, which procfs shows since Linux 6.1.
func (m Machine) arch() string {
	if a, err := m.line("proc/sys/kernel/arch"); err == nil {
		return a
	}
	var u unix.Utsname
	if m.path() != "/" || unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Machine[:])
}

// Major is the first part of Version, empty if there is none.
func (s System) Major() string {
	major, _, _ := strings.Cut(s.Version, ".")
	return major
}

// Minor is the second part of Version, "0" if there is only a first.
func (s System) Minor() string {
	_, rest, ok := strings.Cut(s.Version, ".")
	if minor, _, _ := strings.Cut(rest, "."); minor != "" || ok || s.Version == "" {
		return minor
	}
	return "0"
}

// release fills in the fields of the distribution.
func (s *System) release(file []byte) {
	v := parseRelease(file)
	s.ID, s.Name, s.Version = v["ID"], v["NAME"], v["VERSION_ID"]
	if s.Like, _, _ = strings.Cut(v["ID_LIKE"], " "); s.Like == "" {
		s.Like = s.ID
	}
	if s.Codename = v["VERSION_CODENAME"]; s.Codename == "" {
		// Debian 9 and older only say VERSION="9 (stretch)".
		_, rest, _ := strings.Cut(v["VERSION"], "(")
		s.Codename, _, _ = strings.Cut(rest, ")")
	}
}

// parseRelease reads the shell assignments of os-release(5).
func parseRelease(b []byte) map[string]string {
	vars := make(map[string]string)
	for l := range bytes.Lines(b) {
		k, v, ok := strings.Cut(strings.TrimSpace(string(l)), "=")
		if ok && !strings.HasPrefix(k, "#") {
			vars[k] = clean(unquote(v))
		}
	}
	return vars
}

// unquote takes off shell quotes and the backslashes within.
func unquote(v string) string {
	if len(v) >= 2 && (v[0] == '"' || v[0] == '\'') && v[len(v)-1] == v[0] {
		v = v[1 : len(v)-1]
	}
	return strings.NewReplacer(`\\`, `\`, `\"`, `"`, `\$`, `$`, "\\`", "`", `\'`, `'`).Replace(v)
}
