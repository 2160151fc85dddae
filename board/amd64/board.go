// Package amd64 is the board of PCs and virtual machines.
package amd64

import (
	"embed"

	_ "github.com/gokrazy/kernel.amd64" // keeps the kernel in go.mod

	"github.com/natrix-os/natrix/image"
)

//go:embed boot
var files embed.FS

//go:embed loader.lock
var loader string

// Board boots on any x86-64 machine, from a disk or a USB stick under BIOS and
// UEFI, and over the network. Its kernel has the drivers of common network
// chips built in, so there are no modules. The last console is the one that
// PID 1 talks to.
func Board() image.Board {
	return image.Board{
		Name:    "amd64",
		GOARCH:  "amd64",
		Cmdline: "console=tty0 console=ttyS0,115200 panic=10 quiet",
		Source:  image.Module("github.com/gokrazy/kernel.amd64"),
		Kernel:  "vmlinuz",
		Files:   files,
		Loader:  image.Debian{File: "loader.lock", Lock: loader},
	}
}
