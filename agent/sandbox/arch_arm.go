package sandbox

import "golang.org/x/sys/unix"

const (
	architecture = unix.AUDIT_ARCH_ARM
	foreign      = 1 << 31 // the private calls of ARM, from 0x0f0000, are below
)

var deniedHere = []uintptr{unix.SYS_USELIB, unix.SYS_USTAT, unix.SYS__SYSCTL}
