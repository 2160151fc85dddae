// Package sysinfo reads what a Linux machine knows about itself from /proc,
// /sys and /etc, without running a program: who it is, what it is made of, what
// runs on it and how busy it is.
//
// Results are partial rather than absent. What cannot be read is left zero and
// named in the error, which may hold several ([errors.Join]); the rest of the
// result is good. A caller that can live with gaps uses the result and logs
// the error.
package sysinfo

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Machine is a machine seen through its file systems. The zero value is the
// machine that the program runs on. It holds nothing open and may be copied.
type Machine struct {
	Root string // directory that holds proc, sys and etc; empty means /
}

// maxFile bounds what is read of one file. The largest that a kernel writes,
// /proc/cpuinfo of some hundred processors, is well below.
const maxFile = 1 << 20

func (m Machine) path(elem ...string) string {
	root := m.Root
	if root == "" {
		root = "/"
	}
	return filepath.Join(root, filepath.Join(elem...))
}

// read returns the start of a file, at most maxFile bytes of it.
func (m Machine) read(elem ...string) ([]byte, error) {
	f, err := os.Open(m.path(elem...))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var b bytes.Buffer
	b.Grow(8 << 10) // few files of procfs are longer, and their sizes say 0
	_, err = b.ReadFrom(io.LimitReader(f, maxFile))
	return b.Bytes(), err
}

// line returns the content of a file that holds one value.
func (m Machine) line(elem ...string) (string, error) {
	b, err := m.read(elem...)
	return clean(string(b)), err
}

// glob returns the directory entries that match a pattern below the root,
// sorted, with the root taken off again.
func (m Machine) glob(elem ...string) []string {
	found, _ := filepath.Glob(m.path(elem...)) // the only error is of the pattern
	for i := range found {
		found[i] = strings.TrimPrefix(found[i], m.path())
	}
	return found
}

// clean takes off what firmware leaves around a value: NULs, spaces, and
// anything that is not printable.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\uFFFD' {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	return strings.TrimSpace(s)
}

// unreadable is the error for a file that is there but makes no sense.
func unreadable(m Machine, what string, elem ...string) error {
	return fmt.Errorf("read %s: no %s in it", m.path(elem...), what)
}
