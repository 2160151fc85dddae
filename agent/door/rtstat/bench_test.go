package rtstat

import (
	"bytes"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/natrix-os/natrix/agent/config"
)

// BenchmarkClients has 500 clients of WebSocket that take a push every half
// second, for ten seconds, and one more that asks for the version. CPU is that
// of this process: the clients are in it.
func BenchmarkClients(b *testing.B) {
	const clients, during = 500, 10 * time.Second
	d := open(b, config.Live{})
	var pushes, late atomic.Int64
	var running sync.WaitGroup
	for range clients {
		p := d.dial(b, "websocket").(webPeer)
		running.Go(func() {
			before := time.Now()
			for {
				_, m, err := p.Read(b.Context())
				if err != nil {
					return
				}
				if !bytes.HasPrefix(m, []byte("Push::")) {
					continue
				}
				if pushes.Add(1); time.Since(before) > 750*time.Millisecond {
					late.Add(1)
				}
				before = time.Now()
			}
		})
		b.Cleanup(running.Wait)
		b.Cleanup(p.close)
		p.say("interval::0.5")
		p.say("start")
	}
	asking := d.dial(b, "websocket")
	for b.Loop() {
		pushes.Store(0)
		late.Store(0)
		cpu := spent(b)
		begin := time.Now()
		var answers []time.Duration
		for time.Since(begin) < during {
			asked := time.Now()
			asking.say("version")
			want(b, asking, version)
			answers = append(answers, time.Since(asked))
			time.Sleep(20 * time.Millisecond)
		}
		over := time.Since(begin)
		slices.Sort(answers)
		b.ReportMetric(100*float64(pushes.Load()-late.Load())/(clients*over.Seconds()*2), "%ontime")
		b.ReportMetric(100*(spent(b)-cpu).Seconds()/over.Seconds(), "%core")
		b.ReportMetric(float64(answers[len(answers)*95/100].Microseconds())/1000, "ms/version-p95")
	}
}

// spent is the time that this process has had of the processors.
func spent(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
