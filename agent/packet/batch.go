package packet

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	batchSize   = 64   // packets per system call
	headSize    = 2048 // bytes kept of a received packet; ICMPv6 errors may have 1280
	controlSize = 192  // bytes of control messages per packet
)

// batch is the memory of one sendmmsg or recvmmsg call.
type batch struct {
	messages [batchSize]unix.Mmsghdr
	vectors  [batchSize]unix.Iovec
	names    [batchSize]unix.RawSockaddrInet6
	controls [batchSize][controlSize]byte
}

// newBatch returns a batch whose pointers are in place.
func newBatch() *batch {
	b := new(batch)
	for i := range b.messages {
		h := &b.messages[i].Hdr
		h.Name = (*byte)(unsafe.Pointer(&b.names[i]))
		h.Iov = &b.vectors[i]
		h.SetIovlen(1)
		h.Control = &b.controls[i][0]
	}
	return b
}

// inbox is a batch with memory to receive into. Packets longer than headSize are cut.
type inbox struct {
	*batch
	heads   [batchSize][headSize]byte
	nameLen uint32
	used    int // messages that the last read has filled
}

// newInbox returns an inbox for a socket of which the senders' addresses
// matter, or not.
func newInbox(names bool) *inbox {
	in := &inbox{batch: newBatch(), used: batchSize}
	for i := range in.messages {
		in.vectors[i].Base = &in.heads[i][0]
		in.vectors[i].SetLen(headSize)
		if !names {
			in.messages[i].Hdr.Name = nil
		}
	}
	if names {
		in.nameLen = unix.SizeofSockaddrInet6
	}
	return in
}

// read receives what is there without waiting.
func (in *inbox) read(fd, flags int) (int, unix.Errno) {
	for i := range in.used {
		h := &in.messages[i].Hdr
		h.Namelen = in.nameLen
		h.SetControllen(controlSize)
	}
	in.used = 0
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&in.messages[0])), batchSize,
		uintptr(flags|unix.MSG_DONTWAIT), 0, 0)
	if errno == 0 {
		in.used = int(n)
	}
	return in.used, errno
}

// packet returns the kept bytes of the i-th packet and its size, which is the
// full one if the read had MSG_TRUNC.
func (in *inbox) packet(i int) (head []byte, size int) {
	size = int(in.messages[i].Len)
	return in.heads[i][:min(size, headSize)], size
}

// cut reports whether bytes of the i-th packet are missing.
func (in *inbox) cut(i int) bool { return in.messages[i].Hdr.Flags&unix.MSG_TRUNC != 0 }

// eachControl calls do for every control message of the i-th packet.
func (in *inbox) eachControl(i int, do func(level, typ int32, data []byte)) {
	eachControl(in.controls[i][:in.messages[i].Hdr.Controllen], do)
}
