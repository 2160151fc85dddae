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
	for _, protocol := range []string{"", "--udp", "--tcp", "--tcp --port 443", "--udp --port 53", "--udp --localport 4444", "--sctp", "-s 1400 -B 170", "-Q 184", "-M 7"} {
		for _, c := range []struct {
			flag string
			dst  string
			want []string
		}{{"-4", h2.Addr4.String(), hops4}, {"-6", h2.Addr6.String(), hops6}} {
			args := strings.Fields(protocol + " " + c.flag + " " + c.dst)
			t.Run(strings.Join(args, " "), func(t *testing.T) {
				t.Parallel()
				if got := report(t, h1, args...); !slices.Equal(got, c.want) {
					t.Errorf("got %q, want %q", got, c.want)
				}
			})
		}
	}
	t.Run("MPLS", func(t *testing.T) {
		t.Parallel()
		out := runMTR(t, h1, "--raw", "-e", "-4", h2.Addr4.String())
		if want := "\nm 2 1234 2 1 9\n"; !strings.Contains(out, want) {
			t.Errorf("got %s\nwant %q in it", out, want)
		}
	})
	t.Run("unreachable", func(t *testing.T) {
		t.Parallel()
		h, _ := nettest.Line(t, nettest.Router{Refuse: nettest.HostUnreachable})
		got := report(t, h, "-4", "10.0.1.2")
		// At TTL 1 the router is a hop, at TTL 2 the one that refuses.
		if want := []string{"10.0.1.101 0.0%", "10.0.1.101 0.0%"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
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
	if err := h.Start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("mtr %v: %v: %s", args, err, out.String())
	}
	return out.String()
}
