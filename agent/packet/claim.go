package packet

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"

	"golang.org/x/sys/unix"
)

// claim holds a name that one process of a network namespace can have at a
// time: the file descriptor of a socket bound to an abstract Unix address,
// which are per network namespace (unix(7)). The kernel gives it back when the process dies.
type claim int

func newClaim(name string) (claim, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: "@natrix/packet/" + name}); err != nil {
		unix.Close(fd)
		return -1, os.NewSyscallError("bind", err)
	}
	return claim(fd), nil
}

func (c claim) release() { unix.Close(int(c)) }

// claimPort claims one source port against other engines.
func claimPort(port uint16) (claim, error) { return newClaim(fmt.Sprintf("port/%d", port)) }

// block is 256 consecutive numbers that no other engine uses as ICMP
// identifier or source port.
type block struct {
	index uint8 // upper half of each number
	claim claim
}

const blockSize = 256

func (b block) base() uint16           { return uint16(b.index) * blockSize }
func (b block) has(number uint16) bool { return uint8(number>>8) == b.index }
func (b block) number(n uint16) uint16 { return b.base() + n%blockSize }

// claimBlock claims a block outside of the ports that the kernel hands out
// itself, so that a SYN of ours cannot hit a live connection of this host.
func claimBlock() (block, error) {
	low, high := ephemeralPorts()
	blocks := rand.Perm(256)
	for _, i := range blocks {
		first, last := i*blockSize, (i+1)*blockSize-1
		if first < 8192 || first <= high && last >= low {
			continue
		}
		c, err := newClaim(fmt.Sprintf("block/%d", i))
		if errors.Is(err, unix.EADDRINUSE) {
			continue
		}
		return block{index: uint8(i), claim: c}, err
	}
	return block{}, fmt.Errorf("claim a block of ports: other engines have them all: %w", ErrTooMany)
}

// ephemeralPorts returns net.ipv4.ip_local_port_range, or its default.
func ephemeralPorts() (low, high int) {
	low, high = 32768, 60999
	if b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		_, _ = fmt.Sscan(string(b), &low, &high) // what cannot be read keeps its default
	}
	return low, high
}
