package packet

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

const (
	batchSize   = 64        // packets per system call
	headSize    = 2048      // bytes kept of a received packet; ICMPv6 errors may have 1280
	controlSize = 192       // bytes of control messages per packet
	arenaSize   = 128 << 10 // bytes of packets per batch, at least one of MaxSize
	maxUnread   = 4096      // packets sent before their stamps are read even if nothing is answered
	maxWaits    = 1000      // for room in a send buffer, of a millisecond each, before packets fail
)

// batch is the memory of one sendmmsg or recvmmsg call.
type batch struct {
	messages [batchSize]unix.Mmsghdr
	vectors  [batchSize][2]unix.Iovec
	names    [batchSize]unix.RawSockaddrInet6
	controls [batchSize][controlSize]byte
}

// newBatch returns a batch whose pointers are in place.
func newBatch() *batch {
	b := new(batch)
	for i := range b.messages {
		h := &b.messages[i].Hdr
		h.Name = (*byte)(unsafe.Pointer(&b.names[i]))
		h.Iov = &b.vectors[i][0]
		h.SetIovlen(1)
		h.Control = &b.controls[i][0]
	}
	return b
}

// inbox is a batch with memory to receive into. Packets longer than headSize
// are cut; their rest goes where nobody reads it.
type inbox struct {
	*batch
	heads [batchSize][headSize]byte
	rest  []byte
}

func newInbox() *inbox {
	in := &inbox{batch: newBatch(), rest: make([]byte, MaxSize+64)}
	for i := range in.messages {
		in.vectors[i][0].Base = &in.heads[i][0]
		in.vectors[i][0].SetLen(headSize)
		in.vectors[i][1].Base = &in.rest[0]
		in.vectors[i][1].SetLen(len(in.rest))
		in.messages[i].Hdr.SetIovlen(2)
	}
	return in
}

// read receives what is there without waiting.
func (in *inbox) read(fd uintptr, flags int) (int, unix.Errno) {
	for i := range in.messages {
		h := &in.messages[i].Hdr
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(controlSize)
	}
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&in.messages[0])), batchSize,
		uintptr(flags|unix.MSG_DONTWAIT), 0, 0)
	return int(n), errno
}

// packet returns the kept bytes of the i-th packet and its full size.
func (in *inbox) packet(i int) (head []byte, size int) {
	size = int(in.messages[i].Len)
	return in.heads[i][:min(size, headSize)], size
}

// eachControl calls do for every control message of the i-th packet.
func (in *inbox) eachControl(i int, do func(level, typ int32, data []byte)) {
	eachControl(in.controls[i][:in.messages[i].Hdr.Controllen], do)
}

// receiver is a raw socket for the answers of one protocol.
type receiver struct {
	protocol Protocol
	six      bool
	fd       int
	awake    atomic.Bool // bound to every address rather than nowhere
	overflow uint32      // packets dropped since open, as the kernel counts
	booked   uint32      // of these already counted
	strange  uint64      // packets that could not be parsed
}

func openReceiver(p Protocol, six bool, buffer int) (*receiver, error) {
	fd, err := rawSocket(six, int(p.number(six)))
	if err != nil {
		return nil, err
	}
	r := &receiver{protocol: p, six: six, fd: fd}
	if err := r.prepare(fd, buffer); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("%s socket: %w", p, err)
	}
	return r, nil
}

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

func (r *receiver) prepare(fd, buffer int) error {
	if err := attach(fd, []bpf.Instruction{bpf.RetConstant{Val: drop}}); err != nil {
		return err
	}
	if r.protocol == ICMP {
		r.awake.Store(true)
		if err := onlyAnswers(fd, r.six); err != nil {
			return err
		}
	} else if err := bind(fd, r.six, nowhere); err != nil {
		return err
	}
	setBuffer(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, buffer)
	o := options{fd: fd}
	o.set(unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1)
	o.set(unix.SOL_SOCKET, unix.SO_TIMESTAMPING_NEW, stamping)
	if r.six {
		o.set(unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, 1)
		o.set(unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
	}
	return o.err
}

// wake lets the socket receive. Until a protocol is used its socket is bound
// to nowhere, so that this host's other traffic does not pay for it, and so
// that the kernel answers SCTP itself as long as we do not use it.
func (r *receiver) wake() error {
	if r.awake.Load() {
		return nil
	}
	r.awake.Store(true)
	return bind(r.fd, r.six, everywhere)
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

// parse appends what the n packets just read say.
func (r *receiver) parse(in *inbox, to []arrival, n int) []arrival {
	for i := range n {
		a := arrival{}
		ttl, local := -1, netip.Addr{}
		in.eachControl(i, func(level, typ int32, data []byte) {
			switch {
			case level == unix.SOL_SOCKET && typ == unix.SO_TIMESTAMPING_NEW:
				a.stamps = parseStamps(data)
			case level == unix.SOL_SOCKET && typ == unix.SO_RXQ_OVFL && len(data) >= 4:
				r.overflow = nativeUint32(data)
			case level == unix.IPPROTO_IPV6 && typ == unix.IPV6_HOPLIMIT && len(data) >= 4:
				ttl = int(nativeUint32(data))
			case level == unix.IPPROTO_IPV6 && typ == unix.IPV6_PKTINFO && len(data) >= 16:
				local = netip.AddrFrom16([16]byte(data))
			}
		})
		head, size := in.packet(i)
		var ok bool
		if r.six {
			name := &in.names[i]
			a.link = int(name.Scope_id)
			a.sighting, ok = parse6(r.protocol, head, netip.AddrFrom16(name.Addr), local, ttl, size)
		} else {
			a.sighting, ok = parse4(head)
		}
		if !ok {
			r.strange++
			continue
		}
		to = append(to, a)
	}
	return to
}

// overflowed returns how many packets the kernel has dropped since it was last asked.
func (r *receiver) overflowed() uint64 {
	n := r.overflow - r.booked // wraps as the kernel's counter does
	r.booked = r.overflow
	return uint64(n)
}

// foreign returns how many packets could not be parsed since it was last asked.
func (r *receiver) foreign() uint64 {
	n := r.strange
	r.strange = 0
	return n
}

// sender is a socket that packets leave through.
type sender struct {
	fd       int
	six      bool
	fragment bool // the kernel writes the IP header
	out      *batch
	arena    []byte
	used     int // of arena
	n        int // messages staged
	flights  [batchSize]*flight

	sending atomic.Bool  // the kernel has the batch
	unread  atomic.Int32 // batches sent since the stamps were read

	stamping sync.Mutex // guards in
	in       *inbox
}

// openSender opens a socket that takes whole IP packets (raw(7)), or if
// protocol is not IPPROTO_RAW, one whose packets the kernel fragments.
func openSender(six bool, protocol int, buffer int) (*sender, error) {
	fd, err := rawSocket(six, protocol)
	if err != nil {
		return nil, err
	}
	s := &sender{fd: fd, six: six, fragment: protocol != unix.IPPROTO_RAW, out: newBatch(), arena: make([]byte, arenaSize), in: newInbox()}
	if err := s.prepare(buffer); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return s, nil
}

func (s *sender) prepare(buffer int) error {
	if err := attach(s.fd, []bpf.Instruction{bpf.RetConstant{Val: drop}}); err != nil {
		return err
	}
	if s.fragment {
		if err := bind(s.fd, s.six, nowhere); err != nil {
			return err
		}
	}
	setBuffer(s.fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, buffer) // holds the stamps
	setBuffer(s.fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, buffer)
	o := options{fd: s.fd}
	o.set(unix.SOL_SOCKET, unix.SO_TIMESTAMPING_NEW, stamping)
	if s.fragment && !s.six {
		o.set(unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT)
	}
	return o.err
}

func (s *sender) close() { unix.Close(s.fd) }

// fits reports whether a packet of size bytes has room in the batch.
func (s *sender) fits(size int) bool { return s.n < batchSize && s.used+size <= len(s.arena) }

// add encodes a packet into the batch.
func (s *sender) add(r *Request, f *flight, way route) {
	b := s.arena[s.used : s.used+r.length()]
	s.used += len(b)
	header := encode(b, r, f)
	if s.fragment {
		b = b[header:]
	}
	i := s.n
	s.flights[i] = f
	s.n++
	s.out.vectors[i][0].Base = &b[0]
	s.out.vectors[i][0].SetLen(len(b))
	h := &s.out.messages[i].Hdr
	h.Namelen = s.address(i, f.dst, way.index)
	c := controls{b: s.out.controls[i][:0]}
	s.describe(&c, r, way)
	h.SetControllen(len(c.b))
}

// address writes the i-th destination and returns its size.
func (s *sender) address(i int, dst netip.Addr, link int) uint32 {
	if s.six {
		s.out.names[i] = unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: dst.As16()}
		if dst.IsLinkLocalUnicast() || dst.IsLinkLocalMulticast() {
			s.out.names[i].Scope_id = uint32(link)
		}
		return unix.SizeofSockaddrInet6
	}
	*(*unix.RawSockaddrInet4)(unsafe.Pointer(&s.out.names[i])) = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: dst.As4()}
	return unix.SizeofSockaddrInet4
}

// describe adds what the kernel has to know about this packet alone.
func (s *sender) describe(c *controls, r *Request, way route) {
	if r.Mark != 0 {
		c.add32(unix.SOL_SOCKET, unix.SO_MARK, r.Mark)
	}
	// The source is for the kernel to route by. It has a price: with a source,
	// IPv6 takes the link of a route with several next hops for a mere wish
	// (ip6_route_output_flags). The packet has the right source in any case.
	source := r.Src.IsValid() || s.fragment && way.src.IsValid()
	if s.six && way.index != 0 {
		source = s.fragment && r.Src.IsValid()
	}
	if way.index != 0 || source {
		c.addWay(s.six, way, source)
	}
	if !s.fragment {
		return
	}
	if s.six {
		c.add32(unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT, uint32(r.TTL))
		c.add32(unix.IPPROTO_IPV6, unix.IPV6_TCLASS, uint32(r.TOS))
		return
	}
	c.add32(unix.IPPROTO_IP, unix.IP_TTL, uint32(r.TTL))
	c.add32(unix.IPPROTO_IP, unix.IP_TOS, uint32(r.TOS))
}

// write sends the batch from message i on and returns how many the kernel took.
func (s *sender) write(i int) (int, error) {
	for {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.out.messages[i])), uintptr(s.n-i),
			unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
			continue
		}
		return 0, errno
	}
}

// wait blocks until the socket may take more, at most a millisecond.
func (s *sender) wait() {
	_, _ = unix.Poll([]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLOUT}}, 1)
}

func (s *sender) clear() { s.n, s.used = 0, 0 }

// hasStamps reports whether there may be stamps that nobody has booked yet.
// The order of its two looks mirrors that of the stores in Engine.send.
func (s *sender) hasStamps() bool { return s.sending.Load() || s.unread.Load() > 0 }

// readStamps reads stamped packets from the error queue.
func (s *sender) readStamps() int {
	n, errno := s.in.read(uintptr(s.fd), unix.MSG_ERRQUEUE)
	if errno != 0 {
		return 0
	}
	return n
}

// stamped parses the i-th packet of the error queue, which has its link-layer
// header in front. Where that ends is where an IP header begins whose length is just the rest.
func (s *sender) stamped(i int) (d departure, ok bool) {
	s.in.eachControl(i, func(level, typ int32, data []byte) {
		if level == unix.SOL_SOCKET && typ == unix.SO_TIMESTAMPING_NEW {
			d.stamps = parseStamps(data)
		}
	})
	head, size := s.in.packet(i)
	for skip := range min(maxLinkHeader, len(head)) {
		if s.startsAt(head[skip:], size-skip) {
			return d, parseQuote(s.six, head[skip:], &d.sighting)
		}
	}
	return d, false
}

const maxLinkHeader = 64

func (s *sender) startsAt(b []byte, size int) bool {
	if s.six {
		return len(b) >= ip6Len && b[0]>>4 == 6 && int(be.Uint16(b[4:]))+ip6Len == size
	}
	return len(b) >= ip4Len && b[0]>>4 == 4 && int(be.Uint16(b[2:])) == size
}

// openSockets opens what the host has: a family that is switched off is left out.
func (e *Engine) openSockets() error {
	if e.opt.Unprivileged {
		e.openUnprivileged()
		return nil
	}
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
	if e.senders[family], err = openSender(six, unix.IPPROTO_RAW, e.opt.Buffer); err != nil {
		return err
	}
	for _, p := range []Protocol{ICMP, UDP} {
		e.fragmenters[family][p], err = openSender(six, int(p.number(six)), e.opt.Buffer)
		if err != nil {
			return err
		}
	}
	for p := ICMP; p <= SCTP; p++ {
		r, err := openReceiver(p, six, e.opt.Buffer)
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
		if r.protocol == p && r.six == six {
			return r.wake()
		}
	}
	return nil
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
