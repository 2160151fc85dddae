// Package qemu boots an image in an emulator and reads its console. It knows
// nothing of natrix but the names of an image's files.
package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// Host is where a guest reaches services on the host's loopback through its
// first link; on the n-th link it is 10.0.(1+n).2.
const Host = "10.0.2.2"

// Config describes a machine. Board is required, and one of Dir, Disk and PXE.
type Config struct {
	Board   string                // amd64, rpi2 or rpi3
	Dir     string                // holds kernel, initramfs and device trees to be started at once, as image.Build writes them
	Cmdline string                // added to the kernel command line of Dir, after the console
	Disk    string                // image of the medium: a PC's disk or stick, a Raspberry Pi's card; what is written is lost
	USB     bool                  // a PC has Disk as a USB stick
	UEFI    bool                  // a PC has UEFI instead of a BIOS
	PXE     string                // file that a PC boots over its first link, served by TFTP with the directory that it is in
	Memory  int                   // MiB; 0 is 256. The Raspberry Pi models ignore it, they have 1024
	Links   []Link                // none: the machine has no network
	Resets  bool                  // a machine that restarts goes on, with Disk as it is then, instead of ending
	Args    []string              // more arguments for QEMU, such as drives
	Start   func(*exec.Cmd) error // starts the emulator somewhere else, such as in a network namespace; nil: here
	Console io.Writer             // gets a copy of all console output as it comes; nil for none
}

// Link is a network card on QEMU's user network, which answers DHCP and lets
// the guest out through the host's own sockets.
type Link struct {
	MAC     string // as in 52:54:00:12:34:56; empty is QEMU's choice
	Silent  bool   // nobody is at the other end of the cable
	Tap     string // the tap link at the other end, instead of a user network; where Start starts the emulator
	Boot    bool   // the machine boots over this link, as it does over the first one with PXE
	NoROM   bool   // without the card's iPXE: UEFI boots by itself
	Forward []Forward
}

// Forward is a TCP port of the host's loopback that leads into the guest.
type Forward struct {
	HostPort, GuestPort int
}

// Machine is a running emulator. Its methods may be called by one goroutine at
// a time.
type Machine struct {
	*console
	input   io.WriteCloser
	monitor *monitor
	kill    context.CancelFunc
	done    chan struct{} // closed once the emulator and its reader have ended
	err     error         // why it ended; valid after done
	stderr  *bytes.Buffer // valid after done
}

// Start boots the machine. It ends with Close, when ctx does, or by itself.
func Start(ctx context.Context, c Config) (*Machine, error) {
	model, args, err := c.command()
	if err != nil {
		return nil, err
	}
	path, err := exec.LookPath(model.program)
	if err != nil {
		return nil, fmt.Errorf("%w: apt-get install %s", err, model.debian)
	}
	ctx, kill := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, path, args...)
	monitor, theirs, err := newMonitor()
	if err != nil {
		kill()
		return nil, err
	}
	defer theirs.Close()
	m := &Machine{console: newConsole(c.Console), monitor: monitor, kill: kill, done: make(chan struct{}), stderr: new(bytes.Buffer)}
	cmd.Args = append(cmd.Args, monitor.args()...)
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Stderr = m.stderr
	started := make(chan error)
	if c.Start == nil {
		c.Start = (*exec.Cmd).Start
	}
	go m.run(cmd, c.Start, started)
	if err := <-started; err != nil {
		monitor.conn.Close()
		kill()
		return nil, fmt.Errorf("start %s: %w", model.program, err)
	}
	return m, nil
}

// run is the life of the emulator. It stays on one thread because the signal
// that ends the emulator when this process dies is tied to the thread that
// started it (PR_SET_PDEATHSIG in prctl(2)).
func (m *Machine) run(cmd *exec.Cmd, start func(*exec.Cmd) error, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	output, err := m.start(cmd, start)
	started <- err
	if err != nil {
		return
	}
	m.console.read(output)
	m.err = cmd.Wait()
	m.console.end(m.cause())
	close(m.done)
}

func (m *Machine) start(cmd *exec.Cmd, start func(*exec.Cmd) error) (output io.Reader, err error) {
	if m.input, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if output, err = cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	return output, start(cmd)
}

// cause says in one error how the emulator ended.
func (m *Machine) cause() error {
	said := strings.TrimSpace(m.stderr.String())
	switch {
	case m.err == nil && said == "":
		return errors.New("the machine has ended")
	case m.err == nil:
		return fmt.Errorf("the machine has ended: %s", said)
	default:
		return fmt.Errorf("the machine has ended: %w: %s", m.err, said)
	}
}

// Write types keys on the serial console.
func (m *Machine) Write(keys []byte) (int, error) { return m.input.Write(keys) }

// WriteLine types a line on the serial console.
func (m *Machine) WriteLine(line string) error {
	_, err := io.WriteString(m.input, line+"\r")
	return err
}

// Wait returns once the machine has ended by itself: nil after it powered off
// or, unless it goes on then, reset itself.
func (m *Machine) Wait(ctx context.Context) error {
	select {
	case <-m.done:
		if m.err != nil {
			return m.cause()
		}
		return nil
	case <-ctx.Done():
		return m.console.failure("the machine is still running", ctx.Err())
	}
}

// Close ends the emulator, if it has not ended, and waits for it.
func (m *Machine) Close() {
	m.kill()
	<-m.done
	m.monitor.conn.Close()
}

// command returns the emulator for c.Board and its arguments.
func (c Config) command() (model, []string, error) {
	m, ok := models[c.Board]
	if !ok {
		return m, nil, fmt.Errorf("no emulator for the board %q", c.Board)
	}
	memory := c.Memory
	if memory == 0 {
		memory = 256
	}
	args := append(m.args(memory), "-display", "none", "-monitor", "none")
	if !c.Resets {
		args = append(args, "-no-reboot")
	}
	if c.UEFI {
		args = append(args, "-bios", ovmf)
	}
	args = append(args, c.kernel(m)...)
	args = append(args, c.disk(m)...)
	card := m.card
	if c.UEFI {
		card += ",romfile=" // UEFI has a network stack of its own, and QEMU's iPXE would take its place
	}
	for i, link := range c.Links {
		tftp := ""
		if i == 0 {
			tftp = c.PXE
		}
		args = append(args, link.args(i, card, tftp)...)
	}
	return m, append(args, c.Args...), nil
}

// kernel starts that of c.Dir, if there is one.
func (c Config) kernel(m model) []string {
	if c.Dir == "" {
		return nil
	}
	args := []string{"-kernel", filepath.Join(c.Dir, "vmlinuz"), "-initrd", filepath.Join(c.Dir, "initramfs.zst")}
	if m.deviceTree != "" {
		args = append(args, "-dtb", filepath.Join(c.Dir, m.deviceTree))
	}
	return append(args, "-append", strings.TrimSpace(m.cmdline+" "+c.Cmdline))
}

// disk plugs c.Disk in, if there is one.
func (c Config) disk(m model) []string {
	if c.Disk == "" {
		return nil
	}
	drive := "format=raw,snapshot=on,file=" + strings.ReplaceAll(c.Disk, ",", ",,")
	switch {
	case c.Board != "amd64":
		return []string{"-drive", "if=sd," + drive}
	case c.USB:
		return []string{"-drive", "if=none,id=stick," + drive, "-device", "qemu-xhci", "-device", "usb-storage,drive=stick,bootindex=1"}
	}
	return []string{"-drive", "if=virtio," + drive}
}

// args are the arguments for the link with index i: a network of its own, and
// a card of the kind that the model has. The link serves the file pxe, if it
// has a name, and the directory that it is in.
func (l Link) args(i int, card, pxe string) []string {
	network := fmt.Sprintf("user,id=n%d,net=10.0.%d.0/24", i, 2+i)
	if l.Tap != "" {
		network = fmt.Sprintf("tap,id=n%d,ifname=%s,script=no,downscript=no", i, l.Tap)
	}
	if l.Silent { // to the discard port: without any peer QEMU would not take the guest's packets
		network = fmt.Sprintf("socket,id=n%d,udp=127.0.0.1:9,localaddr=127.0.0.1:0", i)
	}
	for _, f := range l.Forward {
		network += fmt.Sprintf(",hostfwd=tcp:127.0.0.1:%d-:%d", f.HostPort, f.GuestPort)
	}
	device := fmt.Sprintf("%s,netdev=n%d", card, i)
	if l.MAC != "" {
		device += ",mac=" + l.MAC
	}
	if pxe != "" {
		network += fmt.Sprintf(",tftp=%s,bootfile=%s", filepath.Dir(pxe), filepath.Base(pxe))
	}
	if pxe != "" || l.Boot {
		device += ",bootindex=1"
	}
	if l.NoROM {
		device += ",romfile="
	}
	return []string{"-netdev", network, "-device", device}
}
