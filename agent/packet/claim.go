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

// claimPort claims one source port against other engines, which may have it
// as such or in a block.
func claimPort(port uint16) (claim, error) {
	c, err := newClaim(fmt.Sprintf("port/%d", port))
	if err != nil {
		return -1, err
	}
	b, err := tryBlock(int(port / blockSize))
	if err != nil {
		c.release()
		return -1, err
	}
	b.claim.release()
	return c, nil
}

// block is 256 consecutive numbers that no other engine uses as ICMP
// identifier or source port.
type block struct {
	index uint8 // upper half of each number
	claim claim
}

const blockSize = 256

func (b block) base() uint16           { return uint16(b.index) * blockSize }
func (b block) number(n uint16) uint16 { return b.base() + n%blockSize }

// claimBlock claims a block. It prefers those outside of the ports that the
// kernel hands out itself, so that a SYN of ours cannot hit a live connection
// of this host, and never takes destination ports of ours: over loopback our
// requests would look like answers.
func claimBlock() (block, error) {
	low, high := ephemeralPorts()
	var used []int
	for _, i := range rand.Perm(FirstUDPPort/blockSize - firstBlock) {
		i += firstBlock
		if i*blockSize <= high && (i+1)*blockSize > low {
			used = append(used, i)
			continue
		}
		if b, err := tryBlock(i); !errors.Is(err, unix.EADDRINUSE) {
			return b, err
		}
	}
	for _, i := range used {
		if b, err := tryBlock(i); !errors.Is(err, unix.EADDRINUSE) {
			return b, err
		}
	}
	return block{}, fmt.Errorf("claim a block of ports: other engines have them all: %w", ErrTooMany)
}

const firstBlock = 32 // ports from 8192

func tryBlock(i int) (block, error) {
	c, err := newClaim(fmt.Sprintf("block/%d", i))
	return block{index: uint8(i), claim: c}, err
}

// ephemeralPorts returns net.ipv4.ip_local_port_range, or its default.
func ephemeralPorts() (low, high int) {
	low, high = 32768, 60999
	if b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		_, _ = fmt.Sscan(string(b), &low, &high) // what cannot be read keeps its default
	}
	return low, high
}
