package mtr

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/natrix-os/natrix/sysinfo/netif/nettest"
)

// Python's unmodified mtrpacket probes through natrix: hops, labels, and 500
// probes in flight.
func TestNetnsPython(t *testing.T) {
	needMtrpacket(t)
	labels := nettest.MPLS(nettest.Label{Label: 1234, TC: 2, TTL: 9})
	h1, h2 := nettest.Line(t, nettest.Router{Extensions: []nettest.Extension{labels}}, nettest.Router{})
	link := filepath.Join(t.TempDir(), "mtr-packet")
	if err := os.Symlink(natrix(t, "").path, link); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "python3", "testdata/probe.py", h2.Addr4.String(), h2.Addr6.String())
	cmd.Env = append(os.Environ(), "MTR_PACKET="+link)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := h1.Start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
	var want strings.Builder
	for _, net := range []string{"10.0.1.", "fd00:0:0:1::"} {
		fmt.Fprintf(&want, "False ttl-expired %s101 [(1234, 2, True, 9)]\n", net)
		fmt.Fprintf(&want, "False ttl-expired %s102 []\n", net)
		for range 3 { // protocols
			fmt.Fprintf(&want, "True reply %s2 []\n", net)
		}
		fmt.Fprintf(&want, "500 of 500\n")
	}
	if out.String() != want.String() {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want.String())
	}
}

// needMtrpacket skips the test, or fails it if it must run, where the module
// is not installed.
func needMtrpacket(t *testing.T) {
	t.Helper()
	err := exec.Command("python3", "-c", "import mtrpacket").Run()
	if err == nil {
		return
	}
	if slices.Contains(strings.Split(os.Getenv(nettest.Must), ","), "mtrpacket") {
		t.Fatalf("Python's mtrpacket is required by %s: %v", nettest.Must, err)
	}
	t.Skip("no Python module mtrpacket")
}
