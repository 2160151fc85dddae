package probe

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/natrix-os/natrix/sysinfo/netif/nettest"
)

// h1 ── 1 ── 2 ── 3 ── h2, where 2 loses packets.
func TestNetnsMTR(t *testing.T) {
	t.Parallel()
	label := nettest.MPLS(nettest.Label{Label: 16001, TC: 5, TTL: 1})
	h1, h2 := nettest.Line(t, nettest.Router{Delay: 2 * time.Millisecond, Extensions: []nettest.Extension{label}}, nettest.Router{Loss: 0.2}, nettest.Router{Silent: true})
	for family, dst := range addrs(h2) {
		for _, protocol := range []string{"icmp", "udp", "tcp"} {
			params := numericMTR(30)
			params.Protocol, params.Interval, params.Timeout = protocol, 20*time.Millisecond, 200*time.Millisecond
			inside(t, h1, func(p *Prober) {
				r, err := p.MTR(t.Context(), dst.String(), params)
				if err != nil {
					t.Fatal(err)
				}
				text := textOf(r)
				if len(r.Hubs) != 4 {
					t.Fatalf("%s to %v: %d hubs, want 4\n%s", protocol, dst, len(r.Hubs), text)
				}
				first, lossy, silent, last := r.Hubs[0], r.Hubs[1], r.Hubs[2], r.Hubs[3]
				if first.Loss() > 0 || first.Sent != 30 || first.Best < 4*time.Millisecond || len(first.MPLS) != 1 || first.Annotation != "" {
					t.Errorf("%s to %v: first hub\n%s", protocol, dst, text)
				}
				if lossy.Loss() < 0.05 || lossy.Loss() > 0.8 || silent.Received != 0 || silent.Loss() != 1 {
					t.Errorf("%s to %v: second and third hub\n%s", protocol, dst, text)
				}
				if last.Name != dst.String() || last.Loss() < 0.05 || last.Loss() > 0.8 || last.Worst < last.Best || last.Received == 0 {
					t.Errorf("%s v%d: last hub\n%s", protocol, 4+2*family, text)
				}
			})
		}
	}
}

// What users parse has mtr's keys, in mtr's types.
func TestNetnsMTRDocumentIsMTRs(t *testing.T) {
	t.Parallel()
	nettest.Need(t)
	if _, err := exec.LookPath("mtr"); err != nil {
		if strings.Contains(os.Getenv(nettest.Must), "mtr") {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	hosts := nettest.Chain(t, "h1", "r1", "h2")
	theirs, err := hosts[0].Run("mtr", "-n", "-c", "2", "-i", "0.1", "-Z", "1", "-G", "1", "--json", hosts[2].Addr4.String())
	if err != nil {
		t.Fatalf("mtr: %v: %s", err, theirs)
	}
	params := numericMTR(2)
	params.Interval = 100 * time.Millisecond
	inside(t, hosts[0], func(p *Prober) {
		r, err := p.MTR(t.Context(), hosts[2].Addr4.String(), params)
		if err != nil {
			t.Fatal(err)
		}
		ours, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var a, b any
		if err := json.Unmarshal([]byte(theirs), &a); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(ours, &b); err != nil {
			t.Fatal(err)
		}
		for _, difference := range compare("", a, b) {
			t.Errorf("%s\ntheirs %s\nours %s", difference, theirs, ours)
		}
	})
}

// compare lists what b lacks of a: keys, elements, types, and values that are
// not times.
func compare(path string, a, b any) (differences []string) {
	if fmt.Sprintf("%T", a) != fmt.Sprintf("%T", b) {
		return []string{fmt.Sprintf("%s is %T, want %T", path, b, a)}
	}
	switch a := a.(type) {
	case map[string]any:
		for key, value := range a {
			differences = append(differences, compare(path+"."+key, value, b.(map[string]any)[key])...)
		}
	case []any:
		if len(a) != len(b.([]any)) {
			return []string{fmt.Sprintf("%s has %d elements, want %d", path, len(b.([]any)), len(a))}
		}
		for i := range a {
			differences = append(differences, compare(fmt.Sprintf("%s[%d]", path, i), a[i], b.([]any)[i])...)
		}
	default:
		times := strings.Contains(".Last.Avg.Best.Wrst.StDev.", path[strings.LastIndex(path, "."):]+".")
		if !times && a != b {
			differences = append(differences, fmt.Sprintf("%s is %v, want %v", path, b, a))
		}
	}
	return differences
}
