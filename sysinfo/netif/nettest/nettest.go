// Package nettest builds small networks for tests: hosts and kernel routers in
// network namespaces, joined by cables (veth pairs) or by paths of user-space
// routers that lose, delay, rewrite and refuse packets on purpose.
//
// Everything lives in namespaces of its own, is reached through them only, and
// is gone when the test that built it ends. Building needs CAP_SYS_ADMIN and
// CAP_NET_ADMIN; see [Need]. A test without them can be run in a user
// namespace: go test -exec 'unshare -rnm' -run Netns ./...
//
// A network in one line, and a probe sent from its left end:
//
//	hosts := nettest.Chain(t, "h1", "r1", "h2")
//	hosts[0].Do(func() { conn, err = net.Dial("udp", hosts[2].Addr4.String()+":9") })
package nettest

import (
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Must is the environment variable that lists, separated by commas, what tests
// may not skip for want of.
const Must = "NATRIX_MUST"

// Need skips the test with -short, and unless the process may create network namespaces. If
// NATRIX_MUST lists "net", the test fails instead.
func Need(t testing.TB) {
	t.Helper()
	must := slices.Contains(strings.Split(os.Getenv(Must), ","), "net")
	if testing.Short() && !must {
		t.Skip("builds a network: not with -short")
	}
	err := mayUnshare()
	if err == nil {
		return
	}
	if must {
		t.Fatalf("network namespaces are required by %s: %v", Must, err)
	}
	t.Skipf("no network namespaces: %v", err)
}

// mayUnshare looks at the effective capabilities rather than trying, because a
// thread that has tried is in a new namespace.
func mayUnshare() error {
	const need = 1<<unix.CAP_SYS_ADMIN | 1<<unix.CAP_NET_ADMIN
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return os.NewSyscallError("capget", err)
	}
	if data[0].Effective&need != need {
		return os.NewSyscallError("unshare", unix.EPERM)
	}
	return nil
}
