package amqp

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/natrix-os/natrix/agent/config"
	"github.com/rabbitmq/amqp091-go"
)

// confirmTimeout bounds the wait for the broker to say that it has a message.
const confirmTimeout = time.Minute

var (
	errUnroutable = errors.New("the queue does not exist")
	errRefused    = errors.New("the broker refused the message")
)

// publisher publishes through the default exchange with confirms, many
// messages at a time. It ends with its channel.
type publisher struct {
	channel *amqp091.Channel
	gate    gate
	id      atomic.Uint64
	asked   chan question
	closed  chan struct{}
}

// A question is whether the message with this id came back.
type question struct {
	id     string
	answer chan bool
}

func newPublisher(conn *amqp091.Connection) (*publisher, error) {
	ch, err := conn.Channel()
	if err != nil {
		return nil, fmt.Errorf("open channel: %w", err)
	}
	if err := ch.Confirm(false); err != nil {
		return nil, fmt.Errorf("ask for confirms: %w", err)
	}
	p := &publisher{channel: ch, asked: make(chan question), closed: make(chan struct{})}
	go p.watch(ch.NotifyReturn(make(chan amqp091.Return)))
	return p, nil
}

// Publish sends one durable message to a queue of the server and returns once
// the first broker that answers has it.
func Publish(ctx context.Context, c config.AMQP, queue string, body []byte) error {
	err := errors.New("no broker is configured")
	for _, broker := range c.URLs {
		if err = publishOnce(ctx, broker, queue, body); err == nil {
			return nil
		}
	}
	return err
}

func publishOnce(ctx context.Context, broker, queue string, body []byte) error {
	conn, err := Dial(ctx, broker, "natrix report")
	if err != nil {
		return err
	}
	defer conn.CloseDeadline(time.Now().Add(time.Second))
	if err := ensure(conn, queue, nil); err != nil {
		return err
	}
	p, err := newPublisher(conn)
	if err != nil {
		return err
	}
	return p.publish(ctx, queue, body)
}

// publish sends a durable message and returns once the broker has it in the
// queue. It waits while the broker takes none.
func (p *publisher) publish(ctx context.Context, queue string, body []byte) error {
	if err := p.admitted(ctx); err != nil {
		return fmt.Errorf("publish to %s: %w", queue, err)
	}
	id := strconv.FormatUint(p.id.Add(1), 10)
	confirm, err := p.channel.PublishWithDeferredConfirmWithContext(ctx, "", queue, true, false, amqp091.Publishing{
		ContentType:  "application/json",
		DeliveryMode: amqp091.Persistent,
		MessageId:    id,
		Body:         body,
	})
	if err != nil {
		return fmt.Errorf("publish to %s: %w", queue, err)
	}
	ok, err := p.confirmed(ctx, confirm)
	switch {
	case err != nil:
		return fmt.Errorf("publish to %s: no confirm: %w", queue, err)
	case !ok && p.channel.IsClosed():
		return fmt.Errorf("publish to %s: %w", queue, amqp091.ErrClosed)
	case !ok:
		return fmt.Errorf("publish to %s: %w", queue, errRefused)
	case p.returned(id):
		return fmt.Errorf("publish to %s: %w", queue, errUnroutable)
	}
	return nil
}

// admitted returns once the broker takes messages.
func (p *publisher) admitted(ctx context.Context) error {
	for shut := p.gate.shut(); shut != nil; shut = p.gate.shut() {
		select {
		case <-shut:
		case <-p.closed:
			return amqp091.ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// confirmed waits for the broker to say that it has the message. The time in
// which it takes none does not count.
func (p *publisher) confirmed(ctx context.Context, confirm *amqp091.DeferredConfirmation) (bool, error) {
	timer := time.NewTimer(confirmTimeout)
	defer timer.Stop()
	for {
		select {
		case <-confirm.Done():
			return confirm.Acked(), nil
		case <-ctx.Done():
			return false, ctx.Err()
		case <-timer.C:
			if p.gate.shut() == nil {
				return false, context.DeadlineExceeded
			}
			if err := p.admitted(ctx); err != nil {
				return false, err
			}
			timer.Reset(confirmTimeout)
		}
	}
}

// returned reports whether a confirmed message came back as unroutable. The
// broker sends the return before the confirm, and the library hands it to
// watch before it handles the confirm: by now watch has it.
func (p *publisher) returned(id string) bool {
	q := question{id, make(chan bool, 1)}
	select {
	case p.asked <- q:
		return <-q.answer
	case <-p.closed:
		return true // not known: not delivered
	}
}

// watch collects what came back until the channel closes.
func (p *publisher) watch(returns <-chan amqp091.Return) {
	defer close(p.closed)
	back := make(map[string]bool)
	for {
		select {
		case r, open := <-returns:
			if !open {
				return
			}
			back[r.MessageId] = true
		case q := <-p.asked:
			q.answer <- back[q.id]
			delete(back, q.id)
		}
	}
}
