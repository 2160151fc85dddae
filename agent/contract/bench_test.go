package contract

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rabbitmq/amqp091-go"
)

// stopwatch measures commands from publishing to response.
type stopwatch struct {
	mu   sync.Mutex
	sent map[string]time.Time // by uuid
	took []time.Duration
	bad  []byte // a response that is a failure
	done chan string
}

func newStopwatch(s *server, room int) *stopwatch {
	w := &stopwatch{sent: make(map[string]time.Time), done: make(chan string, room)}
	ch := s.channel()
	deliveries, err := ch.Consume(responses, "", true, false, false, false, nil)
	if err != nil {
		s.Fatal(err)
	}
	go func() { // ends with the connection
		for d := range deliveries {
			w.stop(d, time.Now())
		}
	}()
	return w
}

func (w *stopwatch) stop(d amqp091.Delivery, at time.Time) {
	var r struct {
		Command struct{ UUID string }
		Status  int
	}
	json.Unmarshal(d.Body, &r)
	w.mu.Lock()
	defer w.mu.Unlock()
	begin, asked := w.sent[r.Command.UUID]
	if !asked {
		return
	}
	delete(w.sent, r.Command.UUID)
	w.took = append(w.took, at.Sub(begin))
	if r.Status != 0 {
		w.bad = d.Body
	}
	w.done <- r.Command.UUID
}

// ask publishes a command, as the server does, without waiting for anything.
func (w *stopwatch) ask(s *server, ch *amqp091.Channel) {
	o := newOrder(eth0, "dns", "www.site.test", map[string]any{"is_default": true, "dns_server": nil, "timeout": 10})
	w.mu.Lock()
	w.sent[o.UUID] = time.Now()
	w.mu.Unlock()
	message := amqp091.Publishing{DeliveryMode: amqp091.Persistent, Body: []byte(o.String())}
	if err := ch.PublishWithContext(s.Context(), requests(eth0), "command", false, false, message); err != nil {
		s.Fatal(err)
	}
}

// reset forgets the times so far.
func (w *stopwatch) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.took = nil
}

// await waits for n responses.
func (w *stopwatch) await(s *server, n int) {
	s.Helper()
	late := time.After(patience)
	for range n {
		select {
		case <-w.done:
		case <-late:
			s.Fatalf("%d of %d commands were answered in %v", len(w.took), n, patience)
		}
	}
	if w.bad != nil {
		s.Fatalf("a command failed: %s", w.bad)
	}
}

// percentile is of the times so far, in milliseconds.
func (w *stopwatch) percentile(p int) float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	slices.Sort(w.took)
	return float64(w.took[(len(w.took)-1)*p/100].Microseconds()) / 1000
}

// BenchmarkDNS is dns commands through a broker, to a resolver near by, run by
// an agent on one processor: one after the other, and a thousand per second,
// of which all have to be answered. Its bars are a p50 of 5 ms and a p99 of
// 250 ms. What else the machine does shows in the figures but cpu-ms/s, the
// processor time of the agent for each second, of which there are 1000.
func BenchmarkDNS(b *testing.B) {
	const (
		rate    = 1000 // per second
		tick    = 10 * time.Millisecond
		seconds = 10
	)
	l := newLab(b)
	s := newServer(b, l.broker)
	s.reset()
	write(b, l.etc+"/natrix/natrix.ini", untargeted)
	l.startProgram(b, nil, "env", "GOMAXPROCS=1", l.binary, "agent")
	s.awaitConsumer(eth0)
	s.declareRequests(eth0)
	ch := s.channel()
	w := newStopwatch(s, rate*seconds)
	for range 200 {
		w.ask(s, ch)
		w.await(s, 1)
	}

	b.Run("alone", func(b *testing.B) {
		w.reset()
		for b.Loop() {
			w.ask(s, ch)
			w.await(s, 1)
		}
		b.ReportMetric(w.percentile(50), "p50-ms")
		b.ReportMetric(w.percentile(99), "p99-ms")
	})
	b.Run(fmt.Sprintf("%d per second", rate), func(b *testing.B) {
		for range b.N {
			w.reset()
			before := l.agent.cpuTime(b)
			begin := time.Now()
			for sent := 0; sent < rate*seconds; {
				due := min(int(time.Since(begin).Seconds()*rate), rate*seconds)
				for ; sent < due; sent++ {
					w.ask(s, ch)
				}
				time.Sleep(tick)
			}
			w.await(s, rate*seconds)
			took := time.Since(begin)
			b.ReportMetric(0, "ns/op") // which is that of ten seconds
			b.ReportMetric(float64(rate*seconds)/took.Seconds(), "answers/s")
			b.ReportMetric(w.percentile(50), "p50-ms")
			b.ReportMetric(w.percentile(99), "p99-ms")
			b.ReportMetric(float64((l.agent.cpuTime(b)-before).Milliseconds())/took.Seconds(), "cpu-ms/s")
		}
	})
	load, _ := os.ReadFile("/proc/loadavg")
	b.Logf("load of the machine: %s", load)
}

// cpuTime is what the process has had of processors.
func (p *process) cpuTime(t testing.TB) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	var user, system int64
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	fmt.Sscan(fields[11], &user)   // proc_pid_stat(5): fields 14 and 15,
	fmt.Sscan(fields[12], &system) // in clock ticks, which are 10 ms for user space
	return time.Duration(user+system) * 10 * time.Millisecond
}
