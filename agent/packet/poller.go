package packet

import (
	"os"

	"golang.org/x/sys/unix"
)

// poller waits for any of a few sockets to become readable.
type poller struct {
	epoll int
	bell  int // eventfd that ends the waiting
	ready []int
	heard [16]unix.EpollEvent
}

const bellIndex = -1

func openPoller() (*poller, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	bell, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(epoll)
		return nil, os.NewSyscallError("eventfd", err)
	}
	p := &poller{epoll: epoll, bell: bell}
	if err := p.add(bell, bellIndex, unix.EPOLLIN); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// add makes wait report index whenever one of the events has come for fd.
func (p *poller) add(fd, index int, events uint32) error {
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: int32(index)}))
}

// wait blocks until something is readable. It returns false after ring.
func (p *poller) wait() (ready []int, ok bool) {
	n, err := unix.EpollWait(p.epoll, p.heard[:], -1)
	if err != nil && err != unix.EINTR {
		return nil, false // the descriptor is bad: there is nothing to wait for
	}
	p.ready = p.ready[:0]
	for _, h := range p.heard[:max(n, 0)] {
		if h.Fd == bellIndex {
			return nil, false
		}
		p.ready = append(p.ready, int(h.Fd))
	}
	return p.ready, true
}

// ring ends the current and all further waits.
func (p *poller) ring() error {
	_, err := unix.Write(p.bell, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // any number but 0
	return os.NewSyscallError("write", err)
}

func (p *poller) close() {
	unix.Close(p.epoll)
	unix.Close(p.bell)
}
