package logs

import (
	"sync"
	"sync/atomic"
	"time"
)

// queued is how many lines wait at most for a disk or a network.
const queued = 4096

// queue passes lines from those who log to the one who writes, without the
// first ever waiting for the second.
type queue struct {
	lines   chan string
	lost    atomic.Int64  // since the writer last asked
	closing chan struct{} // closed: write what is there, then end
	done    chan struct{} // closed when the writer has ended
	once    sync.Once
}

func newQueue() *queue {
	return &queue{lines: make(chan string, queued), closing: make(chan struct{}), done: make(chan struct{})}
}

// put is safe for concurrent use, also after close.
func (q *queue) put(line string) {
	select {
	case q.lines <- line:
	default:
		q.lost.Add(1)
	}
}

// next is the line to write, or false once all are written after close.
func (q *queue) next() (line string, ok bool) {
	select {
	case line = <-q.lines:
		return line, true
	case <-q.closing:
	}
	select {
	case line = <-q.lines:
		return line, true
	default:
		return "", false
	}
}

// close waits until the writer has written the rest, but not for long. It is
// false if the writer was still at it.
func (q *queue) close(patience time.Duration) bool {
	q.once.Do(func() { close(q.closing) })
	select {
	case <-q.done:
		return true
	case <-time.After(patience):
		return false
	}
}
