package probe

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/natrix-os/natrix/agent/command"
	"github.com/natrix-os/natrix/agent/packet"
)

var mtrInfo = command.Info{
	Name:    "mtr",
	Summary: "Loss and round-trip times of every router on the way to a host, round after round",
	Example: "natrix mtr www.example.com\nnatrix mtr -r -c 100 -i 0.2 www.example.com\nnatrix mtr -T -P 443 -o json www.example.com",
}

const (
	maxUnknown = 12   // hops without an answer in a row before the path is given up, as in mtr
	mtrRoom    = 8192 // packets in flight and answers not yet read
)

// MTRParams are the parameters of mtr.
type MTRParams struct {
	Way
	Protocol string        // icmp, udp or tcp
	Port     int           // destination port of udp and tcp; 0 is an unused one and 80
	First    int           // TTL to begin with
	MaxHops  int           // how far to look
	Count    int           // rounds; 0 is until ctx ends, or its deadline is near
	Interval time.Duration // of a round: a packet to each hop
	Timeout  time.Duration // wait for the answer to each packet
	Size     int           // bytes of a packet with its IP header
	Numeric  bool          // leave the names of the hops alone
}

// DefaultMTR is mtr's own ten rounds of a report.
func DefaultMTR() MTRParams {
	return MTRParams{Protocol: "icmp", First: 1, MaxHops: 30, Count: 10, Interval: time.Second, Timeout: 5 * time.Second, Size: 64}
}

// Flags declares the parameters for all doors, by mtr's letters.
func (p *MTRParams) Flags(f *command.Flags) {
	p.Way.flags(f, "I")
	f.Custom((*protocolValue)(&p.Protocol), "protocol", "", "icmp, udp or tcp")
	f.Choice(&p.Protocol, "udp", "u", "send UDP instead of ICMP echo")
	f.Choice(&p.Protocol, "tcp", "T", "send TCP SYN instead of ICMP echo")
	f.Int(&p.Port, "port", "P", "destination port for TCP (80) and UDP (an unused one)", 1, 65535)
	f.Int(&p.First, "first-ttl", "f", "TTL to begin with", 1, 255)
	f.Int(&p.MaxHops, "max-ttl", "m", "how far to look", 1, 255)
	f.Int(&p.Count, "report-cycles", "c", "rounds; 0 is until interrupted", 0, 100000, "count")
	f.Seconds(&p.Interval, "interval", "i", "of a round, in seconds")
	f.Seconds(&p.Timeout, "timeout", "Z", "wait for each answer, in seconds")
	f.Int(&p.Size, "psize", "s", "bytes of a packet with its headers", 28, packet.MaxSize)
	f.Switch(&p.Numeric, "no-dns", "n", "do not look up the names of the hops", "numeric")
	f.Hide("protocol")
}

// MTR sends a packet to every hop of a path, round after round. At its
// start it hands an [*MTRScreen] to the progress function of ctx. When ctx ends, the
// result is of what was known by then.
func (p *Prober) MTR(ctx context.Context, destination string, params MTRParams) (*MTRResult, error) {
	engine, target, err := p.aim(ctx, destination, params.Way)
	if err != nil {
		return nil, err
	}
	target = along(target, params.Protocol, params.Port)
	if params.Protocol == "udp" {
		target.DstPort = uint16(params.Port)
	}
	target.Timeout, target.Size = params.Timeout, params.Size
	source, _ := os.Hostname() // "" is as good a name as any

	r := &rounds{
		MTRResult: MTRResult{Source: source, Destination: destination, Addr: target.Dst, Start: time.Now(), Size: params.Size, TOS: params.TOS},
		params:    params, target: target, named: !params.Numeric,
	}
	running, stop := context.WithCancel(ctx)
	r.names = newNamer(params.Way.resolver(ctx))
	defer r.names.wait()
	defer stop()
	command.Progress(ctx, &MTRScreen{rounds: r})
	if err := r.run(running, engine); err != nil && !r.anything() {
		return nil, fmt.Errorf("mtr %s: %w", target.Dst, unreachable(err))
	}
	defer time.AfterFunc(reverseLimit, stop).Stop()
	r.names.wait()
	result := r.snapshot()
	return &result, nil
}

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
		if request, ok := r.request(i); ok {
			v.send(request)
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

// request books a packet to hub i, unless the run is paused.
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
	h.depart()
	request := r.target
	request.TTL, request.Tag = h.TTL, r.resets<<32|uint64(i)<<24|uint64(h.Sent&historyMask)
	return request, true
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
