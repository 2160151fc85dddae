package capture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Packet is one that passed a link.
type Packet struct {
	At       time.Time
	Out      bool   // sent by this machine
	Protocol uint16 // EtherType
	Data     []byte // from the network header on; valid until see returns
}

// Link captures all packets of the link with that index until ctx ends, and
// shows each to see. With a w they are also written there, limit bytes of them
// at most. It takes CAP_NET_RAW.
func Link(ctx context.Context, index int, w io.Writer, limit int64, see func(Packet)) (Summary, error) {
	c := &Capture{limit: limit}
	var err error
	if w != nil {
		if c.out, err = newWriter(w); err != nil {
			return Summary{}, fmt.Errorf("write capture: %w", err)
		}
	}
	fd, err := open()
	if err != nil {
		return Summary{}, err
	}
	c.file = os.NewFile(uintptr(fd), "packet socket")
	defer c.file.Close()
	if c.conn, err = c.file.SyscallConn(); err != nil {
		return Summary{}, err
	}
	if err := c.narrow(index); err != nil {
		return Summary{}, err
	}
	defer context.AfterFunc(ctx, func() { c.file.SetReadDeadline(time.Unix(1, 0)) })()
	r := reader{data: make([]byte, snapLen), control: make([]byte, 256)}
	for c.conn.Read(r.receive) == nil && r.err == nil && c.err == nil {
		c.pass(&r, see)
	}
	c.countLost()
	if c.out != nil {
		c.err = errors.Join(c.err, c.out.finish(c.sum))
	}
	return c.sum, errors.Join(c.err, r.err)
}

// narrow has the socket hear all of one link.
func (c *Capture) narrow(index int) error {
	var err error
	cerr := c.conn.Control(func(fd uintptr) {
		everything := unix.SockaddrLinklayer{Protocol: uint16(unix.ETH_P_ALL)<<8&0xff00 | uint16(unix.ETH_P_ALL)>>8, Ifindex: index}
		if err = unix.Bind(int(fd), &everything); err == nil {
			err = attach(int(fd), program{bpf.RetConstant{Val: all}})
		}
	})
	if err := errors.Join(cerr, err); err != nil {
		return fmt.Errorf("listen to link %d: %w", index, err)
	}
	return nil
}

// pass writes a packet and shows it.
func (c *Capture) pass(r *reader, see func(Packet)) {
	if r.link == nil {
		return
	}
	data := r.data[:min(r.size, len(r.data))]
	out := r.link.Pkttype == unix.PACKET_OUTGOING
	see(Packet{r.at, out, r.link.Protocol<<8 | r.link.Protocol>>8, data})
	switch {
	case c.out == nil:
	case c.out.size+blockSize(len(data)) > c.limit:
		c.sum.Left++
		return
	default:
		if err := c.out.packet(r, data, c.linkName); err != nil {
			c.err = fmt.Errorf("write capture: %w", err)
			return
		}
	}
	c.sum.Packets++
	c.sum.Bytes += r.size
}
