package packet

import (
	"context"
)

// Result is the outcome of one Request of a Stream.
type Result struct {
	Tag   uint64 // of the Request
	Reply Reply
	Err   error // the packet was not sent; Reply is then empty
}

// Stream sends many packets and collects what they met. One goroutine may
// submit while another waits.
//
// Wait, called until it returns 0, brings every result.
//
// Besides one Result per Request a Stream returns late and duplicate answers
// as they come, flagged, as long as it has room for them.
type Stream struct {
	e     *Engine
	ready chan struct{} // holds one token while results may be waiting

	// Under e.mu.
	ring   []Result
	first  int // index of the oldest result in ring
	count  int
	aloft  int     // requests without result
	newest *flight // last packet sent
}

// NewStream returns a Stream that holds at most size requests and unread
// results. It needs no closing.
func (e *Engine) NewStream(size int) *Stream { return newStream(e, max(size, 1)) }

func newStream(e *Engine, size int) *Stream {
	return &Stream{e: e, ring: make([]Result, size), ready: make(chan struct{}, 1)}
}

// Submit sends a packet for each of the first n requests and returns n, which
// is less than len(requests) if the Stream is full. It does not wait for
// answers, and does not keep the slice; what could not be sent becomes a
// Result with an error.
func (s *Stream) Submit(requests []Request) (n int) {
	for n < len(requests) {
		batch := requests[n:min(n+batchSize, len(requests))]
		took := s.submit(batch, n+len(batch) == len(requests))
		n += took
		if took < len(batch) {
			break
		}
	}
	return n
}

// submit sends at most one batch, so that between two of them answers can be
// read. Those that came while it was sent it finds itself. Unless there is
// nothing left to wait for, it hands over to receive, and if they come as quickly as
// that, only after the last batch.
func (s *Stream) submit(requests []Request, last bool) int {
	e := s.e
	e.tx.Lock()
	defer e.tx.Unlock()
	n, closed := s.reserve(len(requests))
	if closed {
		for i := range requests[:n] {
			s.refuse(nil, requests[i].Tag, ErrClosed)
		}
		return n
	}
	e.routes.refresh()
	for i := range requests[:n] {
		if f, err := e.stage(s, &requests[i]); err != nil {
			s.refuse(f, requests[i].Tag, err)
		}
	}
	e.flush()
	if !e.glance() || last || n < len(requests) {
		e.listen()
	}
	return n
}

// reserve takes room for up to n results, and says whether the engine is closed.
func (s *Stream) reserve(n int) (int, bool) {
	s.e.mu.Lock()
	defer s.e.mu.Unlock()
	n = min(n, len(s.ring)-s.count-s.aloft)
	s.aloft += n
	return n, s.e.closed
}

// refuse books a request that did not come as far as the kernel.
func (s *Stream) refuse(f *flight, tag uint64, err error) {
	s.e.mu.Lock()
	defer s.e.mu.Unlock()
	if f != nil {
		if f.state == staged || f.state == flying { // or it has its result already
			s.e.fail(f, err)
		}
		return
	}
	s.deliver(Result{Tag: tag, Err: err})
	s.aloft--
}

// Wait blocks until there are results, fills into with the oldest of them and
// returns how many. It returns 0 and no error if nothing is in flight.
func (s *Stream) Wait(ctx context.Context, into []Result) (int, error) {
	for {
		n, idle := s.take(into)
		if n > 0 || idle {
			return n, nil
		}
		select {
		case <-s.ready:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// Pending returns the number of requests without a result yet.
func (s *Stream) Pending() int {
	s.e.mu.Lock()
	defer s.e.mu.Unlock()
	return s.aloft
}

// take moves results out of the ring, and says whether waiting is pointless.
func (s *Stream) take(into []Result) (n int, idle bool) {
	s.e.mu.Lock()
	defer s.e.mu.Unlock()
	for n < len(into) && s.count > 0 {
		into[n] = s.ring[s.first]
		s.ring[s.first] = Result{} // let go of its extensions
		s.first = (s.first + 1) % len(s.ring)
		s.count--
		n++
	}
	if s.count > 0 {
		s.wake()
	} else {
		s.first = 0 // a few results in flight use a few of the ring, which stay in the cache
	}
	return n, s.aloft == 0
}

// deliver stores a result, for which there is room if it was reserved.
func (s *Stream) deliver(r Result) {
	s.ring[(s.first+s.count)%len(s.ring)] = r
	s.count++
	s.wake()
}

// extra stores a result that nobody reserved room for.
func (s *Stream) extra(r Result) bool {
	if s.count+s.aloft >= len(s.ring) {
		return false
	}
	s.deliver(r)
	return true
}

func (s *Stream) wake() {
	select {
	case s.ready <- struct{}{}:
	default: // a token is there already
	}
}

func (s *Stream) reset() {
	s.first, s.count, s.aloft, s.newest = 0, 0, 0, nil
	select {
	case <-s.ready:
	default:
	}
}
