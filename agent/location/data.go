package location

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// Data is data sets that have been opened. Close it when nobody looks
// addresses up any more.
type Data struct {
	sets   []set
	mapped [][]byte
}

// A set is one data set. Its answer has blank or "0" parts where it knows
// nothing, and shares no memory with the file.
type set interface {
	find(netip.Addr) (Location, bool)
}

// Open opens data sets: files, or directories of files, in the order in which
// they are asked. A part that one set does not know is taken from the next one
// that does. A file can be an ip2region .db or .xdb, an ipv6wry.db, or a MaxMind
// .mmdb with cities, countries, networks or providers; its content says which.
//
// Without any path, and where none of the paths exists, Data is what was built
// into the program, if anything. The error names every file that is of no use;
// Data is of the others and never nil.
func Open(paths ...string) (*Data, error) {
	d := new(Data)
	var problems []error
	for _, path := range paths {
		if err := d.add(path); err != nil {
			problems = append(problems, err)
		}
	}
	if len(d.sets) > 0 {
		return d, errors.Join(problems...)
	}
	for _, body := range embedded() {
		s, err := recognise(body)
		if err != nil {
			problems = append(problems, fmt.Errorf("location data built in: %w", err))
			continue
		}
		d.sets = append(d.sets, s)
	}
	return d, errors.Join(problems...)
}

// add opens a file, or each file of a directory.
func (d *Data) add(path string) error {
	entries, err := os.ReadDir(path)
	if errors.Is(err, unix.ENOTDIR) {
		return d.addFile(path)
	}
	if err != nil {
		return fmt.Errorf("location data: %w", err)
	}
	var problems []error
	for _, e := range entries {
		if e.Type().IsRegular() || e.Type()&fs.ModeSymlink != 0 {
			problems = append(problems, d.addFile(filepath.Join(path, e.Name())))
		}
	}
	return errors.Join(problems...)
}

func (d *Data) addFile(path string) error {
	body, err := mapFile(path)
	if err != nil {
		return fmt.Errorf("location data %s: %w", path, err)
	}
	s, err := recognise(body)
	if err != nil {
		unix.Munmap(body)
		return fmt.Errorf("location data %s: %w", path, err)
	}
	d.mapped = append(d.mapped, body)
	d.sets = append(d.sets, s)
	return nil
}

// mapFile maps a file: what lookups do not touch costs no memory.
func mapFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() == 0 || info.Size() > 1<<30 {
		return nil, errUnknown
	}
	body, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map: %w", err)
	}
	return body, nil
}

var errUnknown = errors.New("not a data set that is known: ip2region .db or .xdb, ipv6wry.db, or MaxMind .mmdb")

// recognise tells by its content what a data set is.
func recognise(body []byte) (set, error) {
	switch {
	case bytes.HasPrefix(body, []byte("IPDB")):
		return openWry(body)
	case bytes.Contains(body[max(0, len(body)-maxMetadata):], []byte(metadataMark)):
		return openMaxMind(body)
	}
	if x, ok := openXDB(body); ok {
		return x, nil
	}
	if x, ok := openBTree(body); ok {
		return x, nil
	}
	return nil, errUnknown
}

// Finder looks addresses up in the data.
func (d *Data) Finder() Finder {
	if len(d.sets) == 0 {
		return Finder{}
	}
	return NewFinder(d.find)
}

// Close frees the files.
func (d *Data) Close() error {
	var problems []error
	for _, m := range d.mapped {
		problems = append(problems, unix.Munmap(m))
	}
	d.sets, d.mapped = nil, nil
	return errors.Join(problems...)
}

// find takes the place from the first set that knows the country, and the
// provider from the first that knows it.
func (d *Data) find(addr netip.Addr) (l Location, known bool) {
	// A file that somebody has shortened since has pages that are not there any more.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			if _, fault := p.(interface{ Addr() uintptr }); !fault {
				panic(p)
			}
		}
	}()
	for _, s := range d.sets {
		found, ok := s.find(addr)
		if !ok {
			continue
		}
		found = found.filled()
		if !known {
			l, known = found, true
			continue
		}
		isp := l.ISP
		if l.Country == "0" && l.City == "0" {
			l = found
		}
		if l.ISP = isp; isp == "0" {
			l.ISP = found.ISP
		}
	}
	return l, known
}
