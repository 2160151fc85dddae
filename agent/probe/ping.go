package probe

import (
	"context"
	"errors"
	"time"

	"github.com/natrix-os/natrix/agent/command"
	"github.com/natrix-os/natrix/agent/packet"
)

var pingInfo = command.Info{
	Wire:    pingWire{},
	Name:    "ping",
	Summary: "Round-trip times and loss to a host",
	Example: "natrix ping www.example.com\nnatrix ping -6 -c 10 --interval 0.2 -o text www.example.com\nnatrix ping -c 10 -i eth1 192.0.2.1",
}

// lingerMost bounds the wait for duplicates of the last answer.
const lingerMost = 100 * time.Millisecond

// PingParams are the parameters of a ping.
type PingParams struct {
	Way
	Count    int           // packets to send
	Interval time.Duration // between two packets; shortened if the command could not end in time
	Timeout  time.Duration // wait for the answer to each packet
	Size     int           // payload bytes
	UDP      bool          // UDP packets to an unused port instead of ICMP echo
	Verbose  bool          // keep every packet's outcome in the result
}

// DefaultPing is three packets of the original's size, a second apart.
func DefaultPing() PingParams {
	return PingParams{Count: 3, Interval: time.Second, Timeout: 5 * time.Second, Size: 55}
}

// Flags declares the parameters for all doors.
func (p *PingParams) Flags(f *command.Flags) {
	p.Way.flags(f, "i")
	f.Int(&p.Count, "count", "c", "packets to send", 1, 1000)
	f.Seconds(&p.Interval, "interval", "", "between two packets, in seconds")
	f.Seconds(&p.Timeout, "timeout", "t", "wait for each answer, in seconds")
	f.Int(&p.Size, "size", "s", "payload bytes", 0, 65000, "packet_size")
	f.Switch(&p.UDP, "udp", "", "send UDP to an unused port instead of ICMP echo")
	f.Switch(&p.Verbose, "verbose", "v", "tell of every packet")
}

// Ping sends packets at a steady pace and waits for their answers. That none
// of them is answered is a result; an error says that none could be sent, or
// that a deadline came first. When ctx is cancelled, the result is of the packets
// whose outcome was known by then.
func (p *Prober) Ping(ctx context.Context, destination string, params PingParams) (*PingResult, error) {
	if params.Capture != "" {
		return captured(ctx, p, params.Capture, func(ctx context.Context, p *Prober) (*PingResult, error) {
			params.Capture = ""
			return p.Ping(ctx, destination, params)
		})
	}
	engine, target, err := p.aim(ctx, destination, params.Way)
	if err != nil {
		return nil, err
	}
	target.Size = params.Size + headers(target.Dst)
	target.Timeout = params.Timeout
	if params.UDP {
		target.Protocol = packet.UDP
	}
	r := &PingResult{Destination: destination, Addr: target.Dst, Location: p.Locations.Of(target.Dst), Size: params.Size, verbose: params.Verbose}
	command.Progress(ctx, heading{r})
	r.run(ctx, engine, target, params.Count, pace(ctx, params.Count, params.Interval, params.Timeout))
	return r, r.unsent(ctx)
}

// pace is the interval that lets the last answer come before the deadline.
func pace(ctx context.Context, count int, interval, timeout time.Duration) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok || count < 2 {
		return interval
	}
	room := time.Until(deadline) - timeout - time.Second
	return max(min(interval, room/time.Duration(count-1)), time.Millisecond)
}

// run sends count packets, one each interval, and books what they meet.
func (r *PingResult) run(ctx context.Context, engine sender, target packet.Request, count int, interval time.Duration) {
	v := newVolley(engine, 2*count+16, func(x packet.Result) { r.book(ctx, x) })
	start := time.Now()
	for i := range count {
		target.Tag = uint64(i)
		r.Packets = append(r.Packets, PingPacket{PingEvent: PingEvent{Seq: i + 1}})
		v.send(target)
		if i < count-1 && v.until(ctx, start.Add(time.Duration(i+1)*interval)) != nil {
			break
		}
	}
	if v.rest(ctx, never) == nil && v.until(ctx, time.Now().Add(min(r.slowest(), lingerMost))) == nil {
		v.rest(ctx, never) // duplicates of the last answers
	}
	r.Elapsed = time.Since(start)
	r.Packets = settled(r.Packets)
}

// book takes an answer down, or that there is none.
func (r *PingResult) book(ctx context.Context, x packet.Result) {
	k := &r.Packets[x.Tag]
	event := PingEvent{Seq: k.Seq, Reply: x.Reply, Err: x.Err, Answered: x.Err == nil && answers(x.Reply, r.Addr)}
	switch {
	case x.Reply.Duplicate:
		k.Duplicates++
	case x.Reply.Late:
		k.Late = x.Reply.RTT
	default:
		k.PingEvent, k.settled = event, true
	}
	command.Progress(ctx, event)
}

// unsent is why there is no result: no packet could be sent, or time ran out.
func (r *PingResult) unsent(ctx context.Context) error {
	if err := ctx.Err(); errors.Is(err, context.DeadlineExceeded) || len(r.Packets) == 0 {
		return err
	}
	for _, k := range r.Packets {
		if k.Err == nil {
			return nil
		}
	}
	return unreachable(r.Packets[0].Err)
}
