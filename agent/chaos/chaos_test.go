package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/natrix-os/natrix/agent/door/amqp"
	"github.com/natrix-os/natrix/agent/door/amqp/amqptest"
	"github.com/natrix-os/natrix/sysinfo/netif/nettest"
	"github.com/rabbitmq/amqp091-go"
)

var lasts = flag.Duration("chaos", 20*time.Second, "how long things go wrong")

// TestNetnsChaos has a server send commands all the time, while the agent, the
// broker and what is between them fail at random moments. In the end every
// command that the broker took has an answer, and the server has one result of
// each run.
func TestNetnsChaos(t *testing.T) {
	nettest.Need(t)
	broker := amqptest.ForTest(t)
	n := nettest.New(t)
	terminal, far := n.Host("terminal"), n.Host("eth0")
	n.Connect(terminal, far)
	var listener net.Listener
	terminal.Do(func() {
		var err error
		if listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	})
	p := newProxy(listener, fmt.Sprintf("127.0.0.1:%d", broker.Port))
	defer p.close()
	link, err := terminal.Netlink.LinkByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	id := strings.ReplaceAll(link.Attrs().HardwareAddr.String(), ":", "")

	book := newLedger()
	server := &server{broker: broker, terminal: id, book: book, test: t}
	server.declare()
	agent := newAgent(t, terminal, listener.Addr().String())
	defer agent.stop()

	ctx, done := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { server.receive(ctx) })
	defer running.Wait()
	defer done()

	harm, calm := context.WithTimeout(t.Context(), *lasts)
	defer calm()
	var harming sync.WaitGroup
	harming.Go(func() { server.send(harm) })
	harming.Go(func() {
		for sleep(harm, 2*time.Second+rand.N(3*time.Second)) {
			agent.kill()
			book.count("agent killed")
			sleep(harm, rand.N(time.Second))
			agent.start()
		}
	})
	harming.Go(func() {
		for sleep(harm, 3*time.Second+rand.N(6*time.Second)) {
			f := faults[rand.N(len(faults))]
			p.do(f, 2*time.Second+rand.N(10*time.Second))
			book.count("fault")
			book.count("  " + string(f))
		}
	})
	harming.Go(func() {
		for sleep(harm, 12*time.Second+rand.N(12*time.Second)) {
			broker.Kill()
			book.count("broker killed")
			if err := broker.Start(t.Context()); err != nil {
				t.Errorf("the broker does not come back: %v", err)
				calm()
			}
		}
	})
	harming.Wait()
	agent.start()
	calmed := time.Now()

	for end := time.Now().Add(150 * time.Second); book.missing() > 0 && time.Now().Before(end); {
		time.Sleep(200 * time.Millisecond)
	}
	done()
	running.Wait()
	book.print(t)
	t.Logf("the last answer came %.1f s after the last fault", max(0, book.latest.Sub(calmed).Seconds()))
	if *lasts >= 10*time.Minute {
		book.suffices(t)
	}
	if lost := book.missing(); lost > 0 {
		t.Errorf("%d commands have no answer", lost)
		t.Logf("the agent's last words:\n%s", agent.said())
	}
}

// sleep waits, and returns false if ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// ledger is the account of a run.
type ledger struct {
	mu      sync.Mutex
	sent    map[string]time.Time // commands that the broker took, by key
	bodies  map[string][]string  // different answers, by key
	expired map[string]bool      // commands that nobody took in time: the broker gave them to the server's other queue
	events  map[string]int
	answers int
	latest  time.Time // when the last command had its first answer
	order   []string
}

func newLedger() *ledger {
	return &ledger{sent: make(map[string]time.Time), bodies: make(map[string][]string), expired: make(map[string]bool), events: make(map[string]int)}
}

func (l *ledger) count(event string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.events[event] == 0 {
		l.order = append(l.order, event)
	}
	l.events[event]++
}

func (l *ledger) took(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent[key] = time.Now()
}

func (l *ledger) answered(key, body string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answers++
	for _, b := range l.bodies[key] {
		if b == body {
			return
		}
	}
	if len(l.bodies[key]) == 0 {
		l.latest = time.Now()
	}
	l.bodies[key] = append(l.bodies[key], body)
}

func (l *ledger) expire(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expired[key] = true
}

// missing is how many commands have no answer, of those that the terminal could take.
func (l *ledger) missing() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key := range l.sent {
		if len(l.bodies[key]) == 0 && !l.expired[key] {
			n++
		}
	}
	return n
}

func (l *ledger) print(t *testing.T) {
	missing := l.missing()
	l.mu.Lock()
	defer l.mu.Unlock()
	failed, twice := 0, 0
	for _, bodies := range l.bodies {
		if strings.Contains(bodies[0], `"status":1`) {
			failed++
		}
		if len(bodies) > 1 {
			twice++
		}
	}
	for _, event := range l.order {
		t.Logf("%5d %s", l.events[event], event)
	}
	t.Logf("%5d commands sent", len(l.sent))
	t.Logf("%5d answered, of them %d with an error", len(l.bodies), failed)
	t.Logf("%5d not taken in the two minutes that a queue keeps them", len(l.expired))
	t.Logf("%5d lost", missing)
	t.Logf("%5d answers before keying; %d commands were run again, since the agent died before it could note their result", l.answers, twice)
}

// suffices fails a long run in which too little happened to mean anything.
func (l *ledger) suffices(t *testing.T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for event, least := range map[string]int{"agent killed": 100, "broker killed": 20, "fault": 50} {
		if l.events[event] < least {
			t.Errorf("%s %d times, want %d", event, l.events[event], least)
		}
	}
	if len(l.bodies) < 2000 {
		t.Errorf("%d commands were answered, want 2000", len(l.bodies))
	}
}

// server is the other side: it sends commands and takes the answers, straight
// from the broker, and comes back when that does.
type server struct {
	broker   *amqptest.Broker
	terminal string
	book     *ledger
	test     *testing.T
}

// deadQueue is where a server learns of commands that nobody took.
const deadQueue = "natrix_command_dead"

// declare makes the queues as a Natrix server does, and waits until they are safe.
func (s *server) declare() {
	conn, err := amqp091.Dial(s.broker.URL("127.0.0.1"))
	if err != nil {
		s.test.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		s.test.Fatal(err)
	}
	for name, args := range map[string]amqp091.Table{
		amqp.ResponseQueue: nil, amqp.BasicQueue: nil, amqp.AdvanceQueue: nil, deadQueue: nil,
		amqp.RequestQueue(s.terminal): {"x-message-ttl": int32(120000), "x-dead-letter-exchange": "natrix_command_dlx", "x-dead-letter-routing-key": "dead_command"},
	} {
		if _, err := ch.QueueDeclare(name, true, false, false, false, args); err != nil {
			s.test.Fatal(err)
		}
	}
	if err := ch.ExchangeDeclare("natrix_command_dlx", amqp091.ExchangeDirect, true, false, false, false, nil); err != nil {
		s.test.Fatal(err)
	}
	if err := ch.QueueBind(deadQueue, "dead_command", "natrix_command_dlx", false, nil); err != nil {
		s.test.Fatal(err)
	}
	if err := s.broker.Sync(s.test.Context()); err != nil {
		s.test.Fatal(err)
	}
}

// connected calls do with a channel, again and again until ctx ends.
func (s *server) connected(ctx context.Context, do func(*amqp091.Channel) error) {
	for ctx.Err() == nil {
		conn, err := amqp091.Dial(s.broker.URL("127.0.0.1"))
		if err == nil {
			if ch, err := conn.Channel(); err == nil {
				do(ch)
			}
			conn.Close()
		}
		sleep(ctx, 200*time.Millisecond)
	}
}

// destinations are quick, slow, refused and wrong.
var destinations = []string{
	`"protocol":"ping","destination":"127.0.0.1","parameters":{"count":1}`,
	`"protocol":"ping","destination":"127.0.0.1","parameters":{"count":3}`,
	`"protocol":"http","destination":"http://127.0.0.1:9/","parameters":{"operation":"get"}`,
	`"protocol":"traceroute","destination":"127.0.0.1","parameters":{}`,
	`"protocol":"dns","destination":"www.example.com","parameters":{"dns_server":"127.0.0.1","timeout":1}`,
	`"protocol":"unheard-of","destination":"127.0.0.1","parameters":{}`,
}

// send sends commands until ctx ends. What the broker did not confirm is not
// counted on: it is sent under a new uuid.
func (s *server) send(ctx context.Context) {
	s.connected(ctx, func(ch *amqp091.Channel) error {
		if err := ch.Confirm(false); err != nil {
			return err
		}
		for sleep(ctx, rand.N(100*time.Millisecond)) {
			id, generated := uuid.NewString(), fmt.Sprintf("%.6f", float64(time.Now().UnixMicro())/1e6)
			body := fmt.Sprintf(`{"uuid":%q,"terminal":%q,"generate_timestamp":%s,%s}`, id, s.terminal, generated, destinations[rand.N(len(destinations))])
			confirm, err := ch.PublishWithDeferredConfirmWithContext(ctx, "", amqp.RequestQueue(s.terminal), true, false,
				amqp091.Publishing{DeliveryMode: amqp091.Persistent, Body: []byte(body)})
			if err != nil {
				return err
			}
			wait, cancel := context.WithTimeout(ctx, 5*time.Second)
			ok, err := confirm.WaitContext(wait)
			cancel()
			if err != nil {
				return err
			}
			if ok {
				s.book.took(id + " " + generated)
			}
		}
		return nil
	})
}

// receive books answers, and commands that nobody took, until ctx ends.
func (s *server) receive(ctx context.Context) {
	s.connected(ctx, func(ch *amqp091.Channel) error {
		answers, err := ch.Consume(amqp.ResponseQueue, "", false, false, false, false, nil)
		if err != nil {
			return err
		}
		dead, err := ch.Consume(deadQueue, "", false, false, false, false, nil)
		if err != nil {
			return err
		}
		for {
			var d amqp091.Delivery
			var open bool
			select {
			case d, open = <-answers:
				if open {
					s.bookAnswer(d.Body)
				}
			case d, open = <-dead:
				if open {
					s.bookExpired(d.Body)
				}
			case <-ctx.Done():
				return nil
			}
			if !open {
				return errors.New("gone")
			}
			if err := d.Ack(false); err != nil {
				return err
			}
		}
	})
}

func (s *server) bookAnswer(body []byte) {
	var a struct {
		Command struct{ UUID string }
		Stamp   struct {
			Generated json.Number `json:"server_request_generate_time"`
		}
	}
	if err := json.Unmarshal(body, &a); err != nil {
		s.test.Errorf("an answer that is no JSON: %q", body)
	}
	s.book.answered(a.Command.UUID+" "+a.Stamp.Generated.String(), string(body))
}

func (s *server) bookExpired(body []byte) {
	var c struct {
		UUID      string
		Generated json.Number `json:"generate_timestamp"`
	}
	if err := json.Unmarshal(body, &c); err != nil {
		s.test.Errorf("a command that is no JSON: %q", body)
	}
	s.book.expire(c.UUID + " " + c.Generated.String())
}

// agent is the program, as often as it has to be started.
type agent struct {
	t    *testing.T
	host *nettest.Host
	args []string

	mu  sync.Mutex
	cmd *exec.Cmd
	out bytes.Buffer
}

func newAgent(t *testing.T, host *nettest.Host, broker string) *agent {
	dir := t.TempDir()
	binary := filepath.Join(dir, "natrix")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "../cmd/natrix").CombinedOutput(); err != nil {
		t.Fatalf("build natrix: %v\n%s", err, out)
	}
	config := filepath.Join(dir, "natrix.ini")
	text := fmt.Sprintf("[RABBITMQ]\nurl = amqp://%s:%s@%s/%%2Fnatrix\n[COMMON]\nlog_directory =\n", amqptest.User, amqptest.Password, broker)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	a := &agent{t: t, host: host, args: []string{binary, "agent", "--config", config, "--runtime-directory", filepath.Join(dir, "run"), "--state-directory", filepath.Join(dir, "state")}}
	a.start()
	return a
}

// start starts the agent if it does not run.
func (a *agent) start() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.cmd != nil {
		return
	}
	a.out.Reset()
	cmd := exec.Command(a.args[0], a.args[1:]...)
	cmd.Stdout, cmd.Stderr = io.Discard, &a.out
	var err error
	a.host.Do(func() { err = cmd.Start() })
	if err != nil {
		a.t.Errorf("start the agent: %v", err)
		return
	}
	a.cmd = cmd
}

// kill ends it without warning.
func (a *agent) kill() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.cmd == nil {
		return
	}
	a.cmd.Process.Kill()
	a.cmd.Wait()
	a.cmd = nil
}

func (a *agent) stop() { a.kill() }

// said is what it logged since it was last started.
func (a *agent) said() string {
	a.kill()
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.out.String()
}
