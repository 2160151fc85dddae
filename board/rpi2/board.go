// Package rpi2 is the board of the Raspberry Pi 2, model B.
package rpi2

import (
	"embed"

	_ "github.com/gokrazy/firmware" // keeps the firmware in go.mod

	"github.com/natrix-os/natrix/image"
)

//go:embed kernel.lock
var kernel string

//go:embed slot
var files embed.FS

// Board runs Debian's multi-platform kernel, in which every driver is a module.
// Its console is the PL011.
func Board() image.Board {
	return image.Board{
		Name:        "rpi2",
		GOARCH:      "arm",
		GOARM:       "7",
		Cmdline:     "console=tty1 console=ttyAMA0,115200 panic=10 quiet",
		Source:      image.Debian{Meta: "linux-image-armmp:armhf", File: "kernel.lock", Lock: kernel},
		Kernel:      "boot/vmlinuz-*",
		DeviceTrees: []string{"usr/lib/linux-image-*/bcm2836-rpi-2-b.dtb"},
		Modules:     modules(),
		Files:       files,
		Parts:       image.RaspberryPi(),
		Imager:      []string{"pi2-32bit"},
	}
}

// modules are in the order that gets a terminal going. Without the watchdog the
// machine cannot restart, not even after a panic; without the random numbers
// the network waits; then the USB host (phy-generic is its, though nothing says
// so) with the on-board Ethernet and the adapters and modems people plug in;
// then the SD card and its file systems (ext4 asks for crc32c by another name).
func modules() []string {
	return []string{
		"bcm2835_wdt",
		"bcm2835-rng",
		"phy-generic", "dwc2",
		"smsc", "smsc95xx", "cdc_ether", "cdc_ncm", "rndis_host", "r8152", "asix", "ax88179_178a",
		"cdc_mbim", "qmi_wwan", "huawei_cdc_ncm", "option",
		"bcm2835", "sdhci-iproc",
		"vfat", "nls_cp437", "nls_ascii", "ext4", "crc32c_generic",
		"raspberrypi-cpufreq", "bcm2835_thermal",
	}
}
