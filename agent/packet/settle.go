package packet

import (
	"time"

	"golang.org/x/sys/unix"
)

// settle waits until the kernel stamps received packets. It switches that on
// with the first socket that wants it, but from a work queue
// (net_enable_timestamp), so the first packets would go without. A host whose
// loopback is down, or that never stamps, is not waited for longer than patience:
// its packets are timed by the monotonic clock, and say so.
func settle() {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	o := options{fd: fd}
	o.set(unix.SOL_SOCKET, unix.SO_TIMESTAMPING_NEW, unix.SOF_TIMESTAMPING_RX_SOFTWARE|unix.SOF_TIMESTAMPING_SOFTWARE)
	if o.err != nil || unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}) != nil {
		return
	}
	self, err := unix.Getsockname(fd)
	if err != nil {
		return
	}
	const patience = 50 * time.Millisecond
	for start := time.Now(); time.Since(start) < patience; time.Sleep(patience / 100) {
		if unix.Sendto(fd, nil, 0, self) != nil || stampsNow(fd) {
			return
		}
	}
}

// stampsNow reports whether the packet waiting in fd is stamped.
func stampsNow(fd int) bool {
	var control [controlSize]byte
	_, n, _, _, err := unix.Recvmsg(fd, nil, control[:], 0)
	return err == nil && n > 0
}
