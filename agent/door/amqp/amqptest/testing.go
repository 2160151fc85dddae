package amqptest

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"
)

// ForTest starts a broker that ends with the test. Without RabbitMQ the test is
// skipped, or fails if NATRIX_MUST names rabbitmq.
func ForTest(t testing.TB) *Broker {
	t.Helper()
	if _, err := os.Stat(server); err != nil {
		if strings.Contains(os.Getenv("NATRIX_MUST"), "rabbitmq") {
			t.Fatalf("no RabbitMQ on this machine: %s", Install)
		}
		t.Skipf("no RabbitMQ on this machine: %s", Install)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	b, err := New(ctx, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}
