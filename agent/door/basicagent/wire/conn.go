package wire

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// ErrTooLong is a line beyond the limit: the connection cannot go on.
var ErrTooLong = errors.New("line too long")

// Conn is a connection of lines. One goroutine may read, any may write.
type Conn struct {
	net.Conn
	timing Timing
	most   int // bytes of a line to read
	r      *bufio.Reader
	heard  atomic.Int64 // when input came last, ns since 1970
	mu     sync.Mutex   // one line at a time is written
}

// NewConn reads lines of at most that many bytes from a connection.
func NewConn(c net.Conn, most int, t Timing) *Conn {
	w := &Conn{Conn: c, timing: t, most: most, r: bufio.NewReaderSize(c, 4<<10)}
	w.heard.Store(time.Now().UnixNano())
	return w
}

// Quiet is for how long nothing came in.
func (c *Conn) Quiet() time.Duration { return time.Since(time.Unix(0, c.heard.Load())) }

// ReadLine returns the next line that is not blank, without its end, in memory
// of the caller's. It waits within for one to begin, and then the time of a
// line. The error is ErrTooLong for a line beyond the limit.
func (c *Conn) ReadLine(within time.Duration) ([]byte, error) {
	for {
		if err := c.await(within); err != nil {
			return nil, err
		}
		line, err := c.line()
		if err != nil {
			return nil, err
		}
		if line = bytes.TrimRight(line, "\r\n"); len(line) > 0 {
			return line, nil
		}
	}
}

// await waits for the first byte of a line.
func (c *Conn) await(within time.Duration) error {
	if c.r.Buffered() > 0 {
		return nil
	}
	if err := c.SetReadDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	_, err := c.r.Peek(1)
	return err
}

func (c *Conn) line() ([]byte, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.timing.Line)); err != nil {
		return nil, err
	}
	var line []byte
	for {
		part, err := c.r.ReadSlice('\n')
		if len(line)+len(part) > c.most {
			return nil, ErrTooLong
		}
		line = append(line, part...)
		c.heard.Store(time.Now().UnixNano())
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

// WriteLine sends a line. A peer that does not take it in time is gone.
func (c *Conn) WriteLine(body []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.SetWriteDeadline(time.Now().Add(c.timing.Write)); err != nil {
		return err
	}
	if _, err := c.Write(append(body, '\n')); err != nil {
		c.Close() // half a line may be out
		return fmt.Errorf("send: %w", err)
	}
	return nil
}

// Send writes a message as a line.
func (c *Conn) Send(message any) error {
	body, err := json.Marshal(message)
	if err != nil {
		return err
	}
	return c.WriteLine(body)
}

// KeepAlive pings a quiet peer until stop is closed or the connection fails. Its
// pings have ids that begin with prefix.
func (c *Conn) KeepAlive(stop <-chan struct{}, prefix string) {
	tick := time.NewTicker(c.timing.Quiet / 2)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		if c.Quiet() < c.timing.Quiet {
			continue
		}
		ping := struct {
			Method string `json:"method"`
			ID     string `json:"id"`
		}{"ping", fmt.Sprint(prefix, n)}
		if c.Send(ping) != nil {
			return
		}
	}
}
