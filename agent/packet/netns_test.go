package packet

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// must reports whether the environment forbids to skip tests of a capability.
func must(capability string) bool {
	for name := range strings.SplitSeq(os.Getenv("NATRIX_MUST"), ",") {
		if name == capability {
			return true
		}
	}
	return false
}

// namespace moves the test's thread into a new network namespace with its
// loopback up. The thread dies with the test, because it is never unlocked.
func namespace(t testing.TB) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		if must("net") {
			t.Fatalf("new network namespace: %v", err)
		}
		t.Skipf("new network namespace: %v", err)
	}
	ip(t, "link set lo up")
}

// ip runs iproute2 commands in the namespace of this thread.
func ip(t testing.TB, commands ...string) {
	t.Helper()
	for _, c := range commands {
		out, err := exec.Command("ip", strings.Fields(c)...).CombinedOutput()
		if err != nil {
			t.Fatalf("ip %s: %v: %s", c, err, out)
		}
	}
}

func open(t testing.TB, o Options) *Engine {
	t.Helper()
	e, err := Open(o)
	if err != nil {
		t.Fatalf("open engine: %v", err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("close engine: %v", err)
		}
	})
	return e
}
