package lease

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

// record is a lease as it is kept in a file. Its times are seconds since boot
// (CLOCK_BOOTTIME), because the wall clock may be set while the lease is held;
// so a record means nothing after a reboot, and /run forgets it.
type record struct {
	Lease
	Acquired, Renew, Rebind, Expires float64
}

// Read returns the leases kept in dir, sorted by link, with their times by the
// present wall clock. It is for other processes than the one that runs [Run];
// a lease that has expired is left out. A missing dir holds no leases.
func Read(dir string) ([]Lease, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, fmt.Errorf("list leases: %w", err)
	}
	var leases []Lease
	for _, file := range files {
		l, err := load(file)
		if errors.Is(err, os.ErrNotExist) {
			continue // withdrawn since we listed it
		}
		if err != nil {
			return nil, err
		}
		if time.Now().Before(l.Expires) {
			leases = append(leases, l)
		}
	}
	return leases, nil
}

func load(file string) (Lease, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return Lease{}, fmt.Errorf("read lease: %w", err)
	}
	var r record
	if err := json.Unmarshal(b, &r); err != nil {
		return Lease{}, fmt.Errorf("read lease %s: %w", file, err)
	}
	boot, err := bootTime()
	if err != nil {
		return Lease{}, err
	}
	wall := func(sinceBoot float64) time.Time {
		return boot.Add(time.Duration(sinceBoot * float64(time.Second)))
	}
	l := r.Lease
	l.Acquired, l.Renew, l.Rebind, l.Expires = wall(r.Acquired), wall(r.Renew), wall(r.Rebind), wall(r.Expires)
	return l, nil
}

// save keeps l in dir, in one step: a reader sees the old lease or the new one.
func save(dir string, l Lease) error {
	boot, err := bootTime()
	if err != nil {
		return err
	}
	since := func(t time.Time) float64 { return t.Sub(boot).Seconds() }
	b, err := json.Marshal(record{l, since(l.Acquired), since(l.Renew), since(l.Rebind), since(l.Expires)})
	if err != nil {
		return fmt.Errorf("keep lease of %s: %w", l.Link, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("keep lease of %s: %w", l.Link, err)
	}
	if err := renameio.WriteFile(recordFile(dir, l.Link), append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("keep lease of %s: %w", l.Link, err)
	}
	return nil
}

func forget(dir, link string) error {
	err := os.Remove(recordFile(dir, link))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("forget lease of %s: %w", link, err)
	}
	return nil
}

func recordFile(dir, link string) string { return filepath.Join(dir, link+".json") }

// bootTime is when the kernel started, on a scale on which differences to
// time.Now are right in this process whatever happens to the wall clock.
func bootTime() (time.Time, error) {
	var ts unix.Timespec
	now := time.Now()
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return time.Time{}, fmt.Errorf("read boot clock: %w", err)
	}
	return now.Add(-time.Duration(ts.Nano())), nil
}
