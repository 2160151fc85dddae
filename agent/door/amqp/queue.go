package amqp

import (
	"errors"
	"fmt"

	"github.com/rabbitmq/amqp091-go"
)

// The queues of the Natrix server, published to through the default exchange.
const (
	ResponseQueue = "natrix_dial_response"
	BasicQueue    = "keep_alive_basic"
	AdvanceQueue  = "keep_alive_advance"
)

// RequestQueue is the queue on which the terminal with this id (12 hex digits
// of a MAC address) gets its commands.
func RequestQueue(terminal string) string { return "natrix_request_" + terminal }

// requestArguments are those with which the server declares a request queue:
// what nobody takes in two minutes it books as not consumed.
func requestArguments() amqp091.Table {
	return amqp091.Table{
		"x-message-ttl":             int32(120000),
		"x-dead-letter-exchange":    "natrix_command_dlx",
		"x-dead-letter-routing-key": "dead_command",
	}
}

// ensure makes a queue with the server's flags if it is not there, and takes
// it as it is if it is: producers and consumers of all versions declare the
// same queues with different flags, and a clash would end them or us. Each
// attempt has a channel of its own, because a refusal closes it.
func ensure(conn *amqp091.Connection, name string, arguments amqp091.Table) error {
	err := onChannel(conn, func(ch *amqp091.Channel) error {
		_, err := ch.QueueDeclarePassive(name, true, false, false, false, arguments)
		return err
	})
	if refused(err, amqp091.NotFound) {
		err = onChannel(conn, func(ch *amqp091.Channel) error {
			_, err := ch.QueueDeclare(name, true, false, false, false, arguments)
			return err
		})
	}
	if err != nil && !refused(err, amqp091.PreconditionFailed) {
		return fmt.Errorf("declare queue %s: %w", name, err)
	}
	return nil
}

func onChannel(conn *amqp091.Connection, do func(*amqp091.Channel) error) error {
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	defer ch.Close()
	return do(ch)
}

// refused reports whether the broker said no with this code.
func refused(err error, code int) bool {
	var e *amqp091.Error
	return errors.As(err, &e) && e.Code == code
}
