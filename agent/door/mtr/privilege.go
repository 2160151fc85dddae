package mtr

import (
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// keep is what the engine's sockets need: raw packets, and marks, links and
// buffer sizes beyond the usual.
const keep = 1<<unix.CAP_NET_RAW | 1<<unix.CAP_NET_ADMIN

// DropPrivileges gives up, on every thread and for good, the identity that a
// set-user-ID file lent and every capability but CAP_NET_RAW and
// CAP_NET_ADMIN, and makes sure that no program executed later gains any.
// Open the engine before it, and ask [VersionFor]. It does not work in programs
// linked with cgo.
func DropPrivileges() error {
	if _, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno != 0 {
		return fmt.Errorf("set no_new_privs: %w", errno)
	}
	// Without this, leaving user 0 would take all capabilities away.
	if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1, 0); errno != 0 {
		return fmt.Errorf("keep capabilities: %w", errno)
	}
	if err := syscall.Setgid(syscall.Getgid()); err != nil {
		return fmt.Errorf("set group: %w", err)
	}
	if err := syscall.Setuid(syscall.Getuid()); err != nil {
		return fmt.Errorf("set user: %w", err)
	}
	return dropCapabilities()
}

func dropCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var have [2]unix.CapUserData
	if err := unix.Capget(&header, &have[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	kept := have[0].Permitted & keep
	data := [2]unix.CapUserData{{Effective: kept, Permitted: kept}}
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET,
		uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data[0])), 0)
	if errno != 0 {
		return fmt.Errorf("drop capabilities: %w", errno)
	}
	return nil
}
