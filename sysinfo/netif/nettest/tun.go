package nettest

import (
	"os"

	"golang.org/x/sys/unix"
)

// openTUN creates a TUN link in the host and returns the file that carries its
// packets. The link is gone when the file is closed.
func (h *Host) openTUN(name string) *os.File {
	h.t.Helper()
	var fd int
	var err error
	h.Do(func() { fd, err = newTUN(name) })
	if err != nil {
		h.t.Fatalf("TUN link %s of %s: %v", name, h.Name, err)
	}
	return os.NewFile(uintptr(fd), name)
}

// newTUN opens without os.OpenFile, which would make the file wait for
// packets before it has a link (drivers/net/tun.c, tun_chr_poll).
func newTUN(name string) (int, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, os.NewSyscallError("open /dev/net/tun", err)
	}
	req, err := unix.NewIfreq(name)
	if err == nil {
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = os.NewSyscallError("TUNSETIFF", unix.IoctlIfreq(fd, unix.TUNSETIFF, req))
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}
