package amqp

import (
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/natrix-os/natrix/agent/config"
	"github.com/natrix-os/natrix/agent/door/amqp/amqptest"
	"github.com/natrix-os/natrix/agent/spool"
	"github.com/natrix-os/natrix/agent/status"
	"github.com/rabbitmq/amqp091-go"
)

// relay passes connections on to an address until they are cut.
type relay struct {
	net.Listener
	to string

	mu    sync.Mutex
	conns []net.Conn
}

func (r *relay) serve() {
	for {
		near, err := r.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", r.to)
		if err != nil {
			near.Close()
			continue
		}
		r.mu.Lock()
		r.conns = append(r.conns, near, far)
		r.mu.Unlock()
		go func() { io.Copy(far, near); far.Close() }()
		go func() { io.Copy(near, far); near.Close() }()
	}
}

func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		c.Close()
	}
	r.conns = nil
}

// use is what a process holds.
type use struct{ goroutines, descriptors, heap int }

func inUse(t *testing.T) use {
	t.Helper()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return use{runtime.NumGoroutine(), len(fds), int(m.HeapAlloc)}
}

// TestManySessions loses the connection a thousand times.
func TestManySessions(t *testing.T) {
	const warm, sessions = 50, 1000
	b := amqptest.ForTest(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{Listener: l, to: net.JoinHostPort("127.0.0.1", strconv.Itoa(b.Port))}
	defer r.cut()
	defer l.Close()
	go r.serve()
	uri, err := amqp091.ParseURI(b.URL("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	uri.Port = l.Addr().(*net.TCPAddr).Port
	w := &Worker{
		Config:  config.Default().AMQP,
		Core:    &core{},
		Results: spool.New(spool.DefaultLimits()),
		Links:   links(nil, link("eth0", 1)),
		Log:     slog.New(slog.DiscardHandler),
		Tally:   new(status.Tally),
		Opened:  r.cut,
	}
	lose := func(n int) {
		for range n {
			if err := w.session(t.Context(), uri.String()); err == nil {
				t.Fatal("a session that was cut ended without an error")
			}
		}
	}
	lose(warm)
	before := inUse(t)
	lose(sessions - warm)
	if got := w.Broker().Sessions; got != sessions {
		t.Errorf("%d sessions, want %d", got, sessions)
	}
	var after use
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if after = inUse(t); after.goroutines <= before.goroutines+10 && after.descriptors <= before.descriptors+10 {
			break // what ends with a connection has ended
		}
	}
	t.Logf("before %+v, after %d more sessions %+v", before, sessions-warm, after)
	if after.goroutines > before.goroutines+10 || after.descriptors > before.descriptors+10 || after.heap > before.heap+1<<20 {
		t.Errorf("grew from %+v to %+v", before, after)
	}
}
