package mtr

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/natrix-os/natrix/sysinfo/netif/nettest"
)

// Debian's unmodified mtr traces through natrix:
//
//	             cable 1   cable 2            cable 3
//	        h1 ─────── r1 ─────── r2 ── ● ── ● ── ● ────── h2
//	   10.0.1.1      10.0.1.2   10.0.2.2  10.0.3.101-.103   10.0.3.2
//	fd00:0:0:1::1      1::2       2::2       3::101-103     3::2
//
// The first router of cable 3 adds MPLS labels, the second is silent. h2 has no
// SCTP and refuses it, which mtr takes for the end of the path too.
func TestNetnsMTRReport(t *testing.T) {
	needDebian(t)
	n := nettest.New(t)
	h1, r1, r2, h2 := n.Host("h1"), n.Host("r1"), n.Host("r2"), n.Host("h2")
	n.Connect(h1, r1)
	n.Connect(r1, r2)
	labels := nettest.MPLS(nettest.Label{Label: 1234, TC: 2, TTL: 9})
	n.Connect(r2, h2, nettest.Router{Extensions: []nettest.Extension{labels}}, nettest.Router{Silent: true}, nettest.Router{})
	n.Route()
	hops4 := []string{"10.0.1.2 0.0%", "10.0.2.2 0.0%", "10.0.3.101 0.0%", "??? 100.0", "10.0.3.103 0.0%", "10.0.3.2 0.0%"}
	hops6 := []string{"fd00:0:0:1::2 0.0%", "fd00:0:0:2::2 0.0%", "fd00:0:0:3::101 0.0%", "??? 100.0", "fd00:0:0:3::103 0.0%", "fd00:0:0:3::2 0.0%"}
	traces := []trace{
		// At TTL 1 the router is a hop, at TTL 2 the one that refuses.
		{refusing(t), []string{"-4", "10.0.1.2"}, []string{"10.0.1.101 0.0%", "10.0.1.101 0.0%"}},
	}
	for _, options := range []string{
		"", "--udp", "--udp --port 53", "--udp --localport 4444", "--tcp", "--tcp --port 443", "--sctp", "-s 1400 -B 170", "-Q 184", "-M 7",
	} {
		traces = append(traces,
			trace{h1, strings.Fields(options + " -4 " + h2.Addr4.String()), hops4},
			trace{h1, strings.Fields(strings.Replace(options, "4444", "4445", 1) + " -6 " + h2.Addr6.String()), hops6})
	}
	atOnce(len(traces), func(i int) {
		c := traces[i]
		if got := report(t, c.from, c.args...); !slices.Equal(got, c.want) {
			t.Errorf("mtr %v: got %q, want %q", c.args, got, c.want)
		}
	})
	out := runMTR(t, h1, "--raw", "-e", "-4", h2.Addr4.String())
	if want := "\nm 2 1234 2 1 9\n"; !strings.Contains(out, want) {
		t.Errorf("got %s\nwant %q in it", out, want)
	}
}

// trace is a run of mtr and the hops, with their losses, that it must report.
type trace struct {
	from *nettest.Host
	args []string
	want []string
}

// refusing is h1 of h1 ── ● ── h2, where the router says host unreachable.
func refusing(t *testing.T) *nettest.Host {
	t.Helper()
	h1, _ := nettest.Line(t, nettest.Router{Refuse: nettest.HostUnreachable})
	return h1
}

var hop = regexp.MustCompile(`(?m)^ *\d+\.\|-- (\S+) +(\S+) `)

// report returns the address and the loss of each hop.
func report(t *testing.T, h *nettest.Host, args ...string) []string {
	t.Helper()
	out := runMTR(t, h, append([]string{"--report"}, args...)...)
	var hops []string
	for _, m := range hop.FindAllStringSubmatch(out, -1) {
		hops = append(hops, m[1]+" "+m[2])
	}
	if len(hops) == 0 {
		t.Errorf("no report: %s", out)
	}
	return hops
}

func runMTR(t *testing.T, h *nettest.Host, args ...string) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args = append([]string{"-n", "-c", "3", "-i", "0.2", "-Z", "1", "-G", "1"}, args...)
	cmd := exec.CommandContext(t.Context(), "/usr/bin/mtr", args...)
	cmd.Env = append(os.Environ(), "MTR_PACKET="+path, sctpEnv+"=yes")
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	err = h.Start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		t.Errorf("mtr %v: %v: %s", args, err, out.String())
	}
	return out.String()
}
