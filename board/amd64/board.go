// Package amd64 is the board of PCs and virtual machines.
package amd64

import (
	_ "github.com/gokrazy/kernel.amd64" // keeps the kernel in go.mod

	"github.com/natrix-os/natrix/image"
)

// Board boots on any x86-64 machine. Its kernel has the drivers of common
// network chips built in, so there are no modules. The last console is the
// one that PID 1 talks to.
func Board() image.Board {
	return image.Board{
		Name:    "amd64",
		GOARCH:  "amd64",
		Cmdline: "console=tty0 console=ttyS0,115200 panic=10 quiet",
		Source:  image.Module("github.com/gokrazy/kernel.amd64"),
		Kernel:  "vmlinuz",
	}
}
