package contract

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/natrix-os/natrix/agent/door/amqp/amqptest"
	rules "github.com/natrix-os/natrix/agent/report/server"
	"github.com/rabbitmq/amqp091-go"
)

// The queues of the server.
const (
	responses = "natrix_dial_response"
	basic     = "keep_alive_basic"
	advance   = "keep_alive_advance"
)

// server is the other end of the contract, as the Natrix server and the
// programs of its documentation behave at the broker. It uses no code of the
// terminal but the rules for what it gets.
type server struct {
	testing.TB
	conn *amqp091.Connection
	ch   *amqp091.Channel

	mu       sync.Mutex
	received map[string][][]byte // by queue, all that came
	watched  map[string]bool
}

func newServer(t testing.TB, b *amqptest.Broker) *server {
	t.Helper()
	conn, err := amqp091.Dial(b.URL("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	s := &server{TB: t, conn: conn, received: make(map[string][][]byte), watched: make(map[string]bool)}
	s.ch = s.channel()
	if err := s.ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *server) channel() *amqp091.Channel {
	s.Helper()
	ch, err := s.conn.Channel()
	if err != nil {
		s.Fatal(err)
	}
	return ch
}

// reset deletes all queues and exchanges.
func (s *server) reset() {
	s.Helper()
	for _, id := range []string{eth0, eth1} {
		if err := s.ch.ExchangeDelete(requests(id), false, false); err != nil {
			s.Fatal(err)
		}
	}
	for _, queue := range []string{responses, basic, advance, requests(eth0), requests(eth1)} {
		if _, err := s.ch.QueueDelete(queue, false, false, false); err != nil {
			s.Fatal(err)
		}
	}
}

// requests is the queue, and the exchange, of a terminal.
func requests(id string) string { return "natrix_request_" + id }

// requestArguments are those of a terminal's queue.
var requestArguments = amqp091.Table{
	"x-message-ttl": int32(120000), "x-dead-letter-exchange": "natrix_command_dlx", "x-dead-letter-routing-key": "dead_command",
}

// declareDurable declares a queue as the server does, which is refused if it is
// there in any other way.
func (s *server) declareDurable(queue string) {
	s.Helper()
	if _, err := s.channel().QueueDeclare(queue, true, false, false, false, nil); err != nil {
		s.Fatalf("the server is refused its queue: %v", err)
	}
}

// declareRequests declares a terminal's queue, its exchange and the binding.
func (s *server) declareRequests(id string) {
	s.Helper()
	ch := s.channel()
	if _, err := ch.QueueDeclare(requests(id), true, false, false, false, requestArguments); err != nil {
		s.Fatalf("the server is refused the terminal's queue: %v", err)
	}
	if err := ch.ExchangeDeclare(requests(id), amqp091.ExchangeDirect, false, false, false, false, nil); err != nil {
		s.Fatal(err)
	}
	if err := ch.QueueBind(requests(id), "command", requests(id), false, nil); err != nil {
		s.Fatal(err)
	}
	ch.Close()
}

// state is a queue as it stands; consumers is -1 if there is none.
func (s *server) state(queue string) (messages, consumers int) {
	s.Helper()
	ch := s.channel()
	q, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
	if err != nil {
		return 0, -1
	}
	ch.Close()
	return q.Messages, q.Consumers
}

// awaitConsumer waits until the terminal consumes the queue of a link.
func (s *server) awaitConsumer(id string) {
	s.Helper()
	eventually(s.TB, "a consumer of "+requests(id), func() bool {
		_, consumers := s.state(requests(id))
		return consumers == 1
	})
}

// send publishes a message to a terminal through its exchange.
func (s *server) send(id, body string) {
	s.Helper()
	s.declareRequests(id)
	s.publish(requests(id), "command", body)
}

func (s *server) publish(exchange, key, body string) {
	s.Helper()
	message := amqp091.Publishing{DeliveryMode: amqp091.Persistent, Body: []byte(body)}
	confirm, err := s.ch.PublishWithDeferredConfirmWithContext(s.Context(), exchange, key, false, false, message)
	if err != nil {
		s.Fatal(err)
	}
	if ok, err := confirm.WaitContext(s.Context()); !ok || err != nil {
		s.Fatalf("publish: %v, %v", ok, err)
	}
}

// watch takes what comes on a queue from now on.
func (s *server) watch(queue string) {
	s.Helper()
	if s.watched[queue] {
		return
	}
	s.watched[queue] = true
	deliveries, err := s.ch.Consume(queue, "", true, false, false, false, nil)
	if err != nil {
		s.Fatal(err)
	}
	go func() { // ends with the connection
		for d := range deliveries {
			s.mu.Lock()
			s.received[queue] = append(s.received[queue], d.Body)
			s.mu.Unlock()
		}
	}()
}

// all is what came on a queue.
func (s *server) all(queue string) [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([][]byte(nil), s.received[queue]...)
}

// next waits for the message number n on a queue, counted from 0.
func (s *server) next(queue string, n int) []byte {
	s.Helper()
	s.watch(queue)
	eventually(s.TB, fmt.Sprintf("message %d on %s", n+1, queue), func() bool { return len(s.all(queue)) > n })
	return s.all(queue)[n]
}

// order is a command as the server writes it.
type order struct {
	UUID        string         `json:"uuid"`
	Protocol    string         `json:"protocol"`
	Destination string         `json:"destination"`
	Parameters  map[string]any `json:"parameters"`
	Generated   float64        `json:"generate_timestamp"`
	Terminal    string         `json:"terminal"`
}

func newOrder(id, protocol, destination string, parameters map[string]any) order {
	if parameters == nil {
		parameters = map[string]any{}
	}
	return order{uuid.NewString(), protocol, destination, parameters, float64(time.Now().UnixMicro()) / 1e6, id}
}

func (o order) String() string {
	body, err := json.Marshal(o)
	if err != nil {
		panic(err) // of what the tests themselves wrote
	}
	return string(body)
}

// response is what a terminal answered.
type response struct {
	Command struct{ UUID, Terminal json.RawMessage }
	Status  int
	Data    json.RawMessage
	Stamp   map[string]json.RawMessage

	raw []byte
}

// into reads the data of a success.
func (r response) into(t testing.TB, data any) {
	t.Helper()
	if r.Status != 0 {
		t.Fatalf("got a failure: %s", r.raw)
	}
	if err := json.Unmarshal(r.Data, data); err != nil {
		t.Fatalf("%v: %s", err, r.raw)
	}
}

// failsWith tells if the response is not a failure of that number.
func (r response) failsWith(t testing.TB, code int) {
	t.Helper()
	var failure struct {
		Errorcode json.Number
		Errorinfo string
	}
	if err := json.Unmarshal(r.Data, &failure); err != nil || r.Status != 1 || failure.Errorcode.String() != strconv.Itoa(code) || strings.TrimSpace(failure.Errorinfo) == "" {
		t.Errorf("got %s, want a failure with errorcode %d", r.raw, code)
	}
}

// ask sends a command to the terminal's eth0, and returns the response, which
// passes the rules.
func (s *server) ask(protocol, destination string, parameters map[string]any) response {
	s.Helper()
	return s.askOn(eth0, protocol, destination, parameters)
}

func (s *server) askOn(id, protocol, destination string, parameters map[string]any) response {
	s.Helper()
	return s.exchange(id, newOrder(id, protocol, destination, parameters).String())
}

// exchange sends a message and waits for the response to it.
func (s *server) exchange(id, body string) response {
	s.Helper()
	s.watch(responses)
	seen := len(s.all(responses))
	s.send(id, body)
	return s.answer(body, seen)
}

// answer waits for the response to a command, after those that were seen, and
// judges it.
func (s *server) answer(body string, seen int) response {
	s.Helper()
	var asked struct {
		UUID, Terminal json.RawMessage
		Generated      json.RawMessage `json:"generate_timestamp"`
		Protocol       any
	}
	if err := json.Unmarshal([]byte(body), &asked); err != nil {
		s.Fatal(err)
	}
	var found response
	eventually(s.TB, "a response to "+body, func() bool {
		for _, raw := range s.all(responses)[seen:] {
			r := s.parse(raw)
			if string(r.Command.UUID) == string(asked.UUID) && string(r.Stamp["server_request_generate_time"]) == string(asked.Generated) {
				found = r
				return true
			}
		}
		return false
	})
	if asked.Terminal != nil && string(found.Command.Terminal) != string(asked.Terminal) {
		s.Errorf("got terminal %s, want %s", found.Command.Terminal, asked.Terminal)
	}
	s.judge(strings.ToLower(fmt.Sprint(asked.Protocol)), found)
	return found
}

func (s *server) parse(raw []byte) response {
	s.Helper()
	r := response{raw: raw}
	if err := json.Unmarshal(raw, &r); err != nil {
		s.Fatalf("%v: %s", err, raw)
	}
	return r
}

// judge holds a response against the server's rules, and its stamps against
// what they say: five of them, in order, of now.
func (s *server) judge(protocol string, r response) {
	s.Helper()
	var id string
	json.Unmarshal(r.Command.UUID, &id)
	if _, err := uuid.Parse(id); err == nil && slices.Contains([]string{"ping", "traceroute", "dns", "http"}, protocol) {
		if err := rules.Response(protocol, r.raw); err != nil {
			s.Errorf("the server refuses the response: %v\n%s", err, r.raw)
		}
	}
	last := 0.0
	for _, name := range []string{"terminal_request_receive_time", "terminal_request_send_time", "terminal_response_receive_time", "terminal_response_return_time"} {
		if name == "terminal_response_receive_time" && protocol == "http" && r.Status == 1 {
			if string(r.Stamp[name]) != "null" {
				s.Errorf("%s of a failed http is %s, want null", name, r.Stamp[name])
			}
			continue
		}
		at, err := strconv.ParseFloat(string(r.Stamp[name]), 64)
		if age := float64(time.Now().UnixMicro())/1e6 - at; err != nil || at < last || age < -1 || age > 400 {
			s.Errorf("%s is %s, after %.6f", name, r.Stamp[name], last)
		}
		last = at
	}
	if len(r.Stamp) != 5 {
		s.Errorf("got %d stamps, want 5: %s", len(r.Stamp), r.raw)
	}
}

// examples are commands that a server or the programs of its documentation sent.
func examples(t testing.TB, pattern string) map[string]string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("../command/testdata/server", pattern))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no examples %s: %v", pattern, err)
	}
	bodies := make(map[string]string)
	for _, path := range paths {
		body, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		bodies[filepath.Base(path)] = string(body)
	}
	return bodies
}
