package packet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// unprivileged is the state of an Engine without raw sockets. Every packet has
// a kernel socket of its own: a ping socket, which needs
// net.ipv4.ping_group_range (icmp(7)), or a UDP or TCP socket. ICMP errors come
// through its error queue (IP_RECVERR, ip(7)), which keeps type, code, sender
// and extensions. Options.Unprivileged says what is lost.
type unprivileged struct {
	flights map[int]*flight // by socket
	buffer  [MaxSize]byte
	control [512]byte
}

// openUnprivileged prepares for sockets that are opened packet by packet.
func (e *Engine) openUnprivileged() {
	e.plain = &unprivileged{flights: make(map[int]*flight)}
}

// Privileged reports whether the engine has raw sockets. Without it does what
// Linux lets everybody do: see Options.Unprivileged.
func (e *Engine) Privileged() bool { return e.plain == nil }

// stagePlain opens a socket for one request and sends it. e.tx is held.
func (e *Engine) stagePlain(s *Stream, r *Request) (*flight, error) {
	if r.Protocol == SCTP {
		return nil, fmt.Errorf("sctp: %w", ErrUnsupported)
	}
	way, err := e.way(r)
	if err != nil {
		return nil, err
	}
	f, err := e.register(s, r, way)
	if err != nil {
		return f, err
	}
	var fd int
	err = e.table.home.do(func() (err error) {
		fd, err = plainSocket(r, way)
		return err
	})
	if err != nil {
		return f, fmt.Errorf("send to %s: %w", r.Dst, err)
	}
	e.launch([]*flight{f})
	if err = sendPlain(fd, r, f, way.index); err == nil {
		err = e.watch(f, fd)
	}
	if err != nil {
		unix.Close(fd)
		return f, fmt.Errorf("send to %s: %w", r.Dst, err)
	}
	return f, nil
}

// watch gives f its socket, which land closes.
func (e *Engine) watch(f *flight, fd int) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stats.Sent++
	if f.state != flying {
		unix.Close(fd) // its time is up already
		return nil
	}
	events := uint32(unix.EPOLLIN)
	if f.protocol == TCP {
		events = unix.EPOLLOUT
	}
	if err := e.poller.add(fd, fd, events); err != nil {
		return err
	}
	f.fd = fd
	e.plain.flights[fd] = f
	return nil
}

// plainSocket opens a socket with everything that the request asks for.
func plainSocket(r *Request, way route) (fd int, err error) {
	six := r.Dst.Is6()
	family, typ, protocol := unix.AF_INET, unix.SOCK_DGRAM, int(r.Protocol.number(six))
	if six {
		family = unix.AF_INET6
	}
	if r.Protocol == TCP {
		typ = unix.SOCK_STREAM
	}
	if fd, err = unix.Socket(family, typ|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol); err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	o := options{fd: fd}
	if six {
		o.plain6(r)
	} else {
		o.plain4(r)
	}
	o.set(unix.SOL_SOCKET, unix.SO_TIMESTAMPING_NEW, softwareStamps)
	if r.Mark != 0 {
		o.set(unix.SOL_SOCKET, unix.SO_MARK, int(r.Mark))
	}
	if r.Protocol == TCP {
		o.set(unix.IPPROTO_TCP, unix.TCP_SYNCNT, 1)
		o.err = errors.Join(o.err, unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}))
	}
	if r.Link != "" && o.err == nil {
		o.err = os.NewSyscallError("bind to link", unix.BindToDevice(fd, r.Link))
	}
	if o.err == nil && (r.Src.IsValid() || r.SrcPort != 0) {
		o.err = os.NewSyscallError("bind", unix.Bind(fd, sockaddr(r.Src, six, r.SrcPort, way.index)))
	}
	if o.err != nil {
		unix.Close(fd)
		return -1, o.err
	}
	return fd, nil
}

func (o *options) plain4(r *Request) {
	o.set(unix.IPPROTO_IP, unix.IP_RECVERR, 1)
	o.set(unix.IPPROTO_IP, unix.IP_RECVERR_RFC4884, 1)
	o.set(unix.IPPROTO_IP, unix.IP_TTL, r.TTL)
	o.set(unix.IPPROTO_IP, unix.IP_TOS, r.TOS)
	o.set(unix.IPPROTO_IP, unix.IP_RECVTTL, 1)
	discover := unix.IP_PMTUDISC_DONT
	if r.DontFragment {
		discover = unix.IP_PMTUDISC_PROBE
	}
	o.set(unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, discover)
}

func (o *options) plain6(r *Request) {
	o.set(unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1)
	o.set(unix.IPPROTO_IPV6, unix.IPV6_RECVERR_RFC4884, 1)
	o.set(unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, r.TTL)
	o.set(unix.IPPROTO_IPV6, unix.IPV6_TCLASS, r.TOS)
	o.set(unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, 1)
	if r.DontFragment {
		o.set(unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE)
		o.set(unix.IPPROTO_IPV6, unix.IPV6_DONTFRAG, 1)
	}
}

func sockaddr(a netip.Addr, six bool, port uint16, link int) unix.Sockaddr {
	if six {
		sa := &unix.SockaddrInet6{Port: int(port)}
		if a.IsValid() {
			sa.Addr = a.As16()
		}
		if a.IsLinkLocalUnicast() || a.IsLinkLocalMulticast() {
			sa.ZoneId = uint32(link)
		}
		return sa
	}
	sa := &unix.SockaddrInet4{Port: int(port)}
	if a.IsValid() {
		sa.Addr = a.As4()
	}
	return sa
}

// sendPlain connects, so that only answers and errors of this packet come
// back, and sends what the protocol needs beyond that.
func sendPlain(fd int, r *Request, f *flight, link int) error {
	six := r.Dst.Is6()
	port := f.dport
	if r.Protocol == ICMP {
		port = 0
	}
	err := unix.Connect(fd, sockaddr(r.Dst, six, port, link))
	if err == unix.EINPROGRESS {
		return nil
	}
	if err != nil || r.Protocol == TCP {
		return os.NewSyscallError("connect", err)
	}
	header := r.smallest() - minPayload(r)
	b := make([]byte, r.Size-header)
	fill(b, r.Pattern)
	if r.Protocol == ICMP {
		b = append(make([]byte, icmpLen), b...)
		b[0] = 8
		if six {
			b[0] = 128
		}
		be.PutUint16(b[6:], f.ident) // identifier and checksum are the kernel's
	}
	_, err = unix.Write(fd, b)
	return os.NewSyscallError("write", err)
}

// minPayload is what smallest has beyond the headers.
func minPayload(r *Request) int {
	switch {
	case r.Protocol == UDP:
		return 4
	case r.Flow != 0:
		return 2
	}
	return 0
}

// receivePlain deals with a socket that has something to read. Everything
// happens under e.mu, because as soon as a flight has landed its descriptor may be somebody else's.
func (e *Engine) receivePlain(fd int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f := e.plain.flights[fd]
	if f == nil {
		return
	}
	for f.fd == fd && e.plain.readQueue(e, f) {
	}
	if f.fd == fd {
		e.plain.readAnswer(e, f)
	}
}

// readQueue reads one message of the error queue: a stamp of the packet's
// departure or an ICMP error. It returns false when there is none.
func (u *unprivileged) readQueue(e *Engine, f *flight) bool {
	n, oobn, _, _, err := unix.Recvmsg(f.fd, u.buffer[:], u.control[:], unix.MSG_ERRQUEUE)
	if err != nil {
		return false
	}
	a := arrival{sighting: sighting{protocol: f.protocol, ttl: -1, quotedTTL: -1, quotedTOS: -1}}
	var problem extendedError
	eachControl(u.control[:oobn], func(level, typ int32, data []byte) {
		switch {
		case level == unix.SOL_SOCKET && typ == unix.SO_TIMESTAMPING_NEW:
			a.stamps = parseStamps(data)
		case level == unix.IPPROTO_IP && typ == unix.IP_RECVERR, level == unix.IPPROTO_IPV6 && typ == unix.IPV6_RECVERR:
			problem = parseExtendedError(data)
		case level == unix.IPPROTO_IP && typ == unix.IP_TTL, level == unix.IPPROTO_IPV6 && typ == unix.IPV6_HOPLIMIT:
			a.ttl = int(nativeUint32(data))
		}
	})
	switch problem.origin {
	case unix.SO_EE_ORIGIN_TIMESTAMPING:
		if a.stamps.software != 0 {
			f.stamps.software = a.stamps.software
		}
	case unix.SO_EE_ORIGIN_LOCAL:
		e.fail(f, fmt.Errorf("send to %s: %w", f.dst, unix.Errno(problem.errno)))
	case unix.SO_EE_ORIGIN_ICMP, unix.SO_EE_ORIGIN_ICMP6:
		a.describe(problem)
		if at := problem.extensions; at > 0 && at+extensionHeader <= n && validExtensions(u.buffer[at:n]) {
			a.extensions = u.buffer[at:n]
		}
		e.answerPlain(f, &a)
	}
	return true
}

func (a *arrival) describe(p extendedError) {
	a.from, a.icmpType, a.icmpCode = p.offender, p.typ, p.code
	if p.origin == unix.SO_EE_ORIGIN_ICMP {
		a.kind = kind4(p.typ, p.code)
	} else {
		a.kind = kind6(p.typ, p.code)
	}
	if a.kind == TooBig {
		a.mtu = int(p.info)
	}
}

// answerPlain books an answer.
func (e *Engine) answerPlain(f *flight, a *arrival) {
	now, o := e.clock.offset()
	e.answer(f, a, moment{now, o})
}

// readAnswer reads data, or how a connection attempt went.
func (u *unprivileged) readAnswer(e *Engine, f *flight) {
	a := arrival{sighting: sighting{protocol: f.protocol, from: f.dst, ttl: -1}}
	if f.protocol == TCP {
		e.connected(f, &a)
		return
	}
	n, oobn, _, from, err := unix.Recvmsg(f.fd, u.buffer[:], u.control[:], 0)
	if err != nil {
		return // an error whose details are in the error queue, or nothing
	}
	eachControl(u.control[:oobn], func(level, typ int32, data []byte) {
		switch {
		case level == unix.SOL_SOCKET && typ == unix.SO_TIMESTAMPING_NEW:
			a.stamps = parseStamps(data)
		case level == unix.IPPROTO_IP && typ == unix.IP_TTL, level == unix.IPPROTO_IPV6 && typ == unix.IPV6_HOPLIMIT:
			a.ttl = int(nativeUint32(data))
		}
	})
	header := ip4Len
	switch from := from.(type) {
	case *unix.SockaddrInet4:
		a.from = netip.AddrFrom4(from.Addr)
	case *unix.SockaddrInet6:
		a.from, header = netip.AddrFrom16(from.Addr), ip6Len
	}
	a.size = header + n
	if f.protocol == UDP {
		a.kind, a.size = UDPReply, a.size+udpLen
	} else if a.kind = EchoReply; n < icmpLen || be.Uint16(u.buffer[6:]) != f.ident {
		return
	}
	e.answerPlain(f, &a)
}

// connected books the outcome of a connection attempt, if there is one.
func (e *Engine) connected(f *flight, a *arrival) {
	errno, err := unix.GetsockoptInt(f.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return
	}
	switch unix.Errno(errno) {
	case 0:
		if _, err := unix.Getpeername(f.fd); err == nil {
			a.kind = TCPOpen
			e.answerPlain(f, a)
		}
	case unix.ECONNREFUSED:
		a.kind = TCPClosed
		e.answerPlain(f, a)
	case unix.ETIMEDOUT: // the kernel gives up before us
		e.giveUp(f)
	default:
		e.fail(f, fmt.Errorf("connect to %s: %w", f.dst, unix.Errno(errno)))
	}
}

// extendedError is struct sock_extended_err with the address behind it (ip(7)).
type extendedError struct {
	errno     uint32
	origin    uint8
	typ, code uint8
	info      uint32 // the MTU of "too big"

	extensions int // where they begin in the message (struct sock_ee_data_rfc4884), 0 for none
	offender   netip.Addr
}

func parseExtendedError(b []byte) (x extendedError) {
	if len(b) < 16 {
		return x
	}
	x = extendedError{errno: nativeUint32(b), origin: b[4], typ: b[5], code: b[6], info: nativeUint32(b[8:])}
	if b[14]&unix.SO_EE_RFC4884_FLAG_INVALID == 0 {
		x.extensions = int(binary.NativeEndian.Uint16(b[12:]))
	}
	switch sa := b[16:]; {
	case len(sa) >= unix.SizeofSockaddrInet4 && binary.NativeEndian.Uint16(sa) == unix.AF_INET:
		x.offender = netip.AddrFrom4([4]byte(sa[4:]))
	case len(sa) >= unix.SizeofSockaddrInet6 && binary.NativeEndian.Uint16(sa) == unix.AF_INET6:
		x.offender = netip.AddrFrom16([16]byte(sa[8:]))
	}
	return x
}
