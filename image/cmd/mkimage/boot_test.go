package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/natrix-os/natrix/agent/door/amqp"
	"github.com/natrix-os/natrix/agent/door/amqp/amqptest"
	"github.com/natrix-os/natrix/agent/medium"
	"github.com/natrix-os/natrix/image"
	"github.com/natrix-os/natrix/image/qemu"
)

// deadline is when a machine counts as stuck. It is far from the time that a
// boot takes, which the log has: other tests may run meanwhile.
const deadline = 4 * time.Minute

// form is a way to boot a board.
type form struct {
	name, board string
	config      func(t *testing.T, dir string) qemu.Config // of a machine for the image in dir
}

// forms are all of them. None but the last is started by QEMU instead of what
// the board's image has for that.
var forms = []form{
	{"disk under BIOS", "amd64", func(_ *testing.T, dir string) qemu.Config {
		return qemu.Config{Disk: filepath.Join(dir, "natrix-amd64.img")}
	}},
	{"disk under UEFI", "amd64", func(_ *testing.T, dir string) qemu.Config {
		return qemu.Config{Disk: filepath.Join(dir, "natrix-amd64.img"), UEFI: true}
	}},
	{"USB stick under UEFI", "amd64", func(_ *testing.T, dir string) qemu.Config {
		return qemu.Config{Disk: filepath.Join(dir, "natrix-amd64.img"), UEFI: true, USB: true}
	}},
	{"PXE under BIOS", "amd64", func(_ *testing.T, dir string) qemu.Config {
		return qemu.Config{PXE: filepath.Join(dir, image.NetDir, "pxelinux.0")}
	}},
	{"iPXE", "amd64", func(_ *testing.T, dir string) qemu.Config {
		return qemu.Config{PXE: filepath.Join(dir, image.NetDir, "boot.ipxe")}
	}},
	{"PXE under UEFI", "amd64", func(_ *testing.T, dir string) qemu.Config {
		return qemu.Config{PXE: filepath.Join(dir, image.NetDir, "natrix.efi"), UEFI: true, Memory: 512} // twice the file, and the firmware
	}},
	{"card", "rpi2", card},
	{"card", "rpi3", card},
}

// card is a machine with the kernel and the initramfs of the card, as the
// firmware would load them, and the card itself.
func card(t *testing.T, dir string) qemu.Config {
	board := filepath.Base(dir)
	disk := filepath.Join(t.TempDir(), "card.img")
	if out, err := exec.Command("cp", "--sparse=always", filepath.Join(dir, "natrix-"+board+".img"), disk).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := os.Truncate(disk, 256<<20); err != nil { // the emulator wants a power of two
		t.Fatal(err)
	}
	boot := t.TempDir()
	for _, name := range []string{image.KernelFile, image.InitramfsFile} {
		from := fmt.Sprintf("%s@@%d", disk, medium.SlotAStart*medium.SectorSize)
		if out, err := exec.Command("mcopy", "-i", from, "::"+name, boot).CombinedOutput(); err != nil {
			t.Fatalf("mcopy %s: %v\n%s", name, err, out)
		}
	}
	for _, tree := range glob(t, dir, "*.dtb") {
		if err := os.Link(tree, filepath.Join(boot, filepath.Base(tree))); err != nil && os.WriteFile(filepath.Join(boot, filepath.Base(tree)), read(t, tree), 0o644) != nil {
			t.Fatal(err)
		}
	}
	// The watchdog of the emulated Raspberry Pi bites as soon as it is opened.
	return qemu.Config{Dir: boot, Disk: disk, Cmdline: medium.SlotWord + "=a natrix.watchdog=off"}
}

func glob(t *testing.T, dir, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestForms boots each board in every form that it has, to a worker that
// answers a ping command of a real broker.
func TestForms(t *testing.T) {
	slow(t)
	broker := amqptest.ForTest(t)
	o := described(t)
	o.Config = fmt.Appendf(nil, "[RABBITMQ]\r\nurl = %s\r\n[APPLIANCE]\r\nntp = %s\r\n", broker.URL(qemu.Host), qemu.Host)
	for _, b := range boards() {
		t.Run(b.Name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), b.Name)
			sizes, err := image.Build(t.Context(), b, o, dir)
			if err != nil {
				t.Fatal(err)
			}
			checkSizes(t, b.Name, sizes)
			for i, f := range forms {
				if f.board == b.Name {
					t.Run(f.name, func(t *testing.T) {
						c := f.config(t, dir)
						c.Board = f.board
						c.Links = []qemu.Link{{MAC: fmt.Sprintf("52:54:00:6e:61:%02x", 0x10+i)}}
						bootToWorker(t, c, broker)
					})
				}
			}
		})
	}
}

// checkSizes asserts what a board takes at most, in bytes: the files on a card,
// and what a network loads.
func checkSizes(t *testing.T, board string, s image.Sizes) {
	t.Helper()
	most := map[string]int64{"rpi2": 24_000_000, "rpi3": 32_000_000, "amd64": 28_000_000}[board]
	got := s.Medium
	if board == "amd64" {
		got = s.Kernel + s.Initramfs
	}
	t.Logf("%s: %.1f MB of at most %.1f; natrix %.1f MB", board, float64(got)/1e6, float64(most)/1e6, float64(s.Binary)/1e6)
	if s.Binary > maxBinary {
		t.Errorf("natrix for %s takes %d bytes, want %d at most", board, s.Binary, maxBinary)
	}
	if got > most {
		t.Errorf("%s takes %d bytes, want %d at most", board, got, most)
	}
}

var phase = regexp.MustCompile(`msg=boot phase=(\w+)\b.* at=([0-9.]+)`)

// bootToWorker boots a machine, has it ping its host once, and logs when it
// reached which phase.
func bootToWorker(t *testing.T, c qemu.Config, broker *amqptest.Broker) {
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	dispatcher, err := amqp.NewDispatcher(ctx, broker.URL("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	defer dispatcher.Close()
	begin := time.Now()
	c.Console = t.Output()
	m, err := qemu.Start(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	terminal := strings.ReplaceAll(c.Links[0].MAC, ":", "")
	answers := make(chan error, 1)
	go func() { answers <- ping(ctx, dispatcher, terminal) }()
	var last, init float64
	var phases strings.Builder
	for name := ""; name != "command"; {
		match, err := m.WaitLine(ctx, phase)
		if err != nil {
			t.Fatal(err)
		}
		at, err := strconv.ParseFloat(match[2], 64)
		if err != nil {
			t.Fatal(err)
		}
		name = match[1]
		if name == "init" {
			init = at
		}
		fmt.Fprintf(&phases, "  %s %.2f", name, at-last)
		last = at
	}
	if err := <-answers; err != nil {
		t.Fatal(err)
	}
	t.Logf("guest s:%s; init to first command %.2f; wall %.0f s", phases.String(), last-init, time.Since(begin).Seconds())
}

// ping has the terminal send a packet to its host.
func ping(ctx context.Context, dispatcher *amqp.Dispatcher, terminal string) error {
	body, err := json.Marshal(amqp.NewRequest(terminal, "ping", qemu.Host, map[string]any{"count": 1, "timeout": 5}))
	if err != nil {
		return err
	}
	answer, err := dispatcher.Ask(ctx, terminal, body)
	if err != nil {
		return err
	}
	var response struct{ Status int }
	if err := json.Unmarshal(answer, &response); err != nil || response.Status != 0 {
		return fmt.Errorf("the answer is %s", answer)
	}
	return nil
}

// TestMemoryFloor finds with how little memory a PC gets as far as its first
// lease: the initramfs is in it twice while it is unpacked.
func TestMemoryFloor(t *testing.T) {
	slow(t)
	b, err := find("amd64")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if _, err := image.Build(t.Context(), b, described(t), dir); err != nil {
		t.Fatal(err)
	}
	const most = 160 // MiB
	floor := 0
	for memory := most; memory >= 64; memory -= 16 {
		if err := bootToNetwork(t, dir, memory); err != nil {
			t.Logf("with %d MiB: %.100v", memory, err)
			break
		}
		floor = memory
	}
	if floor == 0 {
		t.Fatalf("a PC with %d MiB has no network", most)
	}
	t.Logf("a PC runs with %d MiB", floor)
}

// bootToNetwork fails if the machine ends, as it does when its kernel panics.
func bootToNetwork(t *testing.T, dir string, memory int) error {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	m, err := qemu.Start(ctx, qemu.Config{Board: "amd64", Dir: dir, Memory: memory, Links: []qemu.Link{{}}})
	if err != nil {
		return err
	}
	defer m.Close()
	_, err = m.WaitLine(ctx, regexp.MustCompile(`msg=boot phase=network`))
	return err
}
