package netif

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/vishvananda/netlink"
)

func TestReadDevice(t *testing.T) {
	root := t.TempDir()
	write := func(name string, files map[string]string) {
		for file, content := range files {
			path := filepath.Join(root, name, file)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	write("eth0", map[string]string{"uevent": "INTERFACE=eth0\nIFINDEX=2\n", "speed": "1000\n", "duplex": "full\n"})
	write("wlan0", map[string]string{"uevent": "DEVTYPE=wlan\nINTERFACE=wlan0\nIFINDEX=3\n", "speed": "-1\n", "duplex": "unknown\n"})
	write("old0", map[string]string{"uevent": "INTERFACE=old0\nIFINDEX=4\n", "speed": "4294967295\n"})
	for _, tt := range []struct {
		name  string
		index int
		want  device
	}{
		{"eth0", 2, device{speed: 1000, duplex: "full"}},
		{"eth0", 7, device{}}, // that of another namespace
		{"wlan0", 3, device{devtype: "wlan"}},
		{"old0", 4, device{}},
		{"gone0", 5, device{}},
	} {
		if got := readDevice(root, tt.name, tt.index); got != tt.want {
			t.Errorf("%s, index %d: got %+v, want %+v", tt.name, tt.index, got, tt.want)
		}
	}
}

func TestKind(t *testing.T) {
	for _, tt := range []struct {
		name, driver, devtype, encap string
		want                         Kind
	}{
		{"eth0", "device", "", "ether", Wired},
		{"enxb827ebf94174", "device", "", "ether", Wired},
		{"vmbr0", "bridge", "bridge", "ether", Wired},
		{"wlan0", "device", "wlan", "ether", Wireless},
		{"wlp3s0", "device", "", "ether", Wireless},
		{"radio", "device", "wlan", "ether", Wireless},
		{"wwan0", "device", "wwan", "none", Mobile},
		{"ppp0", "ppp", "", "ppp", Mobile},
		{"usb0", "device", "wwan", "ether", Mobile},
		{"tun0", "tuntap", "", "none", Other},
		{"ifb0", "ifb", "", "ether", Other},
		{"wg0", "wireguard", "", "none", Other},
	} {
		l := Link{Name: tt.name, Driver: tt.driver}
		if got := kind(l, &netlink.LinkAttrs{EncapType: tt.encap}, tt.devtype); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
}
