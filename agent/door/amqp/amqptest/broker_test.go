package amqptest

import (
	"testing"

	"github.com/rabbitmq/amqp091-go"
)

func TestBrokerKeepsDurableMessagesOverKill(t *testing.T) {
	b := ForTest(t)
	publish(t, b)
	if err := b.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.Kill()
	if conn, err := amqp091.Dial(b.URL("127.0.0.1")); err == nil {
		conn.Close()
		t.Fatal("the broker answers after Kill")
	}
	if err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	conn, err := amqp091.Dial(b.URL("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	d, ok, err := ch.Get("q", true)
	if err != nil || !ok || string(d.Body) != "kept" {
		t.Errorf("got %q, %v, %v, want the message", d.Body, ok, err)
	}
}

// publish leaves a durable message in the queue q.
func publish(t *testing.T, b *Broker) {
	conn, err := amqp091.Dial(b.URL("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	if _, err := ch.QueueDeclare("q", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	confirm, err := ch.PublishWithDeferredConfirmWithContext(t.Context(), "", "q", false, false,
		amqp091.Publishing{DeliveryMode: amqp091.Persistent, Body: []byte("kept")})
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := confirm.WaitContext(t.Context()); !ok || err != nil {
		t.Fatalf("not confirmed: %v", err)
	}
}
