package capture

import (
	"bufio"
	"encoding/binary"
	"io"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Block types and options of pcapng (draft-ietf-opsawg-pcapng, sections 4 and 3.5).
const (
	sectionBlock    = 0x0a0d0d0a
	interfaceBlock  = 1
	statisticsBlock = 5
	packetBlock     = 6

	optionEnd       = 0
	sectionApp      = 4 // shb_userappl
	interfaceName   = 2 // if_name
	interfaceTime   = 9 // if_tsresol
	packetFlags     = 2 // epb_flags
	statisticsTaken = 4 // isb_ifrecv
	statisticsLost  = 5 // isb_ifdrop

	// Packets begin with what the packet socket says of them and go on with their
	// IP header (LINKTYPE_LINUX_SLL): all links have one type, as some readers
	// demand, and one that they number like the files do. LINKTYPE_RAW is not.
	linkTypeCooked = 113
	cookedLen      = 16
	nanoseconds    = 9 // digits behind the point of a time
)

// writer writes one section of a pcapng file, with an interface for each link
// that packets passed. All numbers are little-endian.
type writer struct {
	w     *bufio.Writer
	size  int64          // bytes written
	links map[int]uint32 // interfaces by number of the link
}

func newWriter(w io.Writer) (*writer, error) {
	out := &writer{w: bufio.NewWriter(w), links: make(map[int]uint32)}
	body := binary.LittleEndian.AppendUint32(nil, 0x1a2b3c4d) // byte order
	body = append(body, 1, 0, 0, 0)                           // version 1.0
	body = binary.LittleEndian.AppendUint64(body, ^uint64(0)) // length of the section: not known
	body = option(body, sectionApp, []byte("natrix"))
	return out, out.block(sectionBlock, option(body, optionEnd, nil))
}

// option appends one option, padded to 32 bits.
func option(b []byte, code uint16, value []byte) []byte {
	b = binary.LittleEndian.AppendUint16(b, code)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(value)))
	return pad(append(b, value...))
}

func pad(b []byte) []byte {
	return append(b, make([]byte, -len(b)&3)...)
}

// block writes a block around a body whose size is a multiple of 4.
func (w *writer) block(kind uint32, body []byte) error {
	total := uint32(len(body) + 12)
	b := binary.LittleEndian.AppendUint32(nil, kind)
	b = binary.LittleEndian.AppendUint32(b, total)
	b = binary.LittleEndian.AppendUint32(append(b, body...), total)
	n, err := w.w.Write(b)
	w.size += int64(n)
	return err
}

// blockSize is the most that a packet of n bytes takes in the file, with the
// interface that may be new and the statistics that may follow.
func blockSize(n int) int64 { return int64(n) + 256 }

// link is the interface for a link; its name is asked for when it is new.
func (w *writer) link(index int, name func(int) string) (uint32, error) {
	if id, known := w.links[index]; known {
		return id, nil
	}
	body := binary.LittleEndian.AppendUint32(nil, linkTypeCooked)
	body = binary.LittleEndian.AppendUint32(body, cookedLen+snapLen)
	body = option(body, interfaceName, []byte(name(index)))
	body = option(body, interfaceTime, []byte{nanoseconds})
	id := uint32(len(w.links))
	w.links[index] = id
	return id, w.block(interfaceBlock, option(body, optionEnd, nil))
}

func (w *writer) packet(r *reader, data []byte, name func(int) string) error {
	id, err := w.link(r.link.Ifindex, name)
	if err != nil {
		return err
	}
	at := uint64(r.at.UnixNano())
	body := make([]byte, 0, cookedLen+len(data)+48)
	for _, n := range []uint32{id, uint32(at >> 32), uint32(at), uint32(cookedLen + len(data)), uint32(cookedLen + r.size)} {
		body = binary.LittleEndian.AppendUint32(body, n)
	}
	body = pad(append(cooked(body, r.link), data...))
	direction := []byte{1, 0, 0, 0} // inbound
	if r.link.Pkttype == unix.PACKET_OUTGOING {
		direction[0] = 2
	}
	return w.block(packetBlock, option(option(body, packetFlags, direction), optionEnd, nil))
}

// cooked appends the header that stands in for that of the link.
func cooked(b []byte, l *unix.SockaddrLinklayer) []byte {
	for _, n := range []uint16{uint16(l.Pkttype), l.Hatype, uint16(min(l.Halen, 8))} {
		b = binary.BigEndian.AppendUint16(b, n)
	}
	b = append(b, l.Addr[:]...)
	return binary.NativeEndian.AppendUint16(b, l.Protocol) // in network order as it is
}

// finish says with the first interface what was taken and what was not, and
// writes what is still in memory.
func (w *writer) finish(s Summary) error {
	if len(w.links) > 0 {
		at := uint64(time.Now().UnixNano())
		var body []byte
		for _, n := range []uint32{0, uint32(at >> 32), uint32(at)} {
			body = binary.LittleEndian.AppendUint32(body, n)
		}
		body = option(body, statisticsTaken, binary.LittleEndian.AppendUint64(nil, uint64(s.Packets+s.Left+s.Lost)))
		body = option(body, statisticsLost, binary.LittleEndian.AppendUint64(nil, uint64(s.Left+s.Lost)))
		if err := w.block(statisticsBlock, option(body, optionEnd, nil)); err != nil {
			return err
		}
	}
	return w.w.Flush()
}

// timespec reads the kernel's struct, which is as wide as the machine's words.
func timespec(b []byte) time.Time {
	var t unix.Timespec
	if len(b) < int(unsafe.Sizeof(t)) {
		return time.Time{}
	}
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&t)), unsafe.Sizeof(t)), b)
	return time.Unix(t.Unix())
}
