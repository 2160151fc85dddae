package appliance

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// children starts the processes of PID 1 and waits for them. It waits for
// orphans too, whose parent PID 1 becomes; the statuses of all processes pass
// through it, so nothing else in PID 1 may use os/exec.
type children struct {
	mu      sync.Mutex
	waiting map[int]chan unix.WaitStatus // by PID

	closing, reaped chan struct{}
}

// newChildren starts to wait for processes.
func newChildren() *children {
	c := &children{waiting: make(map[int]chan unix.WaitStatus), closing: make(chan struct{}), reaped: make(chan struct{})}
	c.reap()
	return c
}

// child is a process that was started.
type child struct {
	pid    int
	status <-chan unix.WaitStatus // receives once, when the process has ended
}

// start runs this same program with other arguments, in a session of its own.
// The files become its descriptors 0, 1, 2. If the first is a terminal, it
// becomes the session's controlling one.
func (c *children) start(args []string, terminal bool, files ...*os.File) (child, error) {
	attr := &os.ProcAttr{Files: files, Sys: &syscall.SysProcAttr{Setsid: true, Setctty: terminal}}
	// Under the lock, so that a process which ends at once is not taken for an
	// orphan, and so that os may wait for what it tries out when it first starts one.
	c.mu.Lock()
	defer c.mu.Unlock()
	p, err := os.StartProcess("/proc/self/exe", append([]string{"natrix"}, args...), attr)
	if err != nil {
		return child{}, fmt.Errorf("start %v: %w", args, err)
	}
	status := make(chan unix.WaitStatus, 1)
	started := child{p.Pid, status}
	c.waiting[started.pid] = status
	p.Release() // which forgets the PID
	return started, nil
}

// reap waits for processes as they end, until close.
func (c *children) reap() {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGCHLD)
	go func() {
		defer close(c.reaped)
		defer signal.Stop(ended)
		for {
			c.collect()
			select {
			case <-ended: // stands for any number of processes
			case <-c.closing:
				return
			}
		}
	}()
}

// close stops what reap began. Processes that have not ended are left alone.
func (c *children) close() {
	close(c.closing)
	<-c.reaped
}

// drain returns when there are no processes left.
func (c *children) drain() {
	for c.collect() {
		unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOWAIT, nil) // until another one has ended
	}
}

// collect waits for those that have ended. It is false if there are no
// processes left at all.
func (c *children) collect() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil: // ECHILD
			return false
		case pid == 0:
			return true
		default:
			if wait := c.waiting[pid]; wait != nil {
				wait <- status
				delete(c.waiting, pid)
			}
		}
	}
}

// describe says how a process ended.
func describe(s unix.WaitStatus) string {
	if s.Signaled() {
		return "killed by " + unix.SignalName(s.Signal())
	}
	return fmt.Sprintf("exit status %d", s.ExitStatus())
}
