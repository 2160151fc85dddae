package sandbox

import "golang.org/x/sys/unix"

const (
	architecture = unix.AUDIT_ARCH_AARCH64
	foreign      = 1 << 31 // none
)

var deniedHere = []uintptr{unix.SYS_KEXEC_FILE_LOAD}
