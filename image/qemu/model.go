package qemu

import "strconv"

// model is how QEMU emulates a board. Never -accel kvm: nested KVM hangs.
type model struct {
	program    string // of QEMU
	debian     string // package with the program
	machine    []string
	memory     bool   // whether the size of memory can be chosen
	deviceTree string // name of its file in the image
	cmdline    string // console, and how tests want the kernel to behave
	card       string // kind of network card
}

// Only a panic may speak on the console: the kernels also complain of devices
// that QEMU lacks, and would do so in the middle of a line.
var models = map[string]model{
	// Without cx16: QEMU 7.2 corrupts the flags on cmpxchg16b, and guests
	// crash at random.
	"amd64": {
		program: "qemu-system-x86_64",
		debian:  "qemu-system-x86",
		machine: []string{"-nodefaults", "-M", "q35", "-cpu", "max,-cx16", "-serial", "stdio"},
		memory:  true,
		cmdline: "console=ttyS0 panic=1 loglevel=1",
		card:    "virtio-net-pci",
	},
	"rpi2": {
		program:    "qemu-system-arm",
		debian:     "qemu-system-arm",
		machine:    []string{"-M", "raspi2b", "-serial", "stdio"},
		deviceTree: "bcm2836-rpi-2-b.dtb",
		cmdline:    "console=ttyAMA0,115200 panic=1 loglevel=1",
		card:       "usb-net",
	},
	// With the upstream device tree, bcm2837-rpi-3-b.dtb, this kernel does not
	// read the card. The first serial port is the PL011, which the device tree gives to
	// Bluetooth; the second is the mini-UART, which this kernel calls ttyS0.
	"rpi3": {
		program:    "qemu-system-aarch64",
		debian:     "qemu-system-arm",
		machine:    []string{"-M", "raspi3b", "-serial", "null", "-serial", "stdio"},
		deviceTree: "bcm2710-rpi-3-b.dtb",
		cmdline:    "console=ttyS0,115200 panic=1 loglevel=1",
		card:       "usb-net",
	},
}

// ovmf is UEFI for PCs, of the Debian package ovmf; its variables are in memory.
const ovmf = "/usr/share/ovmf/OVMF.fd"

func (m model) args(memory int) []string {
	args := append([]string{"-accel", "tcg"}, m.machine...)
	if m.memory {
		args = append(args, "-m", strconv.Itoa(memory))
	}
	return args
}
