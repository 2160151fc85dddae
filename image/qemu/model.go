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

var models = map[string]model{
	// Without cx16: QEMU 7.2 corrupts the flags on cmpxchg16b, and guests
	// crash at random.
	"amd64": {
		program: "qemu-system-x86_64",
		debian:  "qemu-system-x86",
		machine: []string{"-nodefaults", "-cpu", "max,-cx16", "-serial", "stdio"},
		memory:  true,
		cmdline: "console=ttyS0 panic=1 quiet",
		card:    "virtio-net-pci",
	},
}

func (m model) args(memory int) []string {
	args := append([]string{"-accel", "tcg"}, m.machine...)
	if m.memory {
		args = append(args, "-m", strconv.Itoa(memory))
	}
	return args
}
