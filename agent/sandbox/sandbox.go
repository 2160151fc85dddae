// Package sandbox takes from this process what it will not need any more:
// capabilities, system calls and the right to write to files. What it leaves is
// what an intruder would get.
package sandbox

import (
	"errors"
	"fmt"

	"github.com/landlock-lsm/go-landlock/landlock"
	"kernel.org/pub/linux/libs/security/libcap/cap"
)

// Policy is what a process keeps.
type Policy struct {
	Capabilities []cap.Value // in all its threads, and in what it starts
	Writable     []string    // directories below which it may write; those that are missing are left out
}

// Enter reduces the whole process for good, and whatever it starts. It takes as
// much as the kernel lets it: the error tells what it does not, and the rest is
// taken all the same. Everything may be read and executed as before, as far as
// permissions go.
func Enter(p Policy) error {
	return errors.Join(
		wrap("keep few capabilities", p.keepCapabilities()),
		wrap("filter system calls", filterCalls()),
		wrap("restrict writing", p.restrictWriting()),
	)
}

func wrap(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// keepCapabilities leaves the given capabilities, as far as the process has
// them, and takes all others from what it may ever regain (capabilities(7)).
func (p Policy) keepCapabilities() error {
	now := cap.GetProc()
	keep := cap.NewSet()
	for _, c := range p.Capabilities {
		has, err := now.GetFlag(cap.Permitted, c)
		if err != nil {
			return err
		}
		if has {
			if err := keep.SetFlag(cap.Permitted, true, c); err != nil {
				return err
			}
		}
	}
	if err := keep.FillFlag(cap.Effective, keep, cap.Permitted); err != nil {
		return err
	}
	if canDrop, _ := now.GetFlag(cap.Effective, cap.SETPCAP); canDrop {
		for c := cap.Value(0); c < cap.MaxBits(); c++ {
			if kept, _ := keep.GetFlag(cap.Permitted, c); !kept {
				if err := cap.DropBound(c); err != nil {
					return err
				}
			}
		}
	}
	return keep.SetProc()
}

// restrictWriting is Landlock's work (Documentation/userspace-api/landlock.rst),
// of kernels from 5.13 on that have it switched on.
func (p Policy) restrictWriting() error {
	writable := []landlock.Rule{landlock.RODirs("/"), landlock.RWDirs("/dev", "/proc/self").WithIoctlDev().IgnoreIfMissing()}
	for _, dir := range p.Writable {
		if dir != "" {
			writable = append(writable, landlock.RWDirs(dir).WithRefer().IgnoreIfMissing())
		}
	}
	return landlock.V6.BestEffort().RestrictPaths(writable...)
}
