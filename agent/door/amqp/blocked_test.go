package amqp

import (
	"testing"
	"time"

	"github.com/natrix-os/natrix/agent/door/amqp/amqptest"
	"github.com/natrix-os/natrix/agent/status"
)

// TestBrokerShortOfMemory has the broker raise its memory alarm: results wait,
// the worker tells so, and all is delivered when it is over.
func TestBrokerShortOfMemory(t *testing.T) {
	const commands = 20
	b := amqptest.ForTest(t)
	s := serve(t, b)
	w := &Worker{Core: &core{}, Tally: new(status.Tally)}
	start(t, b, w)
	answers := s.consume(ResponseQueue)
	s.ask(terminal, 1000)
	s.next(answers)

	// Commands first: a broker with an alarm takes none.
	slow := &core{takes: 3 * time.Second}
	w2 := &Worker{Core: slow, Links: links(nil, link("eth1", 2)), Tally: new(status.Tally)}
	start(t, b, w2)
	for n := range commands {
		s.ask("020000000002", n)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		slow.mu.Lock()
		begun := len(slow.runs)
		slow.mu.Unlock()
		if begun > 0 {
			break
		} else if time.Now().After(end) {
			t.Fatal("no command began")
		}
	}
	limit := func(share string) {
		t.Helper()
		if err := b.Eval(t.Context(), "vm_memory_monitor:set_vm_memory_high_watermark("+share+"), ok."); err != nil {
			t.Fatal(err)
		}
	}
	limit("0.00001")
	for end := time.Now().Add(40 * time.Second); w2.Broker().Blocked == ""; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the worker does not tell that the broker is blocked")
		}
	}
	if !w2.Broker().Connected || w2.Stuck() != "" {
		t.Errorf("while blocked: got %+v", w2.Broker())
	}
	limit("0.6")
	seen := make(map[string]bool)
	for end := time.After(90 * time.Second); len(seen) < commands; {
		select {
		case d := <-answers:
			seen[string(s.parse(d).Command.UUID)] = true
		case <-end:
			t.Fatalf("answered %d of %d", len(seen), commands)
		}
	}
	for end := time.Now().Add(20 * time.Second); w2.Broker().Blocked != ""; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the worker does not tell that it is over: %+v", w2.Broker())
		}
	}
	if got := w2.Broker().Sessions; got != 1 {
		t.Errorf("%d sessions, want 1", got)
	}
}
