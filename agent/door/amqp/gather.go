package amqp

import (
	"net"
	"runtime"
	"sync"
)

// gathered is how much may wait to be written before writers have to.
const gathered = 256 << 10

// gather is a connection on which Write does not wait: what many goroutines
// write in the same moment leaves in one system call, rather than in one for
// each message and one for each acknowledgement. An error comes with a later
// Write.
type gather struct {
	net.Conn
	done chan struct{} // closed when nothing is written any more

	mu      sync.Mutex
	changed sync.Cond // one of those below did
	waiting []byte
	closed  bool
	err     error
}

func newGather(conn net.Conn) *gather {
	g := &gather{Conn: conn, done: make(chan struct{})}
	g.changed.L = &g.mu
	go g.write()
	return g
}

func (g *gather) Write(b []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.waiting) > gathered && g.err == nil && !g.closed {
		g.changed.Wait()
	}
	if g.closed {
		return 0, net.ErrClosed
	}
	if g.err != nil {
		return 0, g.err
	}
	if len(g.waiting) == 0 {
		g.changed.Broadcast()
	}
	g.waiting = append(g.waiting, b...)
	return len(b), nil
}

// Close ends a write that is under way. What waits is not written any more.
func (g *gather) Close() error {
	g.mu.Lock()
	g.closed = true
	g.changed.Broadcast()
	g.mu.Unlock()
	err := g.Conn.Close()
	<-g.done
	return err
}

// write writes what waits, as long as it can.
func (g *gather) write() {
	defer close(g.done)
	var spare []byte
	for {
		b := g.take(spare)
		if b == nil {
			return
		}
		_, err := g.Conn.Write(b)
		g.wrote(err)
		spare = b
		if cap(spare) > 2*gathered {
			spare = nil
		}
	}
}

// take waits for something to write, and leaves the spare memory for what comes
// next. It returns nil when there will be nothing.
func (g *gather) take(spare []byte) []byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.waiting) == 0 && !g.closed && g.err == nil {
		g.changed.Wait()
	}
	if g.closed || g.err != nil {
		return nil
	}
	g.mu.Unlock()
	runtime.Gosched() // whoever else has something to write may do so first
	g.mu.Lock()
	b := g.waiting
	g.waiting = spare[:0]
	g.changed.Broadcast() // there is room
	return b
}

// wrote notes how a write went.
func (g *gather) wrote(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.err = err
	g.changed.Broadcast()
}
