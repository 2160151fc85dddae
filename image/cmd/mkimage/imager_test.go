package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/natrix-os/natrix/agent/config"
	"github.com/natrix-os/natrix/agent/medium"
	"github.com/natrix-os/natrix/image"
	"github.com/natrix-os/natrix/image/qemu"
)

// imagerFiles are what the Raspberry Pi Imager writes to partition 1 for a host
// name, a time zone, SSH and a Wi-Fi network.
var imagerFiles = map[string]string{
	"meta-data": "instance-id: rpi-imager-1796000000000\n",
	config.UserDataFile: "#cloud-config\nhostname: probe-7\nmanage_etc_hosts: true\npackages:\n- avahi-daemon\n" +
		"timezone: Europe/Berlin\nenable_ssh: true\n",
	config.NetworkConfigFile: "network:\n  version: 2\n  wifis:\n    wlan0:\n      dhcp4: true\n      regulatory-domain: \"DE\"\n" +
		"      access-points:\n        \"Lab\":\n          password: \"5f3bc2e8\"\n      optional: true\n",
}

// TestImagerCustomisation boots a card as the Imager leaves it: the host name
// counts, what is refused is named, and the terminal comes up.
func TestImagerCustomisation(t *testing.T) {
	slow(t)
	b, err := find("rpi3")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), b.Name)
	if _, err := image.Build(t.Context(), b, described(t), dir); err != nil {
		t.Fatal(err)
	}
	c := card(t, dir)
	customise(t, c.Disk)
	c.Board, c.Links, c.Console = b.Name, []qemu.Link{{MAC: mac}}, t.Output()
	c.Cmdline += " natrix.ntp=" + qemu.Host
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	m, err := qemu.Start(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for _, said := range []string{`read the settings.*user-data:7: enable_ssh: a terminal has no users.*network-config:8: Wi-Fi network .*Lab.* is not joined`, `ignored=.*timezone`} {
		if _, err := m.WaitLine(ctx, regexp.MustCompile(said)); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []func() error{
		func() error { return m.WriteLine("") },
		func() error { return m.WaitPrompt(ctx, "natrix> ") },
		func() error { return checkName(ctx, m) },
		func() error { return m.WriteLine("status") },
		func() error {
			_, err := m.WaitLine(ctx, regexp.MustCompile(`configuration .*user-data:7: enable_ssh`))
			return err
		},
		func() error { return m.WaitPrompt(ctx, "natrix> ") },
		func() error { return m.WriteLine("poweroff") },
		func() error { return m.Wait(ctx) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
}

// customise writes the Imager's files to a card.
func customise(t *testing.T, disk string) {
	t.Helper()
	dir := t.TempDir()
	args := []string{"-i", fmt.Sprintf("%s@@%d", disk, medium.BootStart*medium.SectorSize)}
	for name, content := range imagerFiles {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, file)
	}
	if out, err := exec.CommandContext(t.Context(), "mcopy", append(args, "::")...).CombinedOutput(); err != nil {
		t.Fatalf("mcopy: %v\n%s", err, out)
	}
}

func checkName(ctx context.Context, m *qemu.Machine) error {
	var h struct{ Hardware struct{ Hostname string } }
	if err := ask(ctx, m, "check -o json hardware", &h); err != nil {
		return err
	}
	if h.Hardware.Hostname != "probe-7" {
		return fmt.Errorf("the terminal calls itself %q, want the Imager's probe-7", h.Hardware.Hostname)
	}
	return nil
}
