package packet

import "golang.org/x/sys/unix"

// arrival is one received packet, parsed, with the kernel's stamps of it.
type arrival struct {
	sighting
	stamps stamps
	link   int    // index of the link that it came by
	zone   string // name of the link, if the sender's address needs one
}

// receive takes answers from the sockets until the poller is woken to stop.
//
// While a batch is being sent it leaves answers where they are: they carry
// their time of arrival, so nothing is lost by that.
func (e *Engine) receive() {
	for {
		ready, ok := e.poller.wait()
		if !ok {
			return
		}
		e.awaitSender()
		found := 0
		for _, i := range ready {
			if e.plain != nil {
				e.receivePlain(i)
			} else {
				found += e.read(e.receivers[i])
			}
		}
		if found > 0 { // there may be duplicates
			e.poller.listen()
		} else {
			e.listen()
		}
	}
}

// listen has receive woken by the next answer, if there is one to come. Late
// and duplicate ones, where senders find all others, are left to linger.
func (e *Engine) listen() {
	e.mu.Lock()
	expecting := e.table.aloft > 0
	e.mu.Unlock()
	if expecting {
		e.poller.listen()
	}
}

// awaitSender returns when the batch that is being sent, if any, has left.
func (e *Engine) awaitSender() {
	e.tx.Lock()
	defer e.tx.Unlock()
}

// read takes one batch of answers from a socket and returns how many there were.
func (e *Engine) read(r *receiver) int {
	r.reading.Lock()
	defer r.reading.Unlock()
	n, errno := r.in.read(r.fd, unix.MSG_TRUNC)
	if errno != 0 {
		return 0 // nothing there after all, or an error that the socket reports once
	}
	now, o := e.clock.offset()
	got := r.parse(n)
	e.collectStamps(r.six)
	e.take(got, moment{now, o}, r)
	return n
}

// glance reads answers that have come while their requests were being sent,
// and says whether there were any. To distant hosts that is futile, so it then
// looks only now and then. e.tx is held.
func (e *Engine) glance() (hit bool) {
	if e.glances++; !e.hit && e.glances%16 != 0 {
		return false
	}
	e.hit = false
	for _, r := range e.receivers {
		for n := batchSize; r.expecting && n == batchSize; {
			n = e.read(r)
			e.hit = e.hit || n > 0
		}
		r.expecting = false
	}
	return e.hit
}

// take books a batch of arrivals.
func (e *Engine) take(got []arrival, m moment, r *receiver) {
	for i := range got { // before the lock: it may ask the kernel for a name
		if a := &got[i]; a.from.IsLinkLocalUnicast() && a.from.Is6() {
			a.zone = e.routes.zone(a.link)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stats.Overflow += r.overflowed()
	e.stats.Unmatched += r.foreign()
	for i := range got {
		a := &got[i]
		f := e.match(&a.sighting)
		if f == nil {
			e.stats.Unmatched++
			continue
		}
		if a.kind == TooBig {
			e.routes.stale.Store(true) // the kernel has learned a path MTU
		}
		e.answer(f, a, m)
	}
}

// answer books an arrival that is of f.
func (e *Engine) answer(f *flight, a *arrival, m moment) {
	r := a.reply(f)
	r.Sent = f.departure()
	r.RTT, r.Clock = f.rtt(a.stamps, m)
	if r.Clock == Monotonic {
		e.stats.Unstamped++
	}
	if r.OutOfOrder = e.overtaken(f); r.OutOfOrder {
		e.stats.OutOfOrder++
	}
	switch f.state {
	case flying:
		e.stats.Received++
		e.finish(f, answered, r)
		return
	case expired:
		e.stats.Late++
		r.Late = true
		f.state = answered
	default:
		e.stats.Duplicate++
		r.Duplicate = true
	}
	if f.sink != nil && !f.sink.extra(Result{Tag: f.tag, Reply: r}) {
		e.stats.Discarded++
	}
}

// reply turns an arrival into what the user gets.
func (a *arrival) reply(f *flight) Reply {
	r := Reply{
		Kind: a.kind, From: a.from.WithZone(a.zone), ICMPType: a.icmpType, ICMPCode: a.icmpCode,
		TTL: a.ttl, Size: a.size, MTU: a.mtu, QuotedTTL: -1, QuotedTOS: -1,
	}
	if a.quoted {
		r.QuotedTTL, r.QuotedTOS = a.quotedTTL, a.quotedTOS
		r.Rewritten = f.differs(&a.sighting)
	}
	if a.extensions != nil {
		r.readExtensions(a.extensions)
	}
	return r
}

// differs reports whether a quote is not of the packet as it was sent.
func (f *flight) differs(s *sighting) bool {
	if s.to.IsValid() && s.src != s.to { // errors go to the source of what they are about
		return true
	}
	return !s.short && (s.number != f.sport || s.idents[0] != 0 && s.idents[0] != f.ident)
}
