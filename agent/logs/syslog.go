package logs

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	facility = 3 << 3 // system daemons (RFC 5424, table 1)

	dialWithin  = 10 * time.Second
	writeWithin = 10 * time.Second

	longestDatagram = 2048 // bytes of a message: what receivers of UDP should take (RFC 5426, section 3.2)
	longestMessage  = 8192 // of a message in a stream
)

// Syslog sends records to a collector, as RFC 5424 over UDP (RFC 5426), TCP
// (RFC 6587, octet counting) or TLS (RFC 5425). While the collector is away, it
// is dialled again and again, and a few thousand records wait.
type Syslog struct {
	queue   *queue
	scheme  string
	address string
	tls     *tls.Config
	pause   time.Duration // before the second of several dials
	cancel  context.CancelFunc
}

// Dial returns at once; the connection is made when it can be. The collector is
// udp://host:port, tcp://host:port or tls://host:port. Close it.
func Dial(collector string) (*Syslog, error) {
	u, err := url.Parse(collector)
	if err != nil || u.Port() == "" || u.Scheme != "udp" && u.Scheme != "tcp" && u.Scheme != "tls" {
		return nil, fmt.Errorf("syslog: %q is not like udp://host:514, tcp://host:601 or tls://host:6514", collector)
	}
	s := &Syslog{queue: newQueue(), scheme: u.Scheme, address: u.Host, tls: &tls.Config{ServerName: u.Hostname()}, pause: time.Second}
	s.start()
	return s, nil
}

func (s *Syslog) start() {
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	go s.run(ctx)
}

// Close sends what waits, for a second at most.
func (s *Syslog) Close() error {
	sent := s.queue.close(time.Second)
	s.cancel()
	<-s.queue.done
	if !sent {
		return errors.New("syslog: not all of the log could be sent")
	}
	return nil
}

// Handler sends records.
func (s *Syslog) Handler(level slog.Leveler) slog.Handler {
	return newHandler(level, func(r slog.Record, attrs string) {
		s.send(r.Time, r.Level, oneLine(r.Message)+attrs)
	})
}

// Write sends lines that [slog.TextHandler] wrote, and others as they are. It
// never fails.
func (s *Syslog) Write(p []byte) (int, error) {
	for line := range strings.Lines(string(p)) {
		line = strings.TrimRight(line, "\r\n")
		at, level := headOf(line)
		s.send(at, level, line)
	}
	return len(p), nil
}

// headOf is the time and the level of a line that slog.TextHandler wrote.
func headOf(line string) (time.Time, slog.Level) {
	at, level := time.Now(), slog.LevelInfo
	words := strings.SplitN(line, " ", 3)
	if text, found := strings.CutPrefix(words[0], "time="); found {
		if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
			at = t
		}
	}
	if len(words) > 1 {
		if text, found := strings.CutPrefix(words[1], "level="); found {
			level.UnmarshalText([]byte(text)) // what is no level leaves it as it is
		}
	}
	return at, level
}

func (s *Syslog) send(at time.Time, level slog.Level, text string) {
	longest := longestMessage
	if s.scheme == "udp" {
		longest = longestDatagram
	}
	s.queue.put(message(at, level, text, longest))
}

// message is one of RFC 5424, section 6.
func message(at time.Time, level slog.Level, text string, longest int) string {
	m := fmt.Sprintf("<%d>1 %s %s natrix %d - - %s", facility+severity(level), at.Format("2006-01-02T15:04:05.000000Z07:00"), hostname(), os.Getpid(), text)
	if len(m) > longest {
		m = strings.ToValidUTF8(m[:longest], "")
	}
	return m
}

// severity is that of RFC 5424, table 2.
func severity(l slog.Level) int {
	switch {
	case l >= slog.LevelError:
		return 3
	case l >= slog.LevelWarn:
		return 4
	case l >= slog.LevelInfo:
		return 6
	}
	return 7
}

// hostname is asked for each time: an appliance learns its own late.
func hostname() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "-"
	}
	return name
}

// run sends until the queue is closed, or ctx ends. A line that could not be
// sent is sent on the next connection.
func (s *Syslog) run(ctx context.Context) {
	defer close(s.queue.done)
	var conn *connection
	defer func() { conn.close() }()
	for {
		line, ok := s.queue.next()
		if !ok {
			return
		}
		if n := s.queue.lost.Swap(0); n > 0 {
			line = fmt.Sprintf("%s (%d lines before this one were lost)", line, n)
		}
		for pause := s.pause; conn.gone() || conn.send(line) != nil; pause = min(2*pause, time.Minute) {
			conn.close()
			if conn = s.connect(ctx); conn != nil && conn.send(line) == nil {
				break
			}
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return
			}
		}
	}
}

// connect is nil if the collector cannot be reached.
func (s *Syslog) connect(ctx context.Context) *connection {
	conn, err := s.dial(ctx)
	if err != nil {
		return nil
	}
	return newConnection(ctx, conn, s.scheme != "udp")
}

func (s *Syslog) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialWithin)
	defer cancel()
	switch s.scheme {
	case "tls":
		return (&tls.Dialer{Config: s.tls}).DialContext(ctx, "tcp", s.address)
	default:
		return new(net.Dialer).DialContext(ctx, s.scheme, s.address)
	}
}

// connection is one to a collector. A nil one is gone.
type connection struct {
	net.Conn
	stream bool
	ended  chan struct{} // closed when the collector has closed a stream
	forget func() bool
}

func newConnection(ctx context.Context, conn net.Conn, stream bool) *connection {
	c := &connection{conn, stream, make(chan struct{}), context.AfterFunc(ctx, func() { conn.Close() })}
	if stream {
		// A collector says nothing: all that can come is the end, which a write
		// would only notice the second time.
		go func() {
			defer close(c.ended)
			io.Copy(io.Discard, conn)
		}()
	}
	return c
}

func (c *connection) gone() bool {
	if c == nil {
		return true
	}
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// send writes one message. That nobody listens on a port of UDP is no reason
// to send it again.
func (c *connection) send(line string) error {
	c.SetWriteDeadline(time.Now().Add(writeWithin))
	if !c.stream {
		c.Write([]byte(line))
		return nil
	}
	_, err := c.Write([]byte(strconv.Itoa(len(line)) + " " + line))
	return err
}

// close ends the goroutine that reads, too.
func (c *connection) close() {
	if c != nil {
		c.forget()
		c.Close()
		if c.stream {
			<-c.ended
		}
	}
}
