package sandbox

import (
	"os"
	"runtime"
	"slices"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// denied are the system calls that nothing in a terminal makes once PID 1 has
// set the machine up: those that change the machine itself, look into other
// processes, or have had more than their share of the kernel's holes. They fail
// with EPERM. What a browser needs for its own sandbox is not among them.
func denied() []uintptr {
	return append(slices.Clone(deniedHere), // of this architecture alone
		unix.SYS_ACCT,
		unix.SYS_ADD_KEY,
		unix.SYS_BPF,
		unix.SYS_CLOCK_ADJTIME,
		unix.SYS_CLOCK_SETTIME,
		unix.SYS_DELETE_MODULE,
		unix.SYS_FANOTIFY_INIT,
		unix.SYS_FINIT_MODULE,
		unix.SYS_FSCONFIG,
		unix.SYS_FSMOUNT,
		unix.SYS_FSOPEN,
		unix.SYS_FSPICK,
		unix.SYS_INIT_MODULE,
		unix.SYS_IO_URING_ENTER,
		unix.SYS_IO_URING_REGISTER,
		unix.SYS_IO_URING_SETUP,
		unix.SYS_KEXEC_LOAD,
		unix.SYS_KEYCTL,
		unix.SYS_LOOKUP_DCOOKIE,
		unix.SYS_MOUNT,
		unix.SYS_MOUNT_SETATTR,
		unix.SYS_MOVE_MOUNT,
		unix.SYS_OPEN_BY_HANDLE_AT,
		unix.SYS_OPEN_TREE,
		unix.SYS_PERF_EVENT_OPEN,
		unix.SYS_PIVOT_ROOT,
		unix.SYS_PROCESS_VM_READV,
		unix.SYS_PROCESS_VM_WRITEV,
		unix.SYS_PTRACE,
		unix.SYS_QUOTACTL,
		unix.SYS_REBOOT,
		unix.SYS_REQUEST_KEY,
		unix.SYS_SETDOMAINNAME,
		unix.SYS_SETHOSTNAME,
		unix.SYS_SETTIMEOFDAY,
		unix.SYS_SWAPOFF,
		unix.SYS_SWAPON,
		unix.SYS_SYSLOG,
		unix.SYS_UMOUNT2,
		unix.SYS_USERFAULTFD,
		unix.SYS_VHANGUP,
	)
}

// filterCalls installs the filter in all threads (seccomp(2)). It does without
// new privileges from here on, which the kernel wants first.
func filterCalls() error {
	raw, err := bpf.Assemble(program(denied()))
	if err != nil {
		return err
	}
	filter := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		filter[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}

	runtime.LockOSThread() // both calls are of one thread; the second takes the others along
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl", err)
	}
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return os.NewSyscallError("seccomp", errno)
	}
	if thread != 0 { // the thread that could not be taken along
		return os.NewSyscallError("seccomp", unix.ESRCH)
	}
	return nil
}

// program looks at a struct seccomp_data: the number of the call is at 0, the
// architecture at 4.
func program(denied []uintptr) []bpf.Instruction {
	deny := bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)}
	p := []bpf.Instruction{
		bpf.LoadAbsolute{Off: 4, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: architecture, SkipTrue: 1},
		deny, // calls by another architecture's numbers
		bpf.LoadAbsolute{Off: 0, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: foreign, SkipTrue: 1},
		deny,
	}
	for _, nr := range denied {
		p = append(p, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(nr), SkipTrue: 1}, deny)
	}
	return append(p, bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW})
}
