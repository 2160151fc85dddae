package probe

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/natrix-os/natrix/agent/command"
	"github.com/natrix-os/natrix/agent/location"
	"github.com/natrix-os/natrix/agent/packet"
)

var pingInfo = command.Info{
	Name:    "ping",
	Summary: "Round-trip times and loss to a host",
	Example: "natrix ping www.example.com\nnatrix ping -c 10 -i eth1 192.0.2.1",
}

// PingParams are the parameters of a ping.
type PingParams struct {
	Interface string        // link to send from, by name or by one of its addresses; "" is by route
	Count     int           // packets to send
	Interval  time.Duration // between two packets; shortened if the command could not end in time
	Timeout   time.Duration // wait for the answer to each packet
	Size      int           // payload bytes
	DNS       string        // name servers to resolve the destination with; "" is the system's
	UDP       bool          // UDP packets to an unused port instead of ICMP echo
	Verbose   bool          // keep every packet's outcome in the result
}

// DefaultPing is three packets of the original's size, a second apart.
func DefaultPing() PingParams {
	return PingParams{Count: 3, Interval: time.Second, Timeout: 5 * time.Second, Size: 55}
}

// Flags declares the parameters for all doors.
func (p *PingParams) Flags(f *command.Flags) {
	f.Text(&p.Interface, "interface", "i", "link to send from: its name, or one of its addresses")
	f.Int(&p.Count, "count", "c", "packets to send", 1, 1000)
	f.Seconds(&p.Interval, "interval", "", "between two packets, in seconds")
	f.Seconds(&p.Timeout, "timeout", "t", "wait for each answer, in seconds")
	f.Int(&p.Size, "size", "s", "payload bytes", 0, 65000, "packet_size")
	f.Text(&p.DNS, "dns", "d", "name server to resolve the destination with", "dns_server")
	f.Switch(&p.UDP, "udp", "", "send UDP to an unused port instead of ICMP echo")
	f.Switch(&p.Verbose, "verbose", "v", "tell of every packet")
}

// PingResult is what came back.
type PingResult struct {
	Destination string     // as asked for
	Addr        netip.Addr // that was pinged
	Location    location.Location
	Size        int // payload bytes
	Packets     []PingPacket

	verbose bool
}

// PingPacket is the outcome of one packet.
type PingPacket struct {
	Seq      int // from 1
	Answered bool
	Reply    packet.Reply // also of a packet that a router refused
	Err      error        // why it could not be sent; nil if it was
}

// Ping sends packets at a steady pace and waits for their answers. That none
// of them is answered is a result; an error says that none could be sent.
func (p *Prober) Ping(ctx context.Context, destination string, params PingParams) (*PingResult, error) {
	engine, target, err := p.aim(ctx, destination, params.Interface, params.DNS)
	if err != nil {
		return nil, err
	}
	target.Size = params.Size + headers(target.Dst)
	target.Timeout = params.Timeout
	if params.UDP {
		target.Protocol = packet.UDP
	}
	r := &PingResult{Destination: destination, Addr: target.Dst, Location: p.Locations.Of(target.Dst), Size: params.Size, verbose: params.Verbose}
	r.Packets = pingAll(ctx, engine, target, params.Count, pace(ctx, params))
	return r, r.unsent(ctx)
}

// aim resolves a destination and fills in what all packets to it share.
func (p *Prober) aim(ctx context.Context, destination, link, dns string) (sender, packet.Request, error) {
	host, err := hostOf(destination)
	if err != nil {
		return nil, packet.Request{}, err
	}
	servers, err := serverList(dns)
	if err != nil {
		return nil, packet.Request{}, err
	}
	via, err := pathOf(ctx, link)
	if err != nil {
		return nil, packet.Request{}, err
	}
	addrs, err := via.resolve(ctx, host, servers)
	if err != nil {
		return nil, packet.Request{}, err
	}
	route, err := via.to(addrs[0])
	if err != nil {
		return nil, packet.Request{}, err
	}
	engine, err := p.sender()
	request := packet.Request{Dst: addrs[0], Src: route.Src}
	if via.spec != "" {
		request.Link = route.Link
	}
	return engine, request, err
}

// headers is the bytes before the payload: IP and ICMP or UDP, which are 8 both.
func headers(dst netip.Addr) int {
	if dst.Is4() {
		return 20 + 8
	}
	return 40 + 8
}

// pace is the interval that lets the last answer come before the deadline.
func pace(ctx context.Context, params PingParams) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok || params.Count == 1 {
		return params.Interval
	}
	room := time.Until(deadline) - params.Timeout - time.Second
	return max(min(params.Interval, room/time.Duration(params.Count-1)), time.Millisecond)
}

// pingAll sends count packets, one each interval, and waits for the outcome of each.
func pingAll(ctx context.Context, engine sender, target packet.Request, count int, interval time.Duration) []PingPacket {
	packets := make([]PingPacket, 0, count)
	tick := time.NewTicker(interval)
	defer tick.Stop()
	var answers sync.WaitGroup
	var mu sync.Mutex // one progress line at a time
	defer answers.Wait()
	for seq := 1; seq <= count; seq++ {
		packets = append(packets, PingPacket{Seq: seq})
		one := &packets[seq-1] // packets has room for all and does not move
		answers.Go(func() {
			one.ping(ctx, engine, target)
			mu.Lock()
			defer mu.Unlock()
			command.Progress(ctx, one)
		})
		if seq == count {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return packets
		}
	}
	return packets
}

func (k *PingPacket) ping(ctx context.Context, engine sender, target packet.Request) {
	k.Reply, k.Err = engine.Do(ctx, target)
	k.Answered = k.Err == nil && (k.Reply.Kind.FromDestination() || k.Reply.Kind == packet.PortUnreachable && k.Reply.From == target.Dst)
}

// unsent is why there is no result: no packet could be sent, or time ran out.
func (r *PingResult) unsent(ctx context.Context) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for _, k := range r.Packets {
		if k.Err == nil {
			return nil
		}
	}
	return fmt.Errorf("ping %s: %w", r.Addr, unreachable(r.Packets[0].Err))
}

// RTTs are the round-trip times of the packets that were answered, in the order sent.
func (r *PingResult) RTTs() []time.Duration {
	var rtts []time.Duration
	for _, k := range r.Packets {
		if k.Answered {
			rtts = append(rtts, k.Reply.RTT)
		}
	}
	return rtts
}

// Spread is the distribution of some durations.
type Spread struct {
	Min, Avg, Max      time.Duration
	Deviation          time.Duration // standard deviation
	Jitter             time.Duration // mean difference between one and the next
	P50, P90, P95, P99 time.Duration // percentiles, by nearest rank
}

// SpreadOf computes the distribution; of nothing it is zero.
func SpreadOf(values []time.Duration) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	var sum, squares, steps float64
	for i, v := range values {
		sum += float64(v)
		squares += float64(v) * float64(v)
		if i > 0 {
			steps += math.Abs(float64(v - values[i-1]))
		}
	}
	n := float64(len(values))
	sorted := slices.Sorted(slices.Values(values))
	rank := func(p float64) time.Duration { return sorted[max(int(math.Ceil(p*n)), 1)-1] }
	return Spread{
		Min: sorted[0], Avg: time.Duration(sum / n), Max: sorted[len(sorted)-1],
		Deviation: time.Duration(math.Sqrt(max(squares/n-sum/n*sum/n, 0))),
		Jitter:    time.Duration(steps / max(n-1, 1)),
		P50:       rank(0.5), P90: rank(0.9), P95: rank(0.95), P99: rank(0.99),
	}
}

// pingWire is the data of the wire document. Times are milliseconds, -1 if
// nothing was answered: the server does not take null.
type pingWire struct {
	Destination string            `json:"destination"`
	Addr        netip.Addr        `json:"destination_ip"`
	Location    location.Location `json:"destination_location"`
	Send        int               `json:"packet_send"`
	Receive     int               `json:"packet_receive"`
	Loss        int               `json:"packet_loss"`
	Size        int               `json:"packet_size"`
	Avg         float64           `json:"avg_time"`
	Max         float64           `json:"max_time"`
	Min         float64           `json:"min_time"`

	Deviation   *float64         `json:"mdev_time,omitempty"`
	Jitter      *float64         `json:"jitter_time,omitempty"`
	Percentiles *pingPercentiles `json:"percentile_times,omitempty"`
	TTL         int              `json:"ttl,omitempty"`
	Clock       string           `json:"clock,omitempty"`
	Refused     string           `json:"unreachable,omitempty"`
	Packets     []pingPacketWire `json:"packets,omitempty"`
}

type pingPercentiles struct {
	P50 float64 `json:"p50"`
	P90 float64 `json:"p90"`
	P95 float64 `json:"p95"`
	P99 float64 `json:"p99"`
}

type pingPacketWire struct {
	Seq     int      `json:"seq"`
	Outcome string   `json:"outcome"`
	From    string   `json:"from,omitempty"`
	Time    *float64 `json:"time,omitempty"`
	TTL     int      `json:"ttl,omitempty"`
}

// MarshalJSON writes the data of the wire document.
func (r *PingResult) MarshalJSON() ([]byte, error) {
	rtts := r.RTTs()
	w := pingWire{
		Destination: r.Destination, Addr: r.Addr, Location: r.Location,
		Send: len(r.Packets), Receive: len(rtts), Loss: len(r.Packets) - len(rtts), Size: r.Size,
		Avg: -1, Max: -1, Min: -1, Refused: r.refused(),
	}
	if len(rtts) > 0 {
		s := SpreadOf(rtts)
		deviation, jitter := ms(s.Deviation), ms(s.Jitter)
		w.Avg, w.Max, w.Min, w.Deviation, w.Jitter = ms(s.Avg), ms(s.Max), ms(s.Min), &deviation, &jitter
		w.Percentiles = &pingPercentiles{ms(s.P50), ms(s.P90), ms(s.P95), ms(s.P99)}
		answered := r.Packets[slices.IndexFunc(r.Packets, func(k PingPacket) bool { return k.Answered })]
		w.TTL, w.Clock = answered.Reply.TTL, answered.Reply.Clock.String()
	}
	if r.verbose {
		for _, k := range r.Packets {
			w.Packets = append(w.Packets, k.wire())
		}
	}
	return json.Marshal(w)
}

func (k PingPacket) wire() pingPacketWire {
	w := pingPacketWire{Seq: k.Seq, Outcome: k.Reply.Kind.String()}
	if k.Err != nil {
		w.Outcome = k.Err.Error()
		return w
	}
	if k.Reply.Kind != packet.NoReply {
		t := ms(k.Reply.RTT)
		w.From, w.Time, w.TTL = k.Reply.From.String(), &t, k.Reply.TTL
	}
	return w
}

// refused is what the network said about packets that it did not deliver; ""
// if it said nothing.
func (r *PingResult) refused() string {
	for _, k := range r.Packets {
		if !k.Answered && k.Err == nil && k.Reply.Kind != packet.NoReply {
			return fmt.Sprintf("%v from %v", k.Reply.Kind, k.Reply.From)
		}
	}
	return ""
}

// String is one line of a running ping.
func (k *PingPacket) String() string {
	switch {
	case k.Err != nil:
		return fmt.Sprintf("seq=%d not sent: %v", k.Seq, k.Err)
	case k.Reply.Kind == packet.NoReply:
		return fmt.Sprintf("seq=%d no answer", k.Seq)
	case !k.Answered:
		return fmt.Sprintf("seq=%d %v from %v", k.Seq, k.Reply.Kind, k.Reply.From)
	}
	return fmt.Sprintf("seq=%d from %v ttl=%d time=%.3f ms", k.Seq, k.Reply.From, k.Reply.TTL, ms(k.Reply.RTT))
}

// WriteText prints the summary that ping's users know.
func (r *PingResult) WriteText(w io.Writer) {
	rtts := r.RTTs()
	sent, lost := len(r.Packets), len(r.Packets)-len(rtts)
	fmt.Fprintf(w, "%s (%v): %d sent, %d received, %.1f%% loss\n", r.Destination, r.Addr, sent, len(rtts), 100*float64(lost)/float64(sent))
	if refused := r.refused(); refused != "" {
		fmt.Fprintln(w, refused)
	}
	if len(rtts) > 0 {
		s := SpreadOf(rtts)
		fmt.Fprintf(w, "rtt min/avg/max/mdev = %.3f/%.3f/%.3f/%.3f ms, jitter %.3f ms, p95 %.3f ms\n",
			ms(s.Min), ms(s.Avg), ms(s.Max), ms(s.Deviation), ms(s.Jitter), ms(s.P95))
	}
}
