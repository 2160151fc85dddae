package appliance

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// mounts are the file systems of the kernel, in the order in which they need
// each other. The directories are made where they are missing.
var mounts = [...]struct {
	target, fstype string
	flags          uintptr
	data           string
	needs          string // mounted only where this exists, if it is not empty
}{
	{"/proc", "proc", unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV, "", ""},
	{"/sys", "sysfs", unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV, "", ""},
	{"/dev", "devtmpfs", unix.MS_NOSUID, "mode=0755", ""},
	{"/dev/pts", "devpts", unix.MS_NOSUID | unix.MS_NOEXEC, "mode=0620,gid=5,ptmxmode=0666", ""},
	{"/dev/shm", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777", ""},
	{"/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=0755", ""},
	{"/tmp", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777", ""},
	{"/sys/fs/cgroup", "cgroup2", unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV, "", "/sys/fs/cgroup"},
	{"/sys/firmware/efi/efivars", "efivarfs", unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV, "", "/sys/firmware/efi/efivars"},
}

// links are what programs expect in /dev besides the devices.
var links = [...]struct{ name, target string }{
	{"/dev/fd", "/proc/self/fd"},
	{"/dev/stdin", "/proc/self/fd/0"},
	{"/dev/stdout", "/proc/self/fd/1"},
	{"/dev/stderr", "/proc/self/fd/2"},
}

// mountAll mounts what it can.
func mountAll() error {
	var failed []error
	for _, m := range mounts {
		if m.needs != "" {
			if _, err := os.Stat(m.needs); err != nil {
				continue
			}
		} else if err := os.MkdirAll(m.target, 0o755); err != nil {
			failed = append(failed, err)
		}
		err := unix.Mount(m.fstype, m.target, m.fstype, m.flags, m.data)
		if err != nil && !errors.Is(err, unix.EBUSY) { // the kernel mounts devtmpfs itself if it is told to
			failed = append(failed, fmt.Errorf("%s on %s: %w", m.fstype, m.target, err))
		}
	}
	for _, l := range links {
		if err := os.Symlink(l.target, l.name); err != nil && !errors.Is(err, fs.ErrExist) {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// quietKernel keeps all but the kernel's errors off the consoles, where a
// person types; dmesg has the rest. A kernel that was told to be quieter still
// stays so (Documentation/admin-guide/sysctl/kernel.rst, printk).
func quietKernel(printk string) error {
	const errorsOnly = 4 // levels below it are shown
	b, err := os.ReadFile(printk)
	if err != nil {
		return err
	}
	var level int
	if _, err := fmt.Sscan(string(b), &level); err != nil {
		return fmt.Errorf("%s: %w", printk, err)
	}
	if level <= errorsOnly {
		return nil
	}
	return os.WriteFile(printk, []byte(strconv.Itoa(errorsOnly)), 0)
}

// nameHost gives the machine the name that it was configured with. Otherwise
// Network names it, once there is a link to name it after.
func nameHost(name string) error {
	if name == "" {
		name = anonymous
	}
	return os.NewSyscallError("sethostname", unix.Sethostname([]byte(name)))
}

const anonymous = "natrix"

// loadModules loads the kernel modules that a list names, one a line, relative
// to the list and each after those it needs, with its parameters behind it. A
// kernel with all drivers built in has no list.
func loadModules(list string) error {
	f, err := os.Open(list)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	var failed []error
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		file, parameters, _ := strings.Cut(strings.TrimSpace(lines.Text()), " ")
		if file == "" || file[0] == '#' {
			continue
		}
		if err := loadModule(filepath.Join(filepath.Dir(list), file), parameters); err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(append(failed, lines.Err())...)
}

func loadModule(file, parameters string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	flags := 0
	if filepath.Ext(file) != ".ko" {
		flags = unix.MODULE_INIT_COMPRESSED_FILE
	}
	err = unix.FinitModule(int(f.Fd()), parameters, flags)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

func bringUp(link string) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(l)
}

// waitForEntropy blocks until the kernel's random numbers are good, which TLS
// and DHCP would otherwise wait for in their own, worse ways. Only a blocking
// call makes the kernel gather them where there is no hardware for it.
func waitForEntropy() error {
	var b [1]byte
	for {
		_, err := unix.Getrandom(b[:], 0)
		if !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("getrandom", err)
		}
	}
}
