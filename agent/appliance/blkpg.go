package appliance

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// addToKernel adds a partition to those that the kernel has of an open disk.
func addToKernel(disk *os.File, p *unix.BlkpgPartition) error {
	arg := unix.BlkpgIoctlArg{Op: unix.BLKPG_ADD_PARTITION, Datalen: int32(unsafe.Sizeof(*p)), Data: (*byte)(unsafe.Pointer(p))}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, disk.Fd(), unix.BLKPG, uintptr(unsafe.Pointer(&arg)))
	if errno != 0 && errno != unix.EBUSY { // it has it already
		return os.NewSyscallError("add partition", errno)
	}
	return nil
}
