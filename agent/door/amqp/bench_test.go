package amqp

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/natrix-os/natrix/agent/config"
	"github.com/natrix-os/natrix/agent/door/amqp/amqptest"
	"github.com/natrix-os/natrix/agent/spool"
	"github.com/rabbitmq/amqp091-go"
)

// BenchmarkWorker is durable commands that need no work, through a broker on
// this machine: how many per second, and how long from publishing to response
// at a thousand per second. Beside it, in turns, are the least that a client can
// do, which takes what comes, publishes as many bytes and acknowledges, and the
// least that loses nothing, which acknowledges when the broker has confirmed.
// The bars are 5,000 per second, 0.6 of the bare client and a p99 of 50 ms.
func BenchmarkWorker(b *testing.B) {
	const jobs = 20000
	broker := amqptest.ForTest(b)
	s := benchServer{b, broker, dial(b, broker)}

	b.Run("throughput", func(b *testing.B) {
		var bare, confirming, worker []float64
		for range b.N {
			for range 5 {
				bare = append(bare, s.throughput(jobs, bareClient))
				confirming = append(confirming, s.throughput(jobs, confirmingClient))
				worker = append(worker, s.throughput(jobs, wholeWorker))
			}
		}
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(median(worker), "jobs/s")
		b.ReportMetric(median(bare), "bare-jobs/s")
		b.ReportMetric(median(confirming), "confirmed-bare-jobs/s")
		b.ReportMetric(median(worker)/median(bare), "of-bare")
		b.ReportMetric(median(worker)/median(confirming), "of-confirmed-bare")
	})
	b.Run("1000 per second", func(b *testing.B) {
		var took []time.Duration
		for range b.N {
			took = append(took, s.latency(1000, 10*time.Second)...)
		}
		slices.Sort(took)
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(ms(took[len(took)/2]), "p50-ms")
		b.ReportMetric(ms(took[len(took)*99/100]), "p99-ms")
	})
	load, _ := os.ReadFile("/proc/loadavg")
	b.Logf("load of the machine: %s", load)
}

func median(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// client answers commands until ctx ends.
type client func(ctx context.Context, b *testing.B, broker *amqptest.Broker)

// benchServer is the other side of the benchmark.
type benchServer struct {
	*testing.B
	broker  *amqptest.Broker
	channel *amqp091.Channel
}

func dial(b *testing.B, broker *amqptest.Broker) *amqp091.Channel {
	conn, err := amqp091.Dial(broker.URL("127.0.0.1"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	ch, err := conn.Channel()
	if err != nil {
		b.Fatal(err)
	}
	return ch
}

// reset has empty queues.
func (s benchServer) reset() {
	for queue, args := range map[string]amqp091.Table{ResponseQueue: nil, RequestQueue(terminal): requestArguments()} {
		if _, err := s.channel.QueueDeclare(queue, true, false, false, false, args); err != nil {
			s.Fatal(err)
		}
		if _, err := s.channel.QueuePurge(queue, false); err != nil {
			s.Fatal(err)
		}
	}
}

func (s benchServer) ask(n int) {
	body := fmt.Appendf(nil, `{"uuid":"%08d-5a5a-4000-8000-%012d","terminal":%q,"generate_timestamp":%d.5,"protocol":"ping","destination":"host-%d","parameters":{"count":4}}`, n, time.Now().UnixNano()%1e12, terminal, time.Now().Unix(), n)
	err := s.channel.PublishWithContext(s.Context(), "", RequestQueue(terminal), true, false, amqp091.Publishing{
		DeliveryMode: amqp091.Persistent, Timestamp: time.Now(), Headers: amqp091.Table{"sent": time.Now().UnixNano()}, Body: body})
	if err != nil {
		s.Fatal(err)
	}
}

// waiting is how many messages a queue holds.
func (s benchServer) waiting(queue string) int {
	q, err := s.channel.QueueDeclarePassive(queue, true, false, false, false, nil)
	if err != nil {
		s.Fatal(err)
	}
	return q.Messages
}

// await polls, which is what a broker offers, until a queue holds n messages.
func (s benchServer) await(queue string, n int) (has int) {
	for end := time.Now().Add(2 * time.Minute); has < n; time.Sleep(2 * time.Millisecond) {
		if has = s.waiting(queue); time.Now().After(end) {
			s.Fatalf("%s holds %d, want %d", queue, has, n)
		}
	}
	return has
}

// throughput is how many commands per second a client answers, once it is
// connected: those of a queue that is full when it begins.
func (s benchServer) throughput(jobs int, do client) float64 {
	s.reset()
	for n := range jobs {
		s.ask(n)
	}
	s.await(RequestQueue(terminal), jobs)
	ctx, stop := context.WithCancel(s.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	running.Go(func() { do(ctx, s.B, s.broker) })
	first := s.await(ResponseQueue, 1)
	begin := time.Now()
	last := s.await(ResponseQueue, jobs)
	return float64(last-first) / time.Since(begin).Seconds()
}

// latency is how long each command of a steady stream takes.
func (s benchServer) latency(rate int, lasts time.Duration) (took []time.Duration) {
	s.reset()
	ctx, stop := context.WithCancel(s.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	running.Go(func() { wholeWorker(ctx, s.B, s.broker) })
	answers, err := dial(s.B, s.broker).Consume(ResponseQueue, "", true, false, false, false, nil)
	if err != nil {
		s.Fatal(err)
	}
	total := rate * int(lasts/time.Second)
	published := make([]time.Time, total)
	var done sync.WaitGroup
	done.Go(func() {
		for range total {
			d := <-answers
			took = append(took, time.Since(published[number(d)]))
		}
	})
	for begin, sent := time.Now(), 0; sent < total; time.Sleep(time.Millisecond) {
		for due := min(int(time.Since(begin).Seconds()*float64(rate)), total); sent < due; sent++ {
			published[sent] = time.Now()
			s.ask(sent)
		}
	}
	done.Wait()
	return took
}

// number is that of the command which a response answers.
func number(d amqp091.Delivery) (n int) {
	fmt.Sscanf(string(d.Body), `{"command":{"uuid":"%08d-`, &n)
	return n
}

// wholeWorker is a worker as the agent runs it, with a spool on a RAM disk.
func wholeWorker(ctx context.Context, b *testing.B, broker *amqptest.Broker) {
	dir, err := os.MkdirTemp("/dev/shm", "natrix")
	if err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(dir)
	results, err := spool.Open(spool.DefaultLimits(), spool.Places{RAM: dir})
	if err != nil {
		b.Fatal(err)
	}
	defer results.Close()
	settings := config.Default().AMQP
	settings.URLs = []string{broker.URL("127.0.0.1")}
	w := &Worker{
		Config:  settings,
		Core:    &core{},
		Results: results,
		Links:   links(nil, link("eth0", 1)),
		Log:     slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	w.Run(ctx)
}

// bareClient is a loop over the library.
func bareClient(ctx context.Context, b *testing.B, broker *amqptest.Broker) {
	ch := dial(b, broker)
	forward(ctx, b, ch, ch, func(d amqp091.Delivery) { d.Ack(false) })
}

// confirmingClient is one that acknowledges what the broker has confirmed.
func confirmingClient(ctx context.Context, b *testing.B, broker *amqptest.Broker) {
	publisher := dial(b, broker)
	if err := publisher.Confirm(false); err != nil {
		b.Error(err)
		return
	}
	confirms := publisher.NotifyPublish(make(chan amqp091.Confirmation, config.Default().AMQP.Prefetch))
	published := make(chan amqp091.Delivery, config.Default().AMQP.Prefetch)
	var acknowledging sync.WaitGroup
	acknowledging.Go(func() {
		for range confirms {
			d := <-published
			d.Ack(false)
		}
	})
	forward(ctx, b, dial(b, broker), publisher, func(d amqp091.Delivery) { published <- d })
	publisher.Close()
	acknowledging.Wait()
}

// forward publishes a response for each command until ctx ends.
func forward(ctx context.Context, b *testing.B, consumer, publisher *amqp091.Channel, published func(amqp091.Delivery)) {
	defer consumer.Close()
	if err := consumer.Qos(config.Default().AMQP.Prefetch, 0, false); err != nil {
		b.Error(err)
		return
	}
	deliveries, err := consumer.Consume(RequestQueue(terminal), "", false, false, false, false, nil)
	if err != nil {
		b.Error(err)
		return
	}
	body := make([]byte, 420)
	for {
		select {
		case d := <-deliveries:
			err := publisher.PublishWithContext(ctx, "", ResponseQueue, true, false, amqp091.Publishing{DeliveryMode: amqp091.Persistent, ContentType: "application/json", Body: body})
			if err != nil {
				return
			}
			published(d)
		case <-ctx.Done():
			return
		}
	}
}
