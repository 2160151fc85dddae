package probe

import (
	"context"
	"errors"
	"math"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/natrix-os/natrix/agent/packet"
)

const (
	maxUnknown = 12   // hops without an answer in a row before the path is given up, as in mtr
	mtrRoom    = 8192 // packets in flight and answers not yet read
)

// rounds is a run of mtr.
type rounds struct {
	params MTRParams
	target packet.Request
	names  *namer

	mu        sync.Mutex
	MTRResult        // Hubs is of all TTLs that were tried, from First on
	resets    uint64 // answers to packets from before the last reset are dropped
	named     bool   // show names
	paused    bool
	err       error // why a packet could not be sent
}

// run sends round after round until it has done all, or ctx ends. The error
// is the first of a packet that could not be sent, or of ctx.
func (r *rounds) run(ctx context.Context, engine sender) error {
	v := newVolley(engine, mtrRoom, func(x packet.Result) { r.book(ctx, x) })
	interval := pace(ctx, r.params.Count, r.params.Interval, r.params.Timeout)
	end := lastRound(ctx, r.params)
	for round := 0; (r.params.Count == 0 || round < r.params.Count) && time.Now().Before(end); round++ {
		if err := r.round(ctx, v, interval, round == 0); err != nil {
			return err
		}
	}
	return errors.Join(v.rest(ctx, r.complete), r.failure())
}

// lastRound is when the last round may begin for its answers to come before
// the deadline of ctx.
func lastRound(ctx context.Context, params MTRParams) time.Time {
	deadline, ok := ctx.Deadline()
	if !ok {
		return time.Now().Add(math.MaxInt64)
	}
	return deadline.Add(-params.Interval - params.Timeout - time.Second)
}

// round sends a packet to each hop, spread over the interval; the first time,
// when it is not known how many there are, as quickly as a path is walked.
func (r *rounds) round(ctx context.Context, v *volley, interval time.Duration, first bool) error {
	next, end := time.Now(), time.Now().Add(interval)
	step := interval / time.Duration(r.length())
	if first {
		step = min(step, hopPace)
	}
	for i := 0; i < r.length(); i++ {
		if request, ok := r.request(i); ok && v.send(request) {
			r.depart(request)
		}
		next = next.Add(step)
		if err := v.until(ctx, next); err != nil {
			return err
		}
		if err := r.failure(); err != nil {
			return err
		}
	}
	return v.until(ctx, end)
}

// request is the next packet to hub i, unless the run is paused.
func (r *rounds) request(i int) (packet.Request, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.paused {
		return packet.Request{}, false
	}
	for len(r.Hubs) <= i {
		r.Hubs = append(r.Hubs, Hub{TTL: r.params.First + len(r.Hubs)})
	}
	h := &r.Hubs[i]
	request := r.target
	request.TTL, request.Tag = h.TTL, r.resets<<32|uint64(i)<<24|uint64((h.Sent+1)&historyMask)
	return request, true
}

// depart books a packet as sent, unless there was a reset meanwhile.
func (r *rounds) depart(request packet.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if request.Tag>>32 == r.resets {
		r.Hubs[request.Tag>>24&0xff].depart()
	}
}

func (r *rounds) book(ctx context.Context, x packet.Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case x.Tag>>32 != r.resets || x.Reply.Late:
		return
	case x.Err != nil && !r.answered():
		r.err = x.Err
		return
	}
	h := &r.Hubs[x.Tag>>24&0xff]
	if x.Reply.Duplicate {
		h.Duplicates++
		return
	}
	h.book(int(x.Tag&historyMask), x.Reply, final(x.Reply, r.Addr))
	if r.named && x.Reply.Kind != packet.NoReply {
		r.names.ask(ctx, x.Reply.From)
	}
}

// length is how many hubs there is reason to send to: up to the one where the
// path ends, or so many beyond the last that answered.
func (r *rounds) length() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	answered := 0
	for i, h := range r.Hubs {
		if h.end {
			return i + 1
		}
		if h.Received > 0 {
			answered = i + 1
		}
	}
	return max(min(answered+maxUnknown, r.params.MaxHops-r.params.First+1), 1)
}

// complete reports whether no answer is awaited from a hub that ever gave one.
func (r *rounds) complete() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range r.known() {
		if h.Received > 0 && h.pending > 0 {
			return r.err != nil
		}
	}
	return true
}

// answered reports whether any packet was: then one that cannot be sent is
// lost, and the run goes on. r.mu is held.
func (r *rounds) answered() bool {
	return slices.ContainsFunc(r.Hubs, func(h Hub) bool { return h.Received > 0 })
}

// anything reports whether there is something to tell, other than an error.
func (r *rounds) anything() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.answered() || r.err == nil && len(r.Hubs) > 0
}

func (r *rounds) failure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// known is the hubs up to the end of the path, or to one beyond the last that
// answered, which stands for all that did not. r.mu is held.
func (r *rounds) known() []Hub {
	answered := 0
	for i, h := range r.Hubs {
		if h.end {
			return r.Hubs[:i+1]
		}
		if h.Received > 0 {
			answered = i + 1
		}
	}
	return r.Hubs[:min(answered+1, len(r.Hubs))]
}

// snapshot is the result so far.
func (r *rounds) snapshot() MTRResult {
	r.mu.Lock()
	defer r.mu.Unlock()
	result := r.MTRResult
	result.Hubs = slices.Clone(r.known())
	for i := range result.Hubs {
		h := &result.Hubs[i]
		h.Addrs, h.Name = slices.Clone(h.Addrs), ""
		if addr, ok := h.Addr(); ok {
			h.Name = r.nameOf(addr)
		}
	}
	return result
}

// nameOf is what to call an address. r.mu is held.
func (r *rounds) nameOf(addr netip.Addr) string {
	if r.named {
		if name := r.names.of(addr); name != "" {
			return name
		}
	}
	return addr.String()
}

// reset forgets what was counted, and what is under way.
func (r *rounds) reset() {
	r.resets++
	r.Hubs = nil
	r.Start = time.Now()
}
