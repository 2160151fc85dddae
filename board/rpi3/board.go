// Package rpi3 is the board of the Raspberry Pi 3, models B and B+.
package rpi3

import (
	_ "github.com/gokrazy/kernel.rpi" // keeps the kernel in go.mod

	"github.com/natrix-os/natrix/image"
)

// Board runs the 64-bit kernel of the Raspberry Pi tree, which has the drivers
// of the on-board devices and of USB network adapters built in. Its console is
// the mini-UART: the better one belongs to Bluetooth.
func Board() image.Board {
	return image.Board{
		Name:        "rpi3",
		GOARCH:      "arm64",
		Cmdline:     "console=tty1 console=ttyS0,115200 panic=10 quiet",
		Source:      image.Module("github.com/gokrazy/kernel.rpi"),
		Kernel:      "vmlinuz",
		DeviceTrees: []string{"bcm2837-rpi-3-b.dtb", "bcm2837-rpi-3-b-plus.dtb"},
	}
}
