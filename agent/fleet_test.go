package agent

import (
	"context"
	"encoding/json"
	"flag"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/natrix-os/natrix/agent/config"
	"github.com/natrix-os/natrix/agent/door/amqp"
	"github.com/natrix-os/natrix/agent/door/amqp/amqptest"
	"github.com/natrix-os/natrix/sysinfo/netif/nettest"
)

var fleetSize = flag.Int("fleet", 50, "terminals of TestNetnsFleet")

// TestNetnsFleet sends one ping to each terminal of a fleet: each answers under
// its own name, and reports under its own serial number.
func TestNetnsFleet(t *testing.T) {
	b := amqptest.ForTest(t)
	nettest.Need(t)
	f := &Fleet{Size: *fleetSize, Config: config.Default(), First: net.HardwareAddr{2, 0, 0, 0, 0, 0xf0}, Ramp: 200, Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))}
	f.Config.AMQP.URLs = []string{b.URL("127.0.0.1")}

	d, err := amqp.NewDispatcher(t.Context(), b.URL("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	messages, err := d.Watch(t.Context(), amqp.ResponseQueue, amqp.BasicQueue)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { f.Run(ctx) })
	wait(t, func() bool { return f.Connected() == f.Size })

	for n := range f.Size {
		id := strings.ReplaceAll(f.mac(n).String(), ":", "")
		body, err := json.Marshal(amqp.NewRequest(id, "ping", "127.0.0.1", map[string]any{"count": 1}))
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Send(t.Context(), id, body); err != nil {
			t.Fatal(err)
		}
	}
	answered, reported := make(map[string]bool), make(map[string]bool)
	for end := time.After(2 * time.Minute); len(answered) < f.Size || len(reported) < f.Size; {
		select {
		case m := <-messages:
			var doc struct {
				Command  struct{ Terminal string }
				Status   int
				Data     json.RawMessage
				Hardware struct{ SN string }
			}
			if err := json.Unmarshal(m.Body, &doc); err != nil {
				t.Fatalf("%s: %v", m.Body, err)
			}
			if err := m.Take(); err != nil {
				t.Fatal(err)
			}
			switch {
			case doc.Hardware.SN != "":
				reported[doc.Hardware.SN] = true
			case doc.Status != 0:
				t.Errorf("%s answers %s", doc.Command.Terminal, doc.Data)
				fallthrough
			default:
				answered[doc.Command.Terminal] = true
			}
		case <-end:
			t.Fatalf("%d of %d answered, %d reported", len(answered), f.Size, len(reported))
		}
	}
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "VmRSS") {
			t.Logf("%d terminals: %s resident, %d goroutines", f.Size, strings.TrimSpace(line), runtime.NumGoroutine())
		}
	}
}

// wait returns once something is so.
func wait(t *testing.T, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not come to be")
		}
	}
}
