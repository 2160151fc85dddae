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
