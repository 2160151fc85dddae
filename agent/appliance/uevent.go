package appliance

import (
	"bytes"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// openUevents opens the socket on which the kernel announces devices
// (lib/kobject_uevent.c). Others cannot send there to its group.
func openUevents() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	const kernelGroup = 1
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: kernelGroup}); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("bind", err)
	}
	return os.NewFile(uintptr(fd), "uevents"), nil
}

// uevent is a change of a device. Its zero value stands for changes that were
// missed, as the kernel does not wait for us.
type uevent struct {
	action   string // add, remove, change and others
	modalias string // which drivers the device is for; often empty
}

func readUevent(events *os.File) (uevent, error) {
	b := make([]byte, 8192)
	n, err := events.Read(b)
	if errors.Is(err, unix.ENOBUFS) {
		return uevent{}, nil
	}
	if err != nil {
		return uevent{}, err
	}
	return parseUevent(b[:n]), nil
}

// parseUevent reads a line action@path and settings NAME=value, each ending
// with a NUL.
func parseUevent(b []byte) (e uevent) {
	for field := range bytes.SplitSeq(b, []byte{0}) {
		name, value, _ := bytes.Cut(field, []byte("="))
		switch string(name) {
		case "ACTION":
			e.action = string(value)
		case "MODALIAS":
			e.modalias = string(value)
		}
	}
	return e
}
