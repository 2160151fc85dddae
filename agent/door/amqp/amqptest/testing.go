package amqptest

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"
)

// ForTest starts a broker that ends with the test. The test is skipped with
// -short, and without RabbitMQ unless NATRIX_MUST names it: then it fails.
// Further lines of its configuration are as for New.
func ForTest(t testing.TB, further ...string) *Broker {
	t.Helper()
	must := strings.Contains(os.Getenv("NATRIX_MUST"), "rabbitmq")
	if testing.Short() && !must {
		t.Skip("starts a RabbitMQ: not with -short")
	}
	if _, err := os.Stat(server); err != nil {
		if must {
			t.Fatalf("no RabbitMQ on this machine: %s", Install)
		}
		t.Skipf("no RabbitMQ on this machine: %s", Install)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	b, err := New(ctx, t.TempDir(), further...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}
