// Demo shows the main job from end to end: it builds the amd64 image, starts a
// private RabbitMQ, boots the image in QEMU, sends one command of each kind
// through the broker to the terminal in the virtual machine, and prints the
// answers. It fails if any of them is missing or wrong.
//
//	go run ./image/cmd/demo
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"time"

	"github.com/natrix-os/natrix/agent/door/amqp"
	"github.com/natrix-os/natrix/agent/door/amqp/amqptest"
	"github.com/natrix-os/natrix/image"
	"github.com/natrix-os/natrix/image/qemu"
)

// The link of the virtual machine, and the id that it has as a terminal.
const (
	mac      = "52:54:00:6e:61:01"
	terminal = "5254006e6101"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	directory := flag.String("o", "build/image/amd64", "`directory` of the image")
	flag.Parse()
	d := demo{out: os.Stdout, image: *directory}
	if err := d.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// demo is one run from build to answers.
type demo struct {
	out   io.Writer
	image string // directory of the image

	phases  []phase
	answers []answer
	reports map[string][]byte // the first of each queue
	memory  string            // resident memory of the agent in the virtual machine
}

// phase is a milestone of the guest's boot, in seconds of its own clock since
// the kernel's entry.
type phase struct {
	name string
	at   float64
}

func (d *demo) run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	begin := time.Now()

	if err := d.step("build the image", func() error { return d.build(ctx) }); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "natrix-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var broker *amqptest.Broker
	err = d.step("start a private RabbitMQ", func() (err error) { broker, err = amqptest.New(ctx, dir); return err })
	if err != nil {
		return err
	}
	defer broker.Close()
	targets, err := listen()
	if err != nil {
		return err
	}
	defer targets.close()
	dispatcher, err := amqp.NewDispatcher(ctx, broker.URL("127.0.0.1"))
	if err != nil {
		return err
	}
	defer dispatcher.Close()

	console := new(transcript)
	machine, err := qemu.Start(ctx, qemu.Config{
		Board:   "amd64",
		Dir:     d.image,
		Cmdline: "natrix.broker=" + broker.URL(qemu.Host) + " natrix.ntp=" + qemu.Host,
		Links:   []qemu.Link{{MAC: mac}},
		Console: console,
	})
	if err != nil {
		return err
	}
	defer machine.Close()
	if err := d.step("boot it in QEMU until it consumes", func() error { return d.boot(ctx, machine) }); err != nil {
		return fmt.Errorf("%w\n%s", err, console)
	}
	if err := d.step("send a command of each kind", func() error { return d.ask(ctx, machine, dispatcher, targets) }); err != nil {
		return fmt.Errorf("%w\n%s", err, console)
	}
	if err := d.step("ask the console for its status", func() error { return d.status(ctx, machine) }); err != nil {
		return fmt.Errorf("%w\n%s", err, console)
	}
	fmt.Fprintf(d.out, "%-36s %6.1f s\n\n", "all of it", time.Since(begin).Seconds())
	return d.print()
}

// step does one thing and prints how long it took.
func (d *demo) step(name string, do func() error) error {
	begin := time.Now()
	if err := do(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	fmt.Fprintf(d.out, "%-36s %6.1f s\n", name, time.Since(begin).Seconds())
	return nil
}

func (d *demo) build(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "go", "run", "./image/cmd/mkimage", "-board", "amd64", "-o", d.image)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // go run leaves its child behind when it is killed
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return cmd.Run()
}

// boot follows the milestones on the console until the queues are consumed.
func (d *demo) boot(ctx context.Context, m *qemu.Machine) error {
	for _, name := range []string{"init", "services", "network", "broker"} {
		if err := d.reach(ctx, m, name); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) reach(ctx context.Context, m *qemu.Machine, name string) error {
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	found, err := m.WaitLine(ctx, regexp.MustCompile(`msg=boot phase=`+name+`\b.* at=([0-9.]+)`))
	if err != nil {
		return err
	}
	at, err := strconv.ParseFloat(found[1], 64)
	d.phases = append(d.phases, phase{name, at})
	return err
}

var resident = regexp.MustCompile(`agent\s.*?([0-9.]+ MiB)`)

// status types on the serial console, as an engineer with a cable would.
func (d *demo) status(ctx context.Context, m *qemu.Machine) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := m.WriteLine("status"); err != nil {
		return err
	}
	found, err := m.WaitLine(ctx, resident)
	if err != nil {
		return err
	}
	d.memory = found[1]
	return nil
}

// sizes are those of the files that make up the image.
func (d *demo) sizes() (kernel, initramfs, binary int64, err error) {
	for name, size := range map[string]*int64{image.KernelFile: &kernel, image.InitramfsFile: &initramfs, image.BinaryFile: &binary} {
		info, err := os.Stat(filepath.Join(d.image, name))
		if err != nil {
			return 0, 0, 0, err
		}
		*size = info.Size()
	}
	return kernel, initramfs, binary, nil
}
