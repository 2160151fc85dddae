package packet

import (
	"fmt"
	"net/netip"
	"sync"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// receiver is a raw socket for the answers of one protocol.
type receiver struct {
	protocol  Protocol
	six       bool
	fd        int
	where     where // it listens; under the engine's mu
	expecting bool  // packets were sent since the last glance; under the engine's tx

	reading  sync.Mutex // guards all below
	in       *inbox
	batch    [batchSize]arrival
	overflow uint32 // packets dropped since open, as the kernel counts
	booked   uint32 // of these already counted
	strange  uint64 // packets that could not be parsed
}

func openReceiver(p Protocol, six bool, buffer, stamping int) (*receiver, error) {
	fd, err := rawSocket(six, int(p.number(six)))
	if err != nil {
		return nil, err
	}
	r := &receiver{protocol: p, six: six, fd: fd, in: newInbox(six)}
	if err := r.prepare(fd, buffer, stamping); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("%s socket: %w", p, err)
	}
	return r, nil
}

func (r *receiver) prepare(fd, buffer, stamping int) error {
	if err := attach(fd, []bpf.Instruction{bpf.RetConstant{Val: drop}}); err != nil {
		return err
	}
	if r.protocol == ICMP {
		r.where = everywhere
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

// listen has the socket hear everything or nothing. While a protocol is not in
// use its socket is bound to nowhere, so that this host's other traffic does
// not pay for it, and so that the kernel answers SCTP itself.
func (r *receiver) listen(w where) error {
	if r.protocol == ICMP || r.where == w {
		return nil
	}
	r.where = w
	return bind(r.fd, r.six, w)
}

// parse returns what the n packets just read say.
func (r *receiver) parse(n int) []arrival {
	in, to := r.in, r.batch[:0]
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
