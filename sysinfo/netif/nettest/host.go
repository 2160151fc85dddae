package nettest

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// Host is a network namespace with its loopback link up.
type Host struct {
	Name  string
	Addr4 netip.Addr // IPv4 address of its first link
	Addr6 netip.Addr // IPv6 address of its first link
	Links []Link     // in the order in which they were connected

	// Netlink talks to the host's kernel tables from any thread.
	Netlink *netlink.Handle

	t  testing.TB
	ns netns.NsHandle
}

// Link is a host's end of a cable.
type Link struct {
	Name  string // the name of the host at the other end
	Index int
	Addr4 netip.Addr
	Addr6 netip.Addr
	Peer  *Host
	peer4 netip.Addr
	peer6 netip.Addr
}

// sysctls make a host forward, answer every bad packet without a rate limit,
// and use its IPv6 addresses at once. Those that a kernel does not have are
// left out; icmp_msgs_per_sec belongs to namespaces only since Linux 6.12.
var sysctls = [...]struct{ name, value string }{
	{"net.ipv4.ip_forward", "1"},
	{"net.ipv4.conf.all.rp_filter", "0"},
	{"net.ipv4.conf.default.rp_filter", "0"},
	{"net.ipv4.icmp_ratemask", "0"}, // not icmp_ratelimit, which would take the tokens of AddRoute's refusals
	{"net.ipv4.icmp_msgs_per_sec", "1000000"},
	{"net.ipv4.icmp_msgs_burst", "1000000"},
	{"net.ipv4.fib_multipath_hash_policy", "1"},
	{"net.ipv6.conf.all.forwarding", "1"},
	{"net.ipv6.conf.all.accept_dad", "0"},
	{"net.ipv6.conf.default.accept_dad", "0"},
	{"net.ipv6.conf.default.accept_ra", "0"},
	{"net.ipv6.icmp.ratelimit", "0"},
	{"net.ipv6.fib_multipath_hash_policy", "1"},
}

// NewHost adds an unconnected host, which lives until the test ends.
func NewHost(t testing.TB, name string) *Host {
	t.Helper()
	Need(t)
	h := &Host{Name: name, t: t, ns: newNamespace(t)}
	t.Cleanup(func() { h.ns.Close() })
	var err error
	if h.Netlink, err = netlink.NewHandleAt(h.ns); err != nil {
		t.Fatalf("netlink of %s: %v", name, err)
	}
	t.Cleanup(h.Netlink.Close)
	for _, s := range sysctls {
		h.setSysctl(s.name, s.value, os.IsNotExist)
	}
	h.up("lo")
	return h
}

func newNamespace(t testing.TB) netns.NsHandle {
	t.Helper()
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		t.Fatalf("open the thread's namespace: %v", err)
	}
	defer home.Close()
	ns, err := netns.New()
	if err != nil {
		t.Fatalf("new namespace: %v", err)
	}
	leave(t, home)
	return ns
}

// leave puts the thread back into the namespace home and lets it go. A thread
// that cannot go back stays locked, so that the runtime ends it with its goroutine.
func leave(t testing.TB, home netns.NsHandle) {
	t.Helper()
	if err := netns.Set(home); err != nil {
		t.Errorf("return to the first namespace: %v", err)
		return
	}
	runtime.UnlockOSThread()
}

// Do runs f on the calling goroutine while its thread is inside the host.
//
// A socket opened by f, and a process started by it, stay in the host for
// ever and may be used from anywhere. A goroutine started by f is not in the
// host: it runs on another thread. So f may net.Dial or net.Listen by address,
// but anything that opens sockets later or elsewhere (http.Client, a resolver)
// needs a dialer that calls Do itself. The same goes for /proc: inside f,
// /proc/thread-self/net and /proc/sys/net are the host's, /proc/net and /sys
// are not. Calls nest, and f may end the test with t.Fatal.
func (h *Host) Do(f func()) {
	h.t.Helper()
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		h.t.Fatalf("open the thread's namespace: %v", err)
	}
	defer home.Close()
	if err := netns.Set(h.ns); err != nil {
		h.t.Fatalf("enter %s: %v", h.Name, err)
	}
	defer leave(h.t, home)
	f()
}

// Start starts cmd inside the host.
func (h *Host) Start(cmd *exec.Cmd) error {
	var err error
	h.Do(func() { err = cmd.Start() })
	return err
}

// Run runs a program inside the host and returns what it wrote to both outputs
// together. It ends with the test at the latest.
func (h *Host) Run(name string, args ...string) (string, error) {
	cmd := exec.CommandContext(h.t.Context(), name, args...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := h.Start(cmd); err != nil {
		return "", err
	}
	err := cmd.Wait()
	return out.String(), err
}

// Sysctl sets a kernel variable of the host, such as "net.ipv4.ping_group_range".
func (h *Host) Sysctl(name, value string) {
	h.t.Helper()
	h.setSysctl(name, value, func(error) bool { return false })
}

func (h *Host) setSysctl(name, value string, ignore func(error) bool) {
	h.t.Helper()
	file := filepath.Join("/proc/sys", strings.ReplaceAll(name, ".", "/"))
	h.Do(func() {
		if err := os.WriteFile(file, []byte(value), 0); err != nil && !ignore(err) {
			h.t.Fatalf("sysctl of %s: %v", h.Name, err)
		}
	})
}

// Link returns the host's link to the host called peer.
func (h *Host) Link(peer string) Link {
	h.t.Helper()
	for _, l := range h.Links {
		if l.Name == peer {
			return l
		}
	}
	h.t.Fatalf("%s has no link %s", h.Name, peer)
	panic("unreachable")
}

// SetMTU sets the MTU of the host's end of its link to peer, in bytes.
func (h *Host) SetMTU(peer string, mtu int) {
	h.t.Helper()
	h.change(peer, func(l netlink.Link) error { return h.Netlink.LinkSetMTU(l, mtu) })
}

// Unplug takes the host's link to peer down; [Host.Plug] takes it up again.
// IPv6 addresses and all routes of the link are lost with it.
func (h *Host) Unplug(peer string) {
	h.t.Helper()
	h.change(peer, h.Netlink.LinkSetDown)
}

// Plug takes the host's link to peer up.
func (h *Host) Plug(peer string) {
	h.t.Helper()
	h.up(peer)
}

func (h *Host) up(name string) {
	h.t.Helper()
	h.change(name, h.Netlink.LinkSetUp)
}

func (h *Host) change(name string, f func(netlink.Link) error) {
	h.t.Helper()
	link, err := h.Netlink.LinkByName(name)
	if err == nil {
		err = f(link)
	}
	if err != nil {
		h.t.Fatalf("change link %s of %s: %v", name, h.Name, err)
	}
}
