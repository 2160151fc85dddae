package packet

import (
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// poller waits for any of a few sockets to become readable. It does so behind
// a gate, which lets one wake-up through each time that it is opened: the
// arrival of a packet costs several times as much if it wakes a thread.
type poller struct {
	epoll int // of the sockets
	gate  int // epoll of that and the bell
	bell  int // eventfd that ends the waiting
	open  atomic.Bool
	ready []int
	heard [16]unix.EpollEvent
}

// What the gate hears.
const (
	bellIndex = iota
	socketsIndex
)

func openPoller() (p *poller, err error) {
	p = &poller{epoll: -1, gate: -1, bell: -1}
	if err = p.openAll(); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *poller) openAll() (err error) {
	if p.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	if p.gate, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	if p.bell, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return os.NewSyscallError("eventfd", err)
	}
	if err = control(p.gate, unix.EPOLL_CTL_ADD, p.bell, bellIndex, unix.EPOLLIN); err != nil {
		return err
	}
	return control(p.gate, unix.EPOLL_CTL_ADD, p.epoll, socketsIndex, unix.EPOLLONESHOT)
}

func control(epoll, operation, fd, index int, events uint32) error {
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(epoll, operation, fd, &unix.EpollEvent{Events: events, Fd: int32(index)}))
}

// add makes wait report index whenever one of the events has come for fd.
func (p *poller) add(fd, index int, events uint32) error {
	return control(p.epoll, unix.EPOLL_CTL_ADD, fd, index, events)
}

// listen opens the gate. What came before is heard too.
func (p *poller) listen() {
	if !p.open.Swap(true) {
		_ = control(p.gate, unix.EPOLL_CTL_MOD, p.epoll, socketsIndex, unix.EPOLLIN|unix.EPOLLONESHOT) // can only fail once closed
	}
}

// wait blocks until something is readable while the gate is open, and closes
// it. It returns false after ring.
func (p *poller) wait() (ready []int, ok bool) {
	n, err := unix.EpollWait(p.gate, p.heard[:], -1)
	if err != nil && err != unix.EINTR {
		return nil, false // the descriptor is bad: there is nothing to wait for
	}
	p.ready = p.ready[:0]
	for _, h := range p.heard[:max(n, 0)] {
		if h.Fd == bellIndex {
			return nil, false
		}
	}
	if n <= 0 {
		return p.ready, true
	}
	p.open.Store(false)
	n, _ = unix.EpollWait(p.epoll, p.heard[:], 0) // it does not wait, and what is left is heard again
	for _, h := range p.heard[:max(n, 0)] {
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
	for _, fd := range []int{p.epoll, p.gate, p.bell} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}
