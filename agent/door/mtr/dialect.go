package mtr

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Newest is the newest version of mtr whose words the door knows.
const Newest = "0.96"

// dialect is what differs between versions of mtr-packet and between machines.
type dialect struct {
	version        string
	old            bool // words from before mtr 0.96
	ip4, ip6, sctp bool // offered
}

func newDialect(c Config) dialect {
	d := dialect{version: c.Version, ip4: opens(unix.AF_INET, unix.SOCK_DGRAM, 0), ip6: opens(unix.AF_INET6, unix.SOCK_DGRAM, 0)}
	if d.version == "" {
		d.version = Newest
	}
	d.old = strings.HasPrefix(d.version, "0.") && d.version < "0.96"
	d.sctp = c.RawSCTP || opens(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP)
	return d
}

// opens says whether the kernel has sockets of a kind.
func opens(family, kind, protocol int) bool {
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

// word translates a reply of mtr 0.96 to the version spoken. It returns ""
// for errors that have no word in it and are told by their number.
func (d *dialect) word(w string) string {
	if !d.old {
		return w
	}
	switch w {
	case "no-route-host", "no-route-network":
		return "no-route"
	case "host-down", "wait-tcp-respone-timeout":
		return ""
	}
	return w
}

// appendSupport answers check-support, which asks about the first feature it names.
func (d *dialect) appendSupport(b []byte, c *command) []byte {
	for _, a := range c.pairs[:c.n] {
		if string(a.name) == "feature" {
			return appendReply(b, c.token, "feature-support support "+d.support(a.value))
		}
	}
	return appendReply(b, c.token, invalid)
}

func (d *dialect) support(feature []byte) string {
	supported := false
	switch string(feature) {
	case "version":
		return d.version
	case "ip-4":
		supported = d.ip4
	case "ip-6":
		supported = d.ip6
	case "sctp":
		supported = d.sctp
	case "send-probe", "icmp", "udp", "tcp", "mark":
		supported = true
	}
	if supported {
		return "ok"
	}
	return "no"
}

// VersionFor returns the version of mtr that the process parent understands:
// an mtr from before 0.96 has the word "no-route" in its program, a later one
// "no-route-host". Other parents, which may pass replies on to anybody, and
// those that may not be looked into, get the newest. It must be asked before
// [DropPrivileges], which bars the way into the programs of more privileged users.
func VersionFor(parent int) string {
	const programLimit = 4 << 20 // ten times an mtr, and less than most runtimes of other languages
	f, err := os.Open(fmt.Sprintf("/proc/%d/exe", parent))
	if err != nil {
		return Newest
	}
	defer f.Close()
	program, err := io.ReadAll(io.LimitReader(f, programLimit))
	if err != nil || bytes.Contains(program, []byte("\x00no-route-host\x00")) || !bytes.Contains(program, []byte("\x00no-route\x00")) {
		return Newest
	}
	return "0.95"
}
