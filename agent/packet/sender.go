package packet

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

const (
	arenaSize = 128 << 10 // bytes of packets per batch, at least one of MaxSize
	maxUnread = 4096      // packets sent before their stamps are read even if nothing is answered
	maxWaits  = 1000      // for room in a send buffer, of a millisecond each, before packets fail
)

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
func openSender(six bool, protocol, buffer, stamping int) (*sender, error) {
	fd, err := rawSocket(six, protocol)
	if err != nil {
		return nil, err
	}
	s := &sender{fd: fd, six: six, fragment: protocol != unix.IPPROTO_RAW, out: newBatch(), arena: make([]byte, arenaSize), in: newInbox(false)}
	if err := s.prepare(buffer, stamping); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return s, nil
}

func (s *sender) prepare(buffer, stamping int) error {
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
	// Whole packets go as far as they get, whatever path MTU this host has
	// learned: each sees the narrow hop itself. The kernel fragments to what it knows.
	switch {
	case s.fragment && !s.six:
		o.set(unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT)
	case !s.fragment && !s.six:
		o.set(unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
	case !s.fragment:
		o.set(unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE)
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
	s.out.vectors[i].Base = &b[0]
	s.out.vectors[i].SetLen(len(b))
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
	n, errno := s.in.read(s.fd, unix.MSG_ERRQUEUE)
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
	head, _ := s.in.packet(i)
	for skip := range min(maxLinkHeader, len(head)) {
		if s.startsAt(head[skip:], s.in.cut(i)) {
			ok = parseQuote(s.six, head[skip:], &d.sighting)
			return d, ok
		}
	}
	return d, false
}

const maxLinkHeader = 64

// startsAt reports whether b looks like an IP packet, or the first part of one that was cut.
func (s *sender) startsAt(b []byte, cut bool) bool {
	var length int
	switch {
	case s.six && len(b) >= ip6Len && b[0]>>4 == 6:
		length = int(be.Uint16(b[4:])) + ip6Len
	case !s.six && len(b) >= ip4Len && b[0]>>4 == 4:
		length = int(be.Uint16(b[2:]))
	default:
		return false
	}
	return length == len(b) || cut && length > len(b)
}
