package netif

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
)

// sysClassNet shows the links of one network namespace, that of its mount.
const sysClassNet = "/sys/class/net"

// device is what sysfs adds to rtnetlink
// (Documentation/ABI/testing/sysfs-class-net in the kernel).
type device struct {
	devtype string // DEVTYPE of the uevent: wlan, wwan, bridge, ...
	speed   int    // Mbit/s, 0 if unknown
	duplex  string // full, half, or empty
}

// readDevice reads the directory of a link. A directory that is missing, or
// that is another link's (same name, other namespace), gives the zero device.
func readDevice(root, name string, index int) device {
	dir := filepath.Join(root, name)
	uevent, _ := os.ReadFile(filepath.Join(dir, "uevent"))
	if value(uevent, "IFINDEX") != strconv.Itoa(index) {
		return device{}
	}
	d := device{devtype: value(uevent, "DEVTYPE")}
	// Reading these fails with EINVAL while the link is down, and unknown is
	// -1 or, from older drivers, the same number unsigned (SPEED_UNKNOWN).
	if mbit, err := strconv.Atoi(line(dir, "speed")); err == nil && mbit > 0 && mbit < 1<<31-1 {
		d.speed = mbit
	}
	if s := line(dir, "duplex"); s == "full" || s == "half" {
		d.duplex = s
	}
	return d
}

// value finds key=value in the lines of a uevent file.
func value(uevent []byte, key string) string {
	for l := range bytes.Lines(uevent) {
		if k, v, _ := bytes.Cut(l, []byte("=")); string(k) == key {
			return string(bytes.TrimSpace(v))
		}
	}
	return ""
}

func line(dir, file string) string {
	b, _ := os.ReadFile(filepath.Join(dir, file))
	return string(bytes.TrimSpace(b))
}
