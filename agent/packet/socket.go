package packet

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// rawSocket opens a socket in the network namespace of this thread. It stays
// out of Go's poller, which would wake a thread for every single packet.
func rawSocket(six bool, protocol int) (int, error) {
	family := unix.AF_INET
	if six {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	return fd, os.NewSyscallError("socket", err)
}

// where a raw socket listens. Nowhere is an address that no unicast packet
// has, and to which the kernel therefore need not clone any.
type where bool

const (
	nowhere    where = false
	everywhere where = true
)

func bind(fd int, six bool, w where) error {
	var to unix.Sockaddr
	switch {
	case six && w == everywhere:
		to = &unix.SockaddrInet6{}
	case six:
		to = &unix.SockaddrInet6{Addr: [16]byte{0xff}} // multicast, reserved scope
	case w == everywhere:
		to = &unix.SockaddrInet4{}
	default:
		to = &unix.SockaddrInet4{Addr: [4]byte{255, 255, 255, 255}}
	}
	return os.NewSyscallError("bind", unix.Bind(fd, to))
}

// onlyAnswers blocks ICMP types that no packet of ours is answered with. The
// kernel looks at this before it clones a packet, at the BPF filter only after.
func onlyAnswers(fd int, six bool) error {
	if !six {
		const icmpFilter = 1 // ICMP_FILTER of linux/icmp.h
		blocked := ^uint32(1<<0 | 1<<3 | 1<<4 | 1<<11 | 1<<12)
		return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_RAW, icmpFilter, int(int32(blocked))))
	}
	f := new(unix.ICMPv6Filter)
	for i := range f.Data {
		f.Data[i] = 0xffffffff
	}
	f.Data[0] &^= 1<<1 | 1<<2 | 1<<3 | 1<<4
	f.Data[129/32] &^= 1 << (129 % 32)
	return os.NewSyscallError("setsockopt", unix.SetsockoptICMPv6Filter(fd, unix.IPPROTO_ICMPV6, unix.ICMPV6_FILTER, f))
}

// options sets socket options until one fails.
type options struct {
	fd  int
	err error
}

func (o *options) set(level, name, value int) {
	if o.err == nil {
		o.err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(o.fd, level, name, value))
	}
}

// setBuffer sets a buffer size beyond the limit for everybody if it may. A
// smaller buffer works, and overflows are counted.
func setBuffer(fd, force, plain, size int) {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, size) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, plain, size)
	}
}

// openSockets opens what the host has: a family that is switched off is left out.
func (e *Engine) openSockets() error {
	if e.opt.Unprivileged {
		e.openUnprivileged()
		return nil
	}
	e.cards = openHardware()
	var errs [2]error
	for i, six := range []bool{false, true} {
		errs[i] = e.openFamily(i, six)
	}
	if errors.Is(errs[0], os.ErrPermission) {
		e.openUnprivileged()
		return nil
	}
	if errs[0] != nil && errs[1] != nil {
		return errs[0]
	}
	return e.setFilters()
}

func (e *Engine) openFamily(family int, six bool) (err error) {
	if e.senders[family], err = openSender(six, unix.IPPROTO_RAW, e.opt.Buffer, e.cards.stamping()); err != nil {
		return err
	}
	for _, p := range []Protocol{ICMP, UDP} {
		e.fragmenters[family][p], err = openSender(six, int(p.number(six)), e.opt.Buffer, e.cards.stamping())
		if err != nil {
			return err
		}
	}
	for p := ICMP; p <= SCTP; p++ {
		r, err := openReceiver(p, six, e.opt.Buffer, e.cards.stamping())
		if err != nil {
			return err
		}
		if err := e.poller.add(r.fd, len(e.receivers), unix.EPOLLIN); err != nil {
			return err
		}
		e.receivers = append(e.receivers, r)
	}
	return nil
}

// wake makes the engine hear answers to packets of a protocol.
func (e *Engine) wake(p Protocol, six bool) error {
	for _, r := range e.receivers {
		if r.six != six || r.protocol != p && r.protocol != ICMP {
			continue
		}
		r.expecting = true
		if err := r.listen(everywhere); err != nil {
			return err
		}
	}
	return nil
}

// rest is the opposite, for when nothing is in flight. A failure costs only
// the kernel's time.
func (e *Engine) rest() {
	for _, r := range e.receivers {
		_ = r.listen(nowhere)
	}
}

// setFilters lets answers to all of the table's numbers through.
func (e *Engine) setFilters() error {
	n := e.table.numbers()
	var errs []error
	for _, r := range e.receivers {
		errs = append(errs, attach(r.fd, n.filter(r.protocol, r.six)))
	}
	return errors.Join(errs...)
}
