package amqp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/rabbitmq/amqp091-go"
)

// Dispatcher is the other end of the door: it sends commands the way the
// Natrix server does. It looks at the server's queues without taking anything
// out of them but the answer it waits for: whatever else it was shown goes back
// when it has looked.
type Dispatcher struct {
	conn    *amqp091.Connection
	channel *amqp091.Channel
}

// NewDispatcher connects to a broker. Close it.
func NewDispatcher(ctx context.Context, broker string) (*Dispatcher, error) {
	conn, err := Dial(ctx, broker, "natrix dispatch")
	if err != nil {
		return nil, err
	}
	d := &Dispatcher{conn: conn}
	for _, queue := range []string{ResponseQueue, BasicQueue, AdvanceQueue} {
		if err := ensure(conn, queue, nil); err != nil {
			d.Close()
			return nil, err
		}
	}
	if d.channel, err = conn.Channel(); err != nil {
		d.Close()
		return nil, fmt.Errorf("open channel: %w", err)
	}
	return d, nil
}

// Close ends the connection.
func (d *Dispatcher) Close() error { return d.conn.CloseDeadline(time.Now().Add(time.Second)) }

// Request is a command for a terminal, as the server writes it.
type Request struct {
	UUID        string         `json:"uuid"`
	Protocol    string         `json:"protocol"`
	Destination string         `json:"destination"`
	Parameters  map[string]any `json:"parameters"`
	Generated   float64        `json:"generate_timestamp"` // seconds since the epoch
	Terminal    string         `json:"terminal"`
}

// NewRequest is a command generated now.
func NewRequest(terminal, protocol, destination string, parameters map[string]any) Request {
	if parameters == nil {
		parameters = make(map[string]any)
	}
	return Request{uuid.NewString(), protocol, destination, parameters, float64(time.Now().UnixMicro()) / 1e6, terminal}
}

// Send publishes a command for a terminal through an exchange that is named
// like its queue, as the server does.
func (d *Dispatcher) Send(ctx context.Context, terminal string, body []byte) error {
	name := RequestQueue(terminal)
	if err := ensure(d.conn, name, requestArguments()); err != nil {
		return err
	}
	if err := d.channel.ExchangeDeclare(name, amqp091.ExchangeDirect, false, false, false, false, nil); err != nil {
		return fmt.Errorf("declare exchange: %w", err)
	}
	if err := d.channel.QueueBind(name, "command", name, false, nil); err != nil {
		return fmt.Errorf("bind queue: %w", err)
	}
	err := d.channel.PublishWithContext(ctx, name, "command", false, false, amqp091.Publishing{DeliveryMode: amqp091.Persistent, Body: body})
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	return nil
}

// Message is what a terminal sent.
type Message struct {
	Queue string
	Body  []byte

	delivery amqp091.Delivery
}

// Take takes the message out of its queue.
func (m Message) Take() error { return m.delivery.Ack(false) }

// Answers reports whether the message is the response to a command.
func (m Message) Answers(command []byte) bool {
	var asked struct {
		UUID      json.RawMessage `json:"uuid"`
		Generated json.RawMessage `json:"generate_timestamp"`
	}
	var answer struct {
		Command struct {
			UUID json.RawMessage `json:"uuid"`
		} `json:"command"`
		Stamp struct {
			Generated json.RawMessage `json:"server_request_generate_time"`
		} `json:"stamp"`
	}
	if json.Unmarshal(command, &asked) != nil || json.Unmarshal(m.Body, &answer) != nil {
		return false
	}
	return asked.UUID != nil && string(asked.UUID) == string(answer.Command.UUID) && string(asked.Generated) == string(answer.Stamp.Generated)
}

// Watch yields what comes on the queues, until the connection is lost or a
// queue deleted, or until ctx ends. When the channel is closed, what was not
// taken is in the queues again.
func (d *Dispatcher) Watch(ctx context.Context, queues ...string) (<-chan Message, error) {
	channel, err := d.conn.Channel() // of its own: closing it gives everything back
	if err != nil {
		return nil, fmt.Errorf("open channel: %w", err)
	}
	messages := make(chan Message)
	ctx, cancel := context.WithCancel(ctx)
	var consumers sync.WaitGroup
	for _, queue := range queues {
		deliveries, err := channel.Consume(queue, "", false, false, false, false, nil)
		if err != nil {
			cancel()
			consumers.Wait()
			channel.Close()
			return nil, fmt.Errorf("consume %s: %w", queue, err)
		}
		consumers.Go(func() {
			defer cancel() // one that ends ends all: half a view misleads
			pass(ctx, queue, deliveries, messages)
		})
	}
	go func() {
		consumers.Wait()
		cancel()
		channel.Close()
		close(messages)
	}()
	return messages, nil
}

// pass hands on what a queue delivers until that or ctx ends.
func pass(ctx context.Context, queue string, from <-chan amqp091.Delivery, to chan<- Message) {
	for {
		select {
		case delivery, open := <-from:
			if !open {
				return
			}
			select {
			case to <- Message{queue, delivery.Body, delivery}:
			case <-ctx.Done():
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// ErrWatch is why there is nothing more to see.
var ErrWatch = errors.New("connection lost, or a queue deleted")

// Ask sends a command and waits for its response.
func (d *Dispatcher) Ask(ctx context.Context, terminal string, body []byte) ([]byte, error) {
	watching, enough := context.WithCancel(ctx)
	messages, err := d.Watch(watching, ResponseQueue)
	if err != nil {
		enough()
		return nil, err
	}
	defer func() {
		enough()
		for range messages { // until the queue is as it was
		}
	}()
	if err := d.Send(ctx, terminal, body); err != nil {
		return nil, err
	}
	for m := range messages {
		if m.Answers(body) {
			return m.Body, m.Take()
		}
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("no response from %s: %w", terminal, ctx.Err())
	}
	return nil, ErrWatch
}
