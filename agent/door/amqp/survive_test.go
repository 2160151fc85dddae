package amqp

import (
	"testing"
	"time"

	"github.com/natrix-os/natrix/agent/door/amqp/amqptest"
)

// TestBrokerKilled kills the broker while commands run and starts it again
// 20 s later: every command is answered in the end, and none is run twice.
func TestBrokerKilled(t *testing.T) {
	const commands = 40
	b := amqptest.ForTest(t)
	s := serve(t, b)
	c := &core{takes: 300 * time.Millisecond}
	start(t, b, &Worker{Core: c})
	if err := b.Sync(t.Context()); err != nil { // the queues are to survive
		t.Fatal(err)
	}
	for n := range commands {
		s.ask(terminal, n)
	}
	time.Sleep(700 * time.Millisecond) // some are answered, prefetch of them are running, the rest waits
	b.Kill()
	time.Sleep(20 * time.Second)
	if err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}

	s = serve(t, b)
	answers := s.consume(ResponseQueue)
	bodies := make(map[string]string)
	for deadline := time.After(90 * time.Second); len(bodies) < commands; {
		select {
		case d := <-answers:
			got := s.parse(d)
			id := string(got.Command.UUID)
			if before, again := bodies[id]; again && before != got.body {
				t.Errorf("two answers differ:\n%s\n%s", before, got.body)
			}
			bodies[id] = got.body
		case <-deadline:
			t.Fatalf("answered %d of %d", len(bodies), commands)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for destination, runs := range c.runs {
		if runs != 1 {
			t.Errorf("%s was run %d times", destination, runs)
		}
	}
	if len(c.runs) != commands {
		t.Errorf("run %d, want %d", len(c.runs), commands)
	}
}
