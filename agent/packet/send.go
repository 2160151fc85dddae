package packet

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"golang.org/x/sys/unix"
)

// stage encodes one request and puts it into the batch of its sender. e.tx is held.
func (e *Engine) stage(s *Stream, asked *Request) (*flight, error) {
	r := *asked
	if err := r.complete(); err != nil {
		return nil, err
	}
	if e.plain != nil {
		return e.stagePlain(s, &r)
	}
	way, err := e.way(&r)
	if err != nil {
		return nil, err
	}
	snd := e.sender(&r, way)
	if snd == nil {
		return nil, fmt.Errorf("send to %s: %w", r.Dst, unix.EAFNOSUPPORT)
	}
	f, err := e.register(s, &r, way)
	if err != nil {
		return f, err
	}
	if !snd.fits(r.length()) {
		e.send(snd)
	}
	snd.add(&r, f, way)
	return f, nil
}

// way finds source and link of a request. IPv4 echo requests by the main route
// leave that to the kernel, which does it anyway.
func (e *Engine) way(r *Request) (route, error) {
	if r.Src.IsValid() {
		if err := e.routes.local(r.Src); err != nil {
			return route{}, fmt.Errorf("send from %s: %w", r.Src, err)
		}
	}
	if r.Protocol == ICMP && r.Dst.Is4() && r.Link == "" && r.Size <= smallestMTU {
		return route{src: r.Src, mtu: MaxSize}, nil
	}
	way, err := e.routes.lookup(r)
	if r.Src.IsValid() {
		way.src = r.Src.WithZone("")
	}
	return way, err
}

// smallestMTU is below any link's that packets of default size cross in practice (RFC 791: 576 must be received).
const smallestMTU = 576

// register takes a flight for a request out of the table.
func (e *Engine) register(s *Stream, r *Request, way route) (*flight, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, ErrClosed
	}
	if e.table.aloft >= e.opt.InFlight {
		return nil, ErrTooMany
	}
	f, fresh, err := e.table.take(r)
	if err != nil {
		return nil, err
	}
	f.sink, f.tag = s, r.Tag
	f.dst, f.src, f.timeout = r.Dst.WithZone(""), way.src, int64(r.Timeout)
	f.ttl = uint8(r.TTL)
	f.sport, f.dport = f.lane.ports(r, f.ident)
	f.seq = rand.Uint32()<<16 | uint32(f.ident)
	s.newest = f
	if fresh {
		err = e.setFilters()
	}
	if err == nil {
		err = e.wake(r.Protocol, r.Dst.Is6())
	}
	return f, err
}

// sender returns the socket for a request: the one that takes whole IP packets,
// or, if the kernel has to fragment, the one of its protocol.
func (e *Engine) sender(r *Request, way route) *sender {
	family := 0
	if r.Dst.Is6() {
		family = 1
	}
	if r.length() > way.mtu && !r.DontFragment {
		return e.fragmenters[family][r.Protocol]
	}
	return e.senders[family]
}

// flush sends what is staged. e.tx is held.
func (e *Engine) flush() {
	e.eachSender(func(s *sender) { e.send(s) })
}

func (e *Engine) eachSender(do func(*sender)) {
	for i, s := range e.senders {
		if s != nil {
			do(s)
		}
		for _, s := range e.fragmenters[i] {
			if s != nil {
				do(s)
			}
		}
	}
}

// send hands the batch of s to the kernel. Packets are in flight before that,
// because an answer can be quicker than the return of the system call.
func (e *Engine) send(s *sender) {
	if s.n == 0 {
		return
	}
	e.launch(s.flights[:s.n])
	s.sending.Store(true)
	for done, waits := 0, 0; done < s.n; {
		n, err := s.write(done)
		if errors.Is(err, unix.EAGAIN) && waits < maxWaits {
			e.collect(s) // unread stamps wake the poll too
			s.wait()
			waits++
			continue
		}
		e.book(s, done, n, err)
		done += max(n, 1)
	}
	s.clear()
	full := s.unread.Add(1) >= maxUnread/batchSize
	s.sending.Store(false)
	if full {
		e.collect(s)
	}
}

// launch puts staged flights into flight, now.
func (e *Engine) launch(flights []*flight) {
	now, o := e.clock.offset()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, f := range flights {
		if f.state != staged {
			continue // the engine was closed meanwhile
		}
		e.order++
		f.state, f.sent, f.offset, f.order = flying, now, o, e.order
		f.deadline = now + f.timeout
		e.wheel.add(f)
		if f.protocol == UDP || f.protocol == SCTP {
			e.latest.add(f)
		}
	}
	e.launched, e.resting = now, false
	e.arm(min(e.wheel.next(now), now+int64(attention)))
}

// book counts n packets as sent, or fails the one at done.
func (e *Engine) book(s *sender, done, n int, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stats.Sent += uint64(n)
	if f := s.flights[done]; err != nil && f.state == flying {
		e.fail(f, fmt.Errorf("send to %s: %w", f.dst, err))
	}
}
