package doctor

import (
	"testing"

	"github.com/rabbitmq/amqp091-go"
)

// RabbitMQ has one code for several refusals, and tells them apart in words.
func TestVHostRefusals(t *testing.T) {
	for reason, want := range map[string]Verdict{
		"NOT_ALLOWED - vhost nowhere not found":                                             VHostNone,
		"NOT_ALLOWED - access to vhost '/natrix' refused for user 'guest'":                  VHostRefused,
		"NOT_ALLOWED - connection to vhost '/natrix' is not allowed: limit of 1 is reached": VHostFailed,
	} {
		p := healthy()
		p.broker.deny = &amqp091.Error{Code: amqp091.NotAllowed, Reason: reason}
		if got := p.examineVHost(t.Context()); got.Verdict != want {
			t.Errorf("%s: got %d, want %d", reason, got.Verdict, want)
		}
	}
}
