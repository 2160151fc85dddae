// Package rpi3 is the board of the Raspberry Pi 3, models B and B+.
package rpi3

import (
	"embed"

	_ "github.com/gokrazy/firmware"   // keeps the firmware in go.mod
	_ "github.com/gokrazy/kernel.rpi" // keeps the kernel in go.mod

	"github.com/natrix-os/natrix/image"
)

//go:embed slot
var files embed.FS

// Board runs the 64-bit kernel of the Raspberry Pi tree, which has the drivers
// of the on-board devices and of USB network adapters built in. The firmware
// unpacks the kernel, and puts the name of the serial port on the header in the
// place of serial0.
func Board() image.Board {
	kernel := image.Module("github.com/gokrazy/kernel.rpi")
	return image.Board{
		Name:        "rpi3",
		GOARCH:      "arm64",
		Cmdline:     "console=tty1 console=serial0,115200 panic=10 quiet",
		Source:      kernel,
		Kernel:      "vmlinuz",
		GzipKernel:  true,
		DeviceTrees: []string{"bcm2710-rpi-3-b.dtb", "bcm2710-rpi-3-b-plus.dtb"},
		Files:       files,
		Parts:       append(image.RaspberryPi(), image.Part{Source: kernel, File: "overlays/disable-bt.dtbo", To: "slot/overlays/disable-bt.dtbo"}),
		Imager:      []string{"pi3-64bit"},
	}
}
