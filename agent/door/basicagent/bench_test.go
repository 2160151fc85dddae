package basicagent_test

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// BenchmarkKernel is a getinfo.kernel and its answer on the loopback.
func BenchmarkKernel(b *testing.B) {
	l := newLab(b)
	x := l.join(l.door())
	var took []time.Duration
	n := 0
	for b.Loop() {
		n++
		begun := time.Now()
		id, _ := json.Marshal("bench " + strconv.Itoa(n))
		if _, err := l.g.Ask(b.Context(), x.id, map[string]json.RawMessage{"id": id, "method": []byte(`"getinfo.kernel"`)}); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(begun))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "median-µs")
}

// BenchmarkFleet asks 500 terminals at once, and says what the gateway and all
// of them, which are in this process, take.
func BenchmarkFleet(b *testing.B) {
	const size = 500
	l := newLab(b)
	hosts := make([]string, size)
	for i := range hosts {
		d := l.door()
		hosts[i] = d.Config.ID
		l.run(d)
	}
	wait(b, "all terminals", func() bool { return len(l.g.Hosts()) == size })
	list, _ := json.Marshal(hosts)
	n := 0
	for b.Loop() {
		n++
		s, err := l.g.FanOut(b.Context(), fmt.Appendf(nil, `{"id":"fleet %d","method":"getinfo.kernel","hosts":%s}`, n, list))
		if err != nil || s.Retcode != 0 || len(s.Response) != size {
			b.Fatalf("got %d answers, %d, %v", len(s.Response), s.Retcode, err)
		}
	}
	runtime.GC()
	b.ReportMetric(rss(b), "RSS-MB")
}

// rss is the memory of this process in MB.
func rss(b *testing.B) float64 {
	body, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	_, after, _ := strings.Cut(string(body), "VmRSS:")
	n, err := strconv.ParseFloat(strings.Fields(after)[0], 64)
	if err != nil {
		b.Fatal(err)
	}
	return n / 1024
}
