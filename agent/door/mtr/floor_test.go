package mtr

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// floor is the least that an mtr-packet can do, to compare with: it sends an
// echo request for every line and counts the answers, with the fewest system
// calls there are. It reads nothing but the first address, matches nothing,
// measures no time, and every reply says the same. With stamps it has the
// kernel take the time of every packet, and collects these stamps.
type floor struct {
	send, receive int
	stamps        bool
	request       []byte
	to            unix.RawSockaddrInet4
	out, in       [floorBatch]mmsghdr
	heads         [floorBatch][256]byte
	controls      [floorBatch][256]byte
	lines         []byte
}

const floorBatch = 64

// mmsghdr is struct mmsghdr (sendmmsg(2)).
type mmsghdr struct {
	header unix.Msghdr
	n      uint32
}

// floorEnv makes a test program called mtr-packet a floor, with stamps if it is that word.
const floorEnv, floorStamps = "NATRIX_TEST_MTR_FLOOR", "stamps"

func serveFloor(stamps bool) error {
	f := floor{stamps: stamps}
	if err := f.open(); err != nil {
		return err
	}
	commands := make([]byte, 1<<16)
	for {
		n, err := unix.Read(0, commands)
		if n == 0 || err != nil {
			return err
		}
		if f.request == nil {
			if err := f.aim(commands[:n]); err != nil {
				return err
			}
		}
		if err := f.probe(bytes.Count(commands[:n], []byte("\n"))); err != nil {
			return err
		}
	}
}

func (f *floor) open() (err error) {
	if f.send, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW); err != nil {
		return err
	}
	if f.receive, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP); err != nil {
		return err
	}
	const icmpFilter = 1 // linux/icmp.h
	if err := unix.SetsockoptInt(f.receive, unix.SOL_RAW, icmpFilter, ^1); err != nil {
		return err
	}
	flags := unix.SOF_TIMESTAMPING_TX_SOFTWARE | unix.SOF_TIMESTAMPING_RX_SOFTWARE | unix.SOF_TIMESTAMPING_SOFTWARE
	for _, fd := range []int{f.send, f.receive} {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20); err != nil {
			return err
		}
		if !f.stamps {
			continue
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPING_NEW, flags); err != nil {
			return err
		}
	}
	return nil
}

// aim builds the request, to the address in the command.
func (f *floor) aim(command []byte) error {
	var token int
	var addr string
	if _, err := fmt.Sscanf(string(command), "%d send-probe ip-4 %s", &token, &addr); err != nil {
		return err
	}
	dst, err := netip.ParseAddr(addr)
	if err != nil {
		return err
	}
	f.to = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: dst.As4()}
	b := make([]byte, 64)
	b[0], b[8], b[9] = 0x45, 255, unix.IPPROTO_ICMP
	copy(b[16:], f.to.Addr[:])
	b[20] = 8 // echo request; all else is zero
	binary.BigEndian.PutUint16(b[22:], ^uint16(8<<8))
	f.request = b
	for i := range f.out {
		h := &f.out[i].header
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&f.to)), unix.SizeofSockaddrInet4
		h.Iov = &unix.Iovec{Base: &b[0]}
		h.Iov.SetLen(len(b))
		h.SetIovlen(1)
		h = &f.in[i].header
		h.Iov = &unix.Iovec{Base: &f.heads[i][0]}
		h.Iov.SetLen(len(f.heads[i]))
		h.SetIovlen(1)
		h.Control = &f.controls[i][0]
	}
	return nil
}

// probe sends n requests, waits for as many answers, and replies.
func (f *floor) probe(n int) error {
	f.lines = f.lines[:0]
	for sent, got := 0, 0; got < n; {
		if sent < n {
			m, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(f.send), uintptr(unsafe.Pointer(&f.out)), uintptr(min(n-sent, floorBatch)), 0, 0, 0)
			if errno != 0 {
				return errno
			}
			sent += int(m)
		}
		before := got
		for m := floorBatch; m == floorBatch; got += m {
			m = f.read(f.receive, 0)
			for range m {
				f.lines = append(f.lines, "0 reply ip-4 127.0.0.1 round-trip-time 0\n"...)
			}
		}
		for m := floorBatch; f.stamps && m == floorBatch; {
			m = f.read(f.send, unix.MSG_ERRQUEUE)
		}
		if got == before && sent == n {
			if m, err := unix.Poll([]unix.PollFd{{Fd: int32(f.receive), Events: unix.POLLIN}}, 1000); m == 0 {
				return fmt.Errorf("wait for %d answers: %w", n-got, unix.ETIMEDOUT)
			} else if err != nil && err != unix.EINTR {
				return err
			}
		}
	}
	_, err := unix.Write(1, f.lines)
	return err
}

func (f *floor) read(fd, flags int) int {
	for i := range f.in {
		f.in[i].header.SetControllen(len(f.controls[i]))
	}
	m, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&f.in)), floorBatch, uintptr(flags|unix.MSG_DONTWAIT), 0, 0)
	if errno != 0 {
		return 0
	}
	return int(m)
}
