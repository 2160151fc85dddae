package zabbix

import (
	"runtime"
	"testing"
	"time"
)

// BenchmarkBacklog keeps values in files and packs them as they are sent, as
// after an outage: everything but the network and the server.
func BenchmarkBacklog(b *testing.B) {
	p := quiet(b, b.TempDir())
	it := &item{id: 77, kind: typeTrapper, value: valueUnsigned, host: &host{}}
	at := time.Unix(1795204326, 0)
	for b.Loop() {
		at = at.Add(time.Millisecond)
		p.take(it, "1234567", nil, at)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "kept/s")
	sent, start := 0, time.Now()
	for !p.values.Empty() {
		k, err := p.pack(true)
		if err != nil {
			b.Fatal(err)
		}
		if err := writeFrame(discard{}, k.body, true); err != nil {
			b.Fatal(err)
		}
		if err := p.delivered(k); err != nil {
			b.Fatal(err)
		}
		sent += len(k.values)
	}
	if sent != b.N {
		b.Errorf("%d of %d values were packed", sent, b.N)
	}
	b.ReportMetric(float64(sent)/time.Since(start).Seconds(), "packed/s")
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.HeapAlloc)/(1<<20), "MiB-after")
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }
