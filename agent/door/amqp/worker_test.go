package amqp

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/natrix-os/natrix/agent/command"
	"github.com/natrix-os/natrix/agent/config"
	"github.com/natrix-os/natrix/agent/door/amqp/amqptest"
	"github.com/natrix-os/natrix/agent/spool"
	"github.com/natrix-os/natrix/sysinfo/netif"
	"github.com/rabbitmq/amqp091-go"
)

// terminal is the id of the one link that the workers of these tests have.
const terminal = "020000000001"

func link(name string, last byte) netif.Link {
	return netif.Link{Name: name, Index: int(last), Kind: netif.Wired, Default4: true, MAC: net.HardwareAddr{2, 0, 0, 0, 0, last}}
}

// links is a terminal whose links change when a new list is sent.
func links(changes <-chan []netif.Link, first ...netif.Link) func(context.Context) iter.Seq2[[]netif.Link, error] {
	return func(ctx context.Context) iter.Seq2[[]netif.Link, error] {
		return func(yield func([]netif.Link, error) bool) {
			for now := first; yield(now, nil); {
				select {
				case now = <-changes:
				case <-ctx.Done():
					return
				}
			}
		}
	}
}

// counted counts how often a session begins to follow the links: not the waits
// of the worker for a change, which are before and between sessions.
func counted(n *atomic.Int32, links func(context.Context) iter.Seq2[[]netif.Link, error]) func(context.Context) iter.Seq2[[]netif.Link, error] {
	return func(ctx context.Context) iter.Seq2[[]netif.Link, error] {
		if _, waits := ctx.Deadline(); !waits {
			n.Add(1)
		}
		return links(ctx)
	}
}

// core is a fake core, which counts.
type core struct {
	takes time.Duration

	mu      sync.Mutex
	runs    map[string]int // by destination
	now     int
	highest int
}

// measured is the measurement of the fake core: the link a command ran on.
type measured string

func (m measured) WriteText(io.Writer) {}

func (c *core) Execute(ctx context.Context, cmd command.Command) command.Result {
	c.mu.Lock()
	if c.runs == nil {
		c.runs = make(map[string]int)
	}
	c.runs[cmd.Destination]++
	c.now++
	c.highest = max(c.highest, c.now)
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.now--
		c.mu.Unlock()
	}()
	if cmd.Name == "performance" {
		return command.Fail(cmd, command.ErrUnsupported)
	}
	sleep(ctx, c.takes)
	now := time.Now()
	return command.Result{Command: cmd, Data: measured(cmd.Link), Sent: now, Answered: now, Returned: now}
}

// start runs a worker until the test ends, and waits until it consumes.
func start(t *testing.T, b *amqptest.Broker, w *Worker) {
	t.Helper()
	delay := w.Config.ReplyDelay
	w.Config = config.Default().AMQP
	w.Config.ReplyDelay = delay
	w.Config.Prefetch = 8
	w.Config.URLs = []string{b.URL("127.0.0.1")}
	if w.Results == nil {
		w.Results = spool.New(spool.DefaultLimits())
	}
	w.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	if w.Links == nil {
		w.Links = links(nil, link("eth0", 1))
	}
	opened := make(chan struct{}, 100)
	w.Opened = func() { opened <- struct{}{} }
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { w.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	select {
	case <-opened:
	case <-time.After(20 * time.Second):
		t.Fatal("the worker does not consume")
	}
}

// server is the other side: a channel of the Natrix server.
type server struct {
	broker *amqptest.Broker
	*testing.T
	*amqp091.Channel
}

func serve(t *testing.T, b *amqptest.Broker) server {
	t.Helper()
	conn, err := Dial(t.Context(), b.URL("127.0.0.1"), "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	return server{b, t, ch}
}

// reset deletes what other tests left.
func (s server) reset() {
	s.Helper()
	for _, queue := range []string{ResponseQueue, BasicQueue, AdvanceQueue, RequestQueue(terminal), RequestQueue("020000000002")} {
		if _, err := s.QueueDelete(queue, false, false, false); err != nil {
			s.Fatal(err)
		}
	}
}

func (s server) send(to string, body string) {
	s.Helper()
	err := s.PublishWithContext(s.Context(), "", RequestQueue(to), true, false, amqp091.Publishing{DeliveryMode: amqp091.Persistent, Body: []byte(body)})
	if err != nil {
		s.Fatal(err)
	}
}

// ask sends a numbered command.
func (s server) ask(to string, n int) {
	s.Helper()
	s.send(to, fmt.Sprintf(`{"uuid":"u-%d","terminal":%q,"generate_timestamp":%d.5,"protocol":"ping","destination":"host-%d"}`, n, to, time.Now().Unix(), n))
}

// consume takes what comes on a queue, acknowledging it at once.
func (s server) consume(queue string) <-chan amqp091.Delivery {
	s.Helper()
	deliveries, err := s.Consume(queue, "", true, false, false, false, nil)
	if err != nil {
		s.Fatal(err)
	}
	return deliveries
}

// answer is what a test looks at in a response.
type answer struct {
	Command struct{ UUID, Terminal json.RawMessage }
	Status  int
	Data    json.RawMessage
	Stamp   map[string]json.RawMessage
	body    string
}

func (s server) next(from <-chan amqp091.Delivery) answer {
	s.Helper()
	select {
	case d := <-from:
		return s.parse(d)
	case <-time.After(20 * time.Second):
		s.Fatal("no answer")
		return answer{}
	}
}

func (s server) parse(d amqp091.Delivery) answer {
	s.Helper()
	a := answer{body: string(d.Body)}
	if err := json.Unmarshal(d.Body, &a); err != nil {
		s.Fatalf("%v in %q", err, d.Body)
	}
	return a
}

func TestWorker(t *testing.T) {
	b := amqptest.ForTest(t)

	t.Run("queues that are not there get the server's flags", func(t *testing.T) {
		s := serve(t, b)
		s.reset()
		start(t, b, &Worker{Core: &core{}})
		// Declaring again with other flags would be refused.
		for _, queue := range []string{ResponseQueue, BasicQueue, AdvanceQueue} {
			if _, err := s.QueueDeclare(queue, true, false, false, false, nil); err != nil {
				t.Error(err)
			}
		}
		_, err := s.QueueDeclare(RequestQueue(terminal), true, false, false, false, amqp091.Table{
			"x-message-ttl": int64(120000), "x-dead-letter-exchange": "natrix_command_dlx", "x-dead-letter-routing-key": "dead_command"})
		if err != nil {
			t.Error(err)
		}
	})

	t.Run("queues of a consumer after the documentation are used as they are", func(t *testing.T) {
		s := serve(t, b)
		s.reset()
		if _, err := s.QueueDeclare(ResponseQueue, false, true, false, false, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := s.QueueDeclare(RequestQueue(terminal), false, true, false, false, nil); err != nil {
			t.Fatal(err)
		}
		answers := s.consume(ResponseQueue)
		start(t, b, &Worker{Core: &core{}})
		s.ask(terminal, 1)
		if got := s.next(answers); string(got.Command.UUID) != `"u-1"` {
			t.Errorf("got %s", got.body)
		}
	})

	t.Run("every example of the server is answered", func(t *testing.T) {
		s := serve(t, b)
		s.reset()
		start(t, b, &Worker{Core: &core{}})
		answers := s.consume(ResponseQueue)
		paths, err := filepath.Glob("../../command/testdata/server/cmd_*.json")
		if err != nil || len(paths) == 0 {
			t.Fatal("no examples", err)
		}
		for _, path := range paths {
			body, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			s.send(terminal, string(body))
			got := s.next(answers)
			var sent struct {
				UUID, Terminal json.RawMessage
				Generated      json.RawMessage `json:"generate_timestamp"`
				Protocol       string
			}
			if err := json.Unmarshal(body, &sent); err != nil {
				t.Fatal(err)
			}
			if string(got.Command.UUID) != string(sent.UUID) || string(got.Command.Terminal) != string(sent.Terminal) ||
				string(got.Stamp["server_request_generate_time"]) != string(sent.Generated) {
				t.Errorf("%s: not echoed: %s", path, got.body)
			}
			if want := sent.Protocol == "performance"; (got.Status == 1) != want {
				t.Errorf("%s: status %d: %s", path, got.Status, got.body)
			}
			if len(got.Stamp) != 5 {
				t.Errorf("%s: stamps: %s", path, got.body)
			}
		}
	})

	t.Run("garbage is acknowledged, and answered where there is a uuid", func(t *testing.T) {
		s := serve(t, b)
		s.reset()
		start(t, b, &Worker{Core: &core{}})
		answers := s.consume(ResponseQueue)
		for _, body := range []string{"", "ping", "[]", strings.Repeat("\x00", 1<<20), "{\"uuid\":\"\xff\"}", `{"protocol":"ping"}`} {
			s.send(terminal, body)
		}
		s.send(terminal, `{"uuid":"wrong types","protocol":7,"destination":[]}`)
		if got := s.next(answers); got.Status != 1 || string(got.Command.UUID) != `"wrong types"` || string(got.Command.Terminal) != `"`+terminal+`"` {
			t.Errorf("got %s", got.body)
		}
		s.send(terminal, `{"uuid":"unknown","terminal":"t","protocol":"PERFORMANCE","destination":"x"}`)
		if got := s.next(answers); got.Status != 1 || string(got.Command.UUID) != `"unknown"` {
			t.Errorf("got %s", got.body)
		}
		s.ask(terminal, 1)
		if got := s.next(answers); got.Status != 0 {
			t.Errorf("the worker does not go on: %s", got.body)
		}
	})

	t.Run("fifty at once, prefetch of them in hand", func(t *testing.T) {
		s := serve(t, b)
		s.reset()
		c := &core{takes: 50 * time.Millisecond}
		start(t, b, &Worker{Core: c})
		answers := s.consume(ResponseQueue)
		for n := range 50 {
			s.ask(terminal, n)
		}
		seen := make(map[string]bool)
		for range 50 {
			seen[string(s.next(answers).Command.UUID)] = true
		}
		if len(seen) != 50 || c.highest != 8 {
			t.Errorf("answered %d of 50, %d at a time: want 50, 8", len(seen), c.highest)
		}
	})

	t.Run("nothing is left in the queue, and a restart runs nothing again", func(t *testing.T) {
		s := serve(t, b)
		s.reset()
		c := &core{}
		answers := make(<-chan amqp091.Delivery)
		t.Run("first", func(t *testing.T) {
			start(t, b, &Worker{Core: c})
			answers = s.consume(ResponseQueue)
			for n := range 20 {
				s.ask(terminal, n)
			}
			for range 20 {
				s.next(answers)
			}
		}) // ends the worker at once after the last answer
		start(t, b, &Worker{Core: c})
		s.ask(terminal, 20)
		if got := s.next(answers); string(got.Command.UUID) != `"u-20"` {
			t.Errorf("answered again: %s", got.body)
		}
		for destination, runs := range c.runs {
			if runs != 1 {
				t.Errorf("%s was run %d times", destination, runs)
			}
		}
		s.waitQueue(RequestQueue(terminal), func(q amqp091.Queue) bool { return q.Messages == 0 })
	})

	t.Run("an answer that was held back when the worker ended is still to be delivered", func(t *testing.T) {
		s := serve(t, b)
		s.reset()
		w := &Worker{Core: &core{}, Config: config.AMQP{ReplyDelay: time.Hour}}
		t.Run("worker", func(t *testing.T) {
			start(t, b, w)
			s.ask(terminal, 1)
			for end := time.Now().Add(20 * time.Second); len(w.Results.Pending(0)) == 0; time.Sleep(10 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("not run")
				}
			}
		})
		if got := len(w.Results.Pending(0)); got != 1 {
			t.Errorf("%d results wait for the server, want the one", got)
		}
	})

	t.Run("a command that ended the program twice is not tried again", func(t *testing.T) {
		s := serve(t, b)
		s.reset()
		places := spool.Places{RAM: t.TempDir()}
		body := fmt.Sprintf(`{"uuid":"u-1","terminal":%q,"generate_timestamp":1.5,"protocol":"ping","destination":"crasher"}`, terminal)
		cmd, err := command.Decode([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		c := &core{}
		for attempt := 1; attempt <= 3; attempt++ {
			results, err := spool.Open(spool.DefaultLimits(), places)
			if err != nil {
				t.Fatal(err)
			}
			defer results.Close()
			if attempt < 3 {
				results.Claim(cmd.Key()) // and the process dies
				continue
			}
			start(t, b, &Worker{Core: c, Results: results})
		}
		answers := s.consume(ResponseQueue)
		s.send(terminal, body)
		if a := s.next(answers); a.Status != 1 || !strings.Contains(string(a.Data), "2 times") {
			t.Errorf("got status %d, %s", a.Status, a.Data)
		}
		s.ask(terminal, 2)
		if a := s.next(answers); a.Status != 0 {
			t.Errorf("another command: %s", a.Data)
		}
		if c.runs["crasher"] != 0 {
			t.Error("it was run a third time")
		}
	})

	t.Run("prefetch is of all links together", func(t *testing.T) {
		s := serve(t, b)
		s.reset()
		c := &core{takes: time.Hour}
		start(t, b, &Worker{Core: c, Links: links(nil, link("eth0", 1), link("eth1", 2))})
		for n := range 12 {
			s.ask(terminal, n)
			s.ask("020000000002", 100+n)
		}
		ready := func(id string) int {
			q, err := s.QueueDeclarePassive(RequestQueue(id), true, false, false, false, nil)
			if err != nil {
				t.Fatal(err)
			}
			return q.Messages
		}
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			left := ready(terminal) + ready("020000000002")
			if left == 24-8 {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%d commands wait in the queues, want all but 8", left)
			}
		}
		time.Sleep(500 * time.Millisecond) // long enough for a ninth to be taken
		if left := ready(terminal) + ready("020000000002"); left != 24-8 {
			t.Errorf("%d commands wait in the queues later, want all but 8", left)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.highest > 8 {
			t.Errorf("%d commands in hand at once, want 8 at most", c.highest)
		}
	})

	t.Run("a report that is refused does not end the session", func(t *testing.T) {
		s := serve(t, b)
		s.reset()
		full := amqp091.Table{"x-max-length": int32(1), "x-overflow": "reject-publish"}
		if _, err := s.QueueDeclare(BasicQueue, true, false, false, false, full); err != nil {
			t.Fatal(err)
		}
		var sessions atomic.Int32
		w := &Worker{Core: &core{}, Links: counted(&sessions, links(nil, link("eth0", 1))), Reports: []Report{{BasicQueue, 20 * time.Millisecond, func(context.Context) ([]byte, error) { return []byte("{}"), nil }}}}
		start(t, b, w)
		s.waitQueue(BasicQueue, func(q amqp091.Queue) bool { return q.Messages == 1 })
		answers := s.consume(ResponseQueue)
		for n := range 10 {
			s.ask(terminal, n)
			s.next(answers)
			time.Sleep(30 * time.Millisecond)
		}
		s.waitQueue(RequestQueue(terminal), func(q amqp091.Queue) bool { return q.Consumers == 1 })
		if n := sessions.Load(); n != 1 {
			t.Errorf("%d sessions, want one", n)
		}
	})

	t.Run("watching ends with the broker's queue", func(t *testing.T) {
		s := serve(t, b)
		s.reset()
		d, err := NewDispatcher(t.Context(), b.URL("127.0.0.1"))
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		messages, err := d.Watch(t.Context(), ResponseQueue, BasicQueue)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.QueueDelete(BasicQueue, false, false, false); err != nil {
			t.Fatal(err)
		}
		select {
		case _, open := <-messages:
			if open {
				t.Error("a message from nowhere")
			}
		case <-time.After(10 * time.Second):
			t.Error("the watcher was not told")
		}
	})

	t.Run("each question has its answer, and leaves the rest in the queue", func(t *testing.T) {
		s := serve(t, b)
		s.reset()
		start(t, b, &Worker{Core: &core{}})
		d, err := NewDispatcher(t.Context(), b.URL("127.0.0.1"))
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		s.send(terminal, `{"uuid":"of another","terminal":"t","generate_timestamp":1,"protocol":"ping","destination":"host"}`)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		for n := range 10 {
			body := fmt.Appendf(nil, `{"uuid":"ask %d","terminal":"t","generate_timestamp":1,"protocol":"ping","destination":"host"}`, n)
			if answer, err := d.Ask(ctx, terminal, body); err != nil || !(Message{Body: answer}).Answers(body) {
				t.Fatalf("question %d: got %s, %v", n, answer, err)
			}
		}
		s.waitQueue(ResponseQueue, func(q amqp091.Queue) bool { return q.Consumers == 0 && q.Messages == 1 })
	})

	t.Run("a command that comes twice is run once and answered alike", func(t *testing.T) {
		s := serve(t, b)
		s.reset()
		c := &core{takes: 100 * time.Millisecond}
		start(t, b, &Worker{Core: c})
		answers := s.consume(ResponseQueue)
		const body = `{"uuid":"twice","terminal":"t","generate_timestamp":1,"protocol":"ping","destination":"host"}`
		s.send(terminal, body)
		s.send(terminal, body)
		first := s.next(answers)
		s.send(terminal, body)
		for range 2 {
			if got := s.next(answers); got.body != first.body {
				t.Errorf("got %s, want %s", got.body, first.body)
			}
		}
		if c.runs["host"] != 1 {
			t.Errorf("run %d times", c.runs["host"])
		}
	})

	t.Run("reports come at once and again", func(t *testing.T) {
		s := serve(t, b)
		s.reset()
		var made atomic.Int32
		w := &Worker{Core: &core{}, Reports: []Report{{BasicQueue, 200 * time.Millisecond, func(context.Context) ([]byte, error) {
			return fmt.Appendf(nil, `{"status":%d}`, made.Add(1)), nil
		}}}}
		start(t, b, w)
		reports := s.consume(BasicQueue)
		for n := 1; n <= 3; n++ {
			if got := s.next(reports); got.Status != n {
				t.Errorf("got %s, want number %d", got.body, n)
			}
		}
	})

	t.Run("links come and go", func(t *testing.T) {
		s := serve(t, b)
		s.reset()
		changes := make(chan []netif.Link)
		loopback := netif.Link{Name: "lo", Kind: netif.Loopback, MAC: net.HardwareAddr{2, 0, 0, 0, 0, 9}}
		start(t, b, &Worker{Core: &core{}, Links: links(changes, loopback, link("eth0", 1))})
		answers := s.consume(ResponseQueue)

		changes <- []netif.Link{link("eth0", 1), link("eth1", 2), link("br0", 1)}
		s.waitConsumers("020000000002", 1)
		s.ask("020000000002", 2)
		if got := s.next(answers); string(got.Data) != `"eth1"` {
			t.Errorf("got %s, want it run on eth1", got.body)
		}
		changes <- []netif.Link{link("eth1", 2)}
		s.waitConsumers(terminal, 0)
	})

	t.Run("what the server has given up is not run again", func(t *testing.T) {
		s := serve(t, b)
		s.reset()
		if _, err := s.QueueDeclare(RequestQueue(terminal), true, false, false, false, nil); err != nil { // without a time to live
			t.Fatal(err)
		}
		for i, generated := range []string{fmt.Sprint(time.Now().Unix() - 200), `"222222"`, fmt.Sprint(time.Now().Unix() - 60)} {
			s.send(terminal, fmt.Sprintf(`{"uuid":"u-%d","terminal":"t","generate_timestamp":%s,"protocol":"ping","destination":"host-%d"}`, i, generated, i))
		}
		var last amqp091.Delivery
		for range 3 {
			last = s.get(RequestQueue(terminal))
		}
		if err := last.Nack(true, true); err != nil {
			t.Fatal(err)
		}
		s.waitQueue(RequestQueue(terminal), func(q amqp091.Queue) bool { return q.Messages == 3 })
		c := &core{}
		start(t, b, &Worker{Core: c})
		answers := s.consume(ResponseQueue)
		s.send(terminal, fmt.Sprintf(`{"uuid":"slow clock","terminal":"t","generate_timestamp":%d,"protocol":"ping","destination":"host-3"}`, time.Now().Unix()-400))
		for range 3 {
			s.next(answers)
		}
		s.waitQueue(RequestQueue(terminal), func(q amqp091.Queue) bool { return q.Messages == 0 })
		c.mu.Lock()
		defer c.mu.Unlock()
		if want := map[string]int{"host-1": 1, "host-2": 1, "host-3": 1}; !maps.Equal(c.runs, want) {
			t.Errorf("got %v, want %v", c.runs, want)
		}
	})

	t.Run("a queue that is deleted under us comes back", func(t *testing.T) {
		s := serve(t, b)
		s.reset()
		start(t, b, &Worker{Core: &core{}})
		if _, err := s.QueueDelete(RequestQueue(terminal), false, false, false); err != nil {
			t.Fatal(err)
		}
		s.waitConsumers(terminal, 1)
		if _, err := s.QueueDelete(ResponseQueue, false, false, false); err != nil {
			t.Fatal(err)
		}
		s.ask(terminal, 1)
		s.waitQueue(ResponseQueue, func(q amqp091.Queue) bool { return q.Messages == 1 })
	})

	t.Run("a wrong password and a wrong virtual host say what to check", func(t *testing.T) {
		good := b.URL("127.0.0.1")
		for bad, want := range map[string]string{
			strings.Replace(good, ":natrix@", ":wrong@", 1): "check user name and password",
			strings.Replace(good, "%2Fnatrix", "natrix", 1): "different ones",
			"amqp://natrix:secret@127.0.0.1:port/":          "not a broker's URL",
		} {
			_, err := Dial(t.Context(), bad, "test")
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("got %v, want %q", err, want)
			}
		}
	})
}

// get takes one message, without acknowledging it.
func (s server) get(queue string) amqp091.Delivery {
	s.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		d, ok, err := s.Get(queue, false)
		if err != nil {
			s.Fatal(err)
		}
		if ok {
			return d
		}
	}
	s.Fatalf("nothing in %s", queue)
	return amqp091.Delivery{}
}

// waitConsumers waits until a request queue has so many consumers.
func (s server) waitConsumers(id string, n int) {
	s.Helper()
	s.waitQueue(RequestQueue(id), func(q amqp091.Queue) bool { return q.Consumers == n })
}

func (s server) waitQueue(name string, is func(amqp091.Queue) bool) {
	s.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		ch := serve(s.T, s.broker).Channel
		q, err := ch.QueueDeclarePassive(name, true, false, false, false, nil)
		if err == nil && is(q) {
			return
		}
	}
	s.Fatalf("queue %s does not become as it should", name)
}
