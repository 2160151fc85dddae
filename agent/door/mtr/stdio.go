package mtr

import (
	"os"

	"golang.org/x/sys/unix"
)

// Stdio returns standard input and output as Serve likes them best: pipes and
// sockets without blocking, so that waiting for a command takes no thread and
// can be cut short. mtr-packet makes its input non-blocking too. Output that
// shares its open file with the input (a socket for both) changes with it and
// must be written through the file returned here.
func Stdio() (in, out *os.File) {
	in, out = os.Stdin, os.Stdout
	if !pollable(0) || unix.SetNonblock(0, true) != nil {
		return in, out
	}
	in = os.NewFile(0, in.Name())
	if flags, err := unix.FcntlInt(1, unix.F_GETFL, 0); err == nil && flags&unix.O_NONBLOCK != 0 {
		out = os.NewFile(1, out.Name())
	}
	return in, out
}

func pollable(fd int) bool {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return false
	}
	kind := st.Mode & unix.S_IFMT
	return kind == unix.S_IFIFO || kind == unix.S_IFSOCK
}
