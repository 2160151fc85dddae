package mtr

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// process is another process, whose end can be waited for. The nil process
// never ends.
type process struct {
	file *os.File // pidfd; nil if it had ended before
}

// watch opens a process. The nil process is returned for pid 0.
func watch(pid int) (*process, error) {
	if pid == 0 {
		return nil, nil
	}
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	switch {
	case errors.Is(err, unix.ESRCH):
		return &process{}, nil
	case err != nil:
		return nil, fmt.Errorf("watch process %d: %w", pid, err)
	}
	return &process{os.NewFile(uintptr(fd), "pidfd")}, nil
}

// wait waits until the process or ctx has ended.
func (p *process) wait(ctx context.Context) {
	switch {
	case p == nil:
		<-ctx.Done()
		return
	case p.file == nil:
		return
	}
	stop := context.AfterFunc(ctx, func() { p.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if raw, err := p.file.SyscallConn(); err == nil {
		_ = raw.Read(ended) // fails only when ctx ends
	}
}

// ended says whether a pidfd is readable, which it is after the end of its process.
func ended(fd uintptr) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0
}

func (p *process) close() {
	if p != nil && p.file != nil {
		p.file.Close()
	}
}
