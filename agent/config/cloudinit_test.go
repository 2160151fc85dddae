package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What Raspberry Pi Imager 2.0 writes for a host name, a time zone, a keyboard,
// a user with a key, and a Wi-Fi network.
const (
	imagerUserData = `#cloud-config
hostname: probe-7
manage_etc_hosts: true
packages:
- avahi-daemon
apt:
  conf: |
    Acquire {
      Check-Date "false";
    };
timezone: Europe/Berlin
keyboard:
  model: pc105
  layout: "de"
enable_ssh: true
users:
- name: field
  groups: users,adm,dialout,audio,netdev,video,plugdev,cdrom,games,input,gpio,spi,i2c,render,sudo
  shell: /bin/bash
  lock_passwd: false
  passwd: $5$2GfWMeLNVZ$XOl3Zz5n4eGd
  ssh_authorized_keys:
    - ssh-ed25519 AAAAC3Nz field@example.com
  sudo: ALL=(ALL) NOPASSWD:ALL
ssh_pwauth: true
`
	imagerNetwork = `network:
  version: 2
  wifis:
    wlan0:
      dhcp4: true
      regulatory-domain: "DE"
      access-points:
        "Lab \"5\"":
          hidden: true
          password: "5f3bc2e8a1d94b7c60e2f8d7a9b1c3e45f3bc2e8a1d94b7c60e2f8d7a9b1c3e4"
      optional: true
`
)

// What version 1 of the Imager writes instead: the network has one level less.
const imagerNetwork1 = `version: 2
wifis:
  renderer: networkd
  wlan0:
    dhcp4: true
    optional: true
    access-points:
      "Lab":
        password: "secret-psk"
`

func TestImagerHostName(t *testing.T) {
	got, err := Load(write(t, UserDataFile, "#cloud-config\nhostname: probe-7\nmanage_etc_hosts: true\npackages:\n- avahi-daemon\ntimezone: Europe/Berlin\nenable_ssh: false\n"), "")
	if err != nil || got.Appliance.Hostname != "probe-7" {
		t.Errorf("host name %q, %v, want probe-7", got.Appliance.Hostname, err)
	}
	if len(got.Ignored) != 1 || !strings.HasSuffix(got.Ignored[0], "user-data: manage_etc_hosts, packages, timezone") {
		t.Errorf("ignored %q, want a line with the other settings", got.Ignored)
	}
	i := slices.IndexFunc(got.Settings(), func(s Setting) bool { return s.Name() == "appliance.hostname" })
	if from := got.Settings()[i].From; !strings.HasSuffix(from, "user-data:2") {
		t.Errorf("the host name is from %q, want user-data:2", from)
	}
}

func TestImagerAccountsAreRefused(t *testing.T) {
	got, err := Load(write(t, UserDataFile, imagerUserData), "")
	if got.Appliance.Hostname != "probe-7" {
		t.Errorf("host name %q, want the one beside what is refused", got.Appliance.Hostname)
	}
	checkProblems(t, err, "user-data:15: enable_ssh: a terminal has no users", "user-data:16: users: ", "user-data:25: ssh_pwauth: ")
}

func TestImagerWiFiIsRefused(t *testing.T) {
	_, err := Load(write(t, NetworkConfigFile, imagerNetwork), "")
	checkProblems(t, err, `network-config:8: Wi-Fi network "Lab \"5\"" is not joined: there is no firmware`)
	_, err = Load(write(t, NetworkConfigFile, imagerNetwork1), "")
	checkProblems(t, err, `network-config:8: Wi-Fi network "Lab" is not joined`)
}

func TestNetworkConfigOfWires(t *testing.T) {
	for body, want := range map[string][]string{
		"": nil,
		"network: {version: 2, ethernets: {eth0: {dhcp4: true, dhcp6: false, optional: true}}}\n": nil,
		"ethernets:\n  eth0:\n    dhcp4: false\n    addresses: [192.0.2.7/24]\n":                  {`network-config:3: "dhcp4" of "eth0"`, `network-config:4: "addresses" of "eth0": links have DHCP here`},
		"network:\n  bonds:\n    bond0: {}\n":                                                     {`network-config:2: "bonds": no such links`},
	} {
		_, err := Load(write(t, NetworkConfigFile, body), "")
		checkProblems(t, err, want...)
	}
}

func TestWhatIsNoCloudInit(t *testing.T) {
	for _, test := range []struct{ body, want string }{
		{"#!/bin/sh\nreboot\n", "no script of the medium is run here"},
		{"hostname: [\n", "user-data: not YAML: line "},
		{"just words\n", "user-data:1: want settings such as hostname: NAME"},
		{"hostname: two words\n", `user-data:1: [appliance] hostname: "two words" is not a host name`},
		{"hostname: {a: b}\n", "user-data:1: [appliance] hostname: "},
		{"a: *secret\n", "a value that begins with * needs quotes"},
		{"a: " + strings.Repeat("x", maxCloudInit), "more than 65536 bytes"},
	} {
		got, err := Load(write(t, UserDataFile, test.body), "")
		checkProblems(t, err, test.want)
		if got.Appliance.Hostname != "" || !got.Appliance.Watchdog {
			t.Errorf("%.40q: got %+v, want the defaults", test.body, got.Appliance)
		}
	}
}

func TestNatrixIniWinsOverTheImager(t *testing.T) {
	dir := t.TempDir()
	files := []string{filepath.Join(dir, UserDataFile), filepath.Join(dir, NetworkConfigFile), filepath.Join(dir, "natrix.ini")}
	for i, body := range []string{"hostname: of-imager\n", "", "[APPLIANCE]\nhostname = of-ini\n"} {
		if err := os.WriteFile(files[i], []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := LoadLayers(files, ""); err != nil || got.Appliance.Hostname != "of-ini" {
		t.Errorf("host name %q, %v, want that of natrix.ini", got.Appliance.Hostname, err)
	}
	if got, err := LoadLayers(files[:2], ""); err != nil || got.Appliance.Hostname != "of-imager" {
		t.Errorf("host name %q, %v, want that of the Imager", got.Appliance.Hostname, err)
	}
}

// checkProblems checks that an error has a line with each text, no more lines,
// and no password.
func checkProblems(t *testing.T, err error, want ...string) {
	t.Helper()
	var lines []string
	if err != nil {
		lines = strings.Split(err.Error(), "\n")
	}
	if len(lines) != len(want) {
		t.Errorf("got %d problems, want %d: %v", len(lines), len(want), err)
		return
	}
	for i, line := range lines {
		if !strings.Contains(line, want[i]) || strings.Contains(line, "secret") || strings.Contains(line, "5f3bc2") || strings.Contains(line, "$5$") {
			t.Errorf("problem %d is %q, want %q in it and no password", i, line, want[i])
		}
	}
}

func FuzzCloudInit(f *testing.F) {
	for _, seed := range []string{imagerUserData, imagerNetwork, imagerNetwork1, "&a [*a]", "? {a: b}\n: c", "a: !!binary x", "{<<: {hostname: x}}"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		c := Default()
		c.readUserData(UserDataFile, body)
		c.readNetworkConfig(NetworkConfigFile, body)
		var name string
		if c.Appliance.Hostname != "" && hostname(&name, c.Appliance.Hostname) != nil {
			t.Errorf("host name %q, which is none", c.Appliance.Hostname)
		}
	})
}
