// Package capture writes the packets of chosen conversations of this machine,
// and nothing else, to a pcapng file, as tshark and tcpdump read it.
//
// A capture hears every link of a network namespace through one packet socket
// (packet(7)), from the network header on: that is what all links have in
// common, the loopback included. A filter in the kernel lets through what the
// peers of the conversations send and get, and ICMP; of that the capture keeps
// what belongs to a local port or ICMP identifier of its own: requests, answers,
// their fragments, and ICMP errors that quote them.
package capture

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// DefaultLimit is the size of the largest file, in bytes, unless told otherwise.
const DefaultLimit = 16 << 20

// snapLen is how much of a packet is kept, in bytes: what IP can carry. The
// kernel hands packets over in one piece that leave in several.
const snapLen = 1 << 16

// Flow is the packets between this machine and a peer that have a local port,
// or an ICMP identifier, of ours.
type Flow struct {
	Peer     netip.Addr
	Protocol int                      // number of IP, unix.IPPROTO_TCP; 0 is any
	Owns     func(number uint16) bool // whether a port or identifier is ours; called while packets are read
}

// Summary is what became of the packets of a capture.
type Summary struct {
	Packets int // in the file
	Bytes   int // of these packets
	Left    int // left out because the file had reached its limit
	Lost    int // dropped by the kernel because they came too fast: packets of the peers, not all of them of the flows
}

// Capture is a capture under way. Its methods are safe for concurrent use.
type Capture struct {
	file *os.File // the packet socket
	conn syscall.RawConn
	done chan struct{} // closed when the reader has ended

	mu        sync.Mutex
	flows     []Flow
	fragments ring // of packets of ours
	out       *writer
	limit     int64
	sum       Summary
	err       error
}

// Start begins to capture in the network namespace of the calling thread.
// Packets are written to w, at most limit bytes; flows are added as they
// begin. It takes CAP_NET_RAW.
func Start(w io.Writer, limit int64) (*Capture, error) {
	c := &Capture{done: make(chan struct{}), limit: limit}
	var err error
	if c.out, err = newWriter(w); err != nil {
		return nil, fmt.Errorf("write capture: %w", err)
	}
	fd, err := open()
	if err != nil {
		return nil, err
	}
	c.file = os.NewFile(uintptr(fd), "packet socket")
	if c.conn, err = c.file.SyscallConn(); err != nil {
		c.file.Close()
		return nil, err
	}
	go c.read()
	return c, nil
}

// open is a packet socket that hears nothing as yet.
func open() (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("open packet socket: %w", err)
	}
	if err := prepare(fd); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

const buffer = 4 << 20 // bytes of packets that wait to be read

func prepare(fd int) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, buffer); err != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, buffer) // as much as may be
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		return fmt.Errorf("packet socket: times: %w", err)
	}
	if err := attach(fd, nothing()); err != nil { // before it hears anything
		return err
	}
	everything := unix.SockaddrLinklayer{Protocol: uint16(unix.ETH_P_ALL)<<8&0xff00 | uint16(unix.ETH_P_ALL)>>8}
	if err := unix.Bind(fd, &everything); err != nil {
		return fmt.Errorf("packet socket: bind: %w", err)
	}
	return nil
}

// Add has the packets of a flow captured from now on: it is called before the
// first of them is sent.
func (c *Capture) Add(f Flow) error {
	f.Peer = f.Peer.Unmap().WithZone("")
	c.mu.Lock()
	defer c.mu.Unlock()
	known := slices.ContainsFunc(c.flows, func(g Flow) bool { return g.Peer == f.Peer })
	c.flows = append(c.flows, f)
	if known {
		return nil
	}
	return c.filter(filter(c.peers()))
}

// peers are those of all flows.
func (c *Capture) peers() []netip.Addr {
	var peers []netip.Addr
	for _, f := range c.flows {
		if !slices.Contains(peers, f.Peer) {
			peers = append(peers, f.Peer)
		}
	}
	return peers
}

func (c *Capture) filter(p program) error {
	var err error
	cerr := c.conn.Control(func(fd uintptr) { err = attach(int(fd), p) })
	return errors.Join(cerr, err)
}

// Control wraps the Control of a [net.Dialer], which may be nil, so that the
// packets of its sockets are captured from the first on: the local port, which
// the kernel would choose when it connects, is taken before.
func (c *Capture) Control(inner func(network, address string, rc syscall.RawConn) error) func(network, address string, rc syscall.RawConn) error {
	return func(network, address string, rc syscall.RawConn) error {
		if inner != nil {
			if err := inner(network, address, rc); err != nil {
				return err
			}
		}
		peer, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		var port uint16
		cerr := rc.Control(func(fd uintptr) { port, err = takePort(int(fd)) })
		if err := errors.Join(cerr, err); err != nil {
			return fmt.Errorf("capture: take a port: %w", err)
		}
		protocol := unix.IPPROTO_UDP
		if network == "tcp" || network == "tcp4" || network == "tcp6" {
			protocol = unix.IPPROTO_TCP
		}
		return c.Add(Flow{Peer: peer.Addr(), Protocol: protocol, Owns: func(n uint16) bool { return n == port }})
	}
}

// takePort binds a socket to a port of the kernel's choice, and to the address
// that it may already be bound to.
func takePort(fd int) (uint16, error) {
	_ = unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 0) // not on old kernels, which take a port anyway
	address, err := unix.Getsockname(fd)
	if err != nil {
		return 0, err
	}
	if port := portOf(address); port != 0 {
		return port, nil
	}
	if err := unix.Bind(fd, address); err != nil {
		return 0, err
	}
	address, err = unix.Getsockname(fd)
	return portOf(address), err
}

func portOf(a unix.Sockaddr) uint16 {
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		return uint16(a.Port)
	case *unix.SockaddrInet6:
		return uint16(a.Port)
	}
	return 0
}

// Stop ends the capture with the packets that the kernel has seen so far. The
// error is the first of writing them.
func (c *Capture) Stop() (Summary, error) {
	// Order: let nothing further in, wake the reader, which reads what is there, and
	// wait for it; then nobody but this function uses the socket.
	err := c.filter(nothing())
	c.file.SetReadDeadline(time.Unix(1, 0))
	<-c.done
	c.mu.Lock()
	defer c.mu.Unlock()
	c.countLost()
	err = errors.Join(err, c.err, c.out.finish(c.sum), c.file.Close())
	return c.sum, err
}

func (c *Capture) countLost() {
	c.conn.Control(func(fd uintptr) {
		if s, err := unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			c.sum.Lost = int(s.Drops)
		}
	})
}

// read takes packets until the deadline of Stop, and then those that are left.
func (c *Capture) read() {
	defer close(c.done)
	r := reader{data: make([]byte, snapLen), control: make([]byte, 256)}
	for {
		if err := c.conn.Read(r.receive); err != nil {
			break
		}
		c.keep(&r)
	}
	c.conn.Control(func(fd uintptr) {
		for r.receive(fd) && r.err == nil {
			c.keep(&r)
		}
	})
}

// reader is one packet as it was read.
type reader struct {
	data, control []byte
	size          int // of the packet, which data may hold the beginning of
	link          *unix.SockaddrLinklayer
	at            time.Time
	err           error
}

// receive reads a packet; false is that there is none.
func (r *reader) receive(fd uintptr) bool {
	n, controlLen, _, from, err := unix.Recvmsg(int(fd), r.data, r.control, unix.MSG_TRUNC)
	if errors.Is(err, unix.EAGAIN) {
		return false
	}
	r.size, r.err = n, err
	r.link, _ = from.(*unix.SockaddrLinklayer)
	if r.at = stamp(r.control[:controlLen]); r.at.IsZero() {
		r.at = time.Now()
	}
	return true
}

// stamp is the kernel's time of a packet, zero if there is none.
func stamp(control []byte) time.Time {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return time.Time{}
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SO_TIMESTAMPNS {
			return timespec(m.Data)
		}
	}
	return time.Time{}
}

// keep writes a packet if it is ours.
func (c *Capture) keep(r *reader) {
	if r.err != nil || r.link == nil {
		return
	}
	loopback, outgoing := r.link.Hatype == unix.ARPHRD_LOOPBACK, r.link.Pkttype == unix.PACKET_OUTGOING
	if loopback && outgoing {
		return // it comes in again
	}
	data := r.data[:min(r.size, len(r.data))]
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || !c.ours(data, outgoing || loopback, !outgoing) {
		return
	}
	if c.out.size+blockSize(len(data)) > c.limit {
		c.sum.Left++
		return
	}
	if err := c.out.packet(r, data, c.linkName); err != nil {
		c.err = fmt.Errorf("write capture: %w", err)
		return
	}
	c.sum.Packets++
	c.sum.Bytes += r.size
}

// linkName asks the socket's own namespace, which need not be that of the thread.
func (c *Capture) linkName(index int) string {
	name := fmt.Sprintf("link %d", index)
	request, err := unix.NewIfreq("")
	if err != nil || index > math.MaxInt32 {
		return name
	}
	request.SetUint32(uint32(index))
	c.conn.Control(func(fd uintptr) {
		if unix.IoctlIfreq(int(fd), unix.SIOCGIFNAME, request) == nil {
			name = request.Name()
		}
	})
	return name
}

// Dialer is d with its packets captured; d itself stays as it is.
func (c *Capture) Dialer(d *net.Dialer) *net.Dialer {
	captured := *d
	captured.Control = c.Control(d.Control)
	return &captured
}
