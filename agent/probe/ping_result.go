package probe

import (
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/natrix-os/natrix/agent/location"
	"github.com/natrix-os/natrix/agent/packet"
)

// PingResult is what came back.
type PingResult struct {
	Captured
	Destination string     // as asked for
	Addr        netip.Addr // that was pinged
	Location    location.Location
	Size        int           // payload bytes
	Elapsed     time.Duration // from the first packet to the end
	Packets     []PingPacket

	verbose bool
}

// PingPacket is the outcome of one packet.
type PingPacket struct {
	PingEvent
	Duplicates int           // further answers to it
	Late       time.Duration // round-trip time of an answer that came after the timeout; 0 if none did

	settled bool
}

// PingEvent is an answer, or that there was none in time.
type PingEvent struct {
	Seq      int          // of the packet, from 1
	Answered bool         // by the destination
	Reply    packet.Reply // also that of a router that refused the packet
	Err      error        // why the packet could not be sent; nil if it was
}

// answers reports whether a reply says that the destination got the packet.
func answers(r packet.Reply, dst netip.Addr) bool {
	return r.Kind.FromDestination() || r.Kind == packet.PortUnreachable && r.From == dst
}

// settled is the packets whose outcome is known.
func settled(packets []PingPacket) []PingPacket {
	return slices.DeleteFunc(packets, func(k PingPacket) bool { return !k.settled })
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

func (r *PingResult) slowest() time.Duration { return SpreadOf(r.RTTs()).Max }

// Oddities counts answers that came in ways they should not: more than one to
// a packet, after a later packet's, after the timeout.
func (r *PingResult) Oddities() (duplicates, reordered, late int) {
	for _, k := range r.Packets {
		duplicates += k.Duplicates
		if k.Answered && k.Reply.OutOfOrder {
			reordered++
		}
		if k.Late > 0 {
			late++
		}
	}
	return duplicates, reordered, late
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

	Duplicates  int              `json:"packet_duplicate,omitempty"`
	Reordered   int              `json:"packet_out_of_order,omitempty"`
	Late        int              `json:"packet_late,omitempty"`
	Deviation   *float64         `json:"mdev_time,omitempty"`
	Jitter      *float64         `json:"jitter_time,omitempty"`
	Percentiles *pingPercentiles `json:"percentile_times,omitempty"`
	TTL         int              `json:"ttl,omitempty"`
	Clock       string           `json:"clock,omitempty"`
	Refused     string           `json:"unreachable,omitempty"`
	Packets     []pingPacketWire `json:"packets,omitempty"`
	Captured
}

type pingPercentiles struct {
	P50 float64 `json:"p50"`
	P90 float64 `json:"p90"`
	P95 float64 `json:"p95"`
	P99 float64 `json:"p99"`
}

type pingPacketWire struct {
	Seq        int      `json:"seq"`
	Outcome    string   `json:"outcome"`
	From       string   `json:"from,omitempty"`
	Time       *float64 `json:"time,omitempty"`
	TTL        int      `json:"ttl,omitempty"`
	Duplicates int      `json:"duplicates,omitempty"`
	OutOfOrder bool     `json:"out_of_order,omitempty"`
	Late       float64  `json:"late_time,omitempty"`
}

// MarshalJSON writes the data of the wire document.
func (r *PingResult) MarshalJSON() ([]byte, error) {
	rtts := r.RTTs()
	w := pingWire{
		Destination: r.Destination, Addr: r.Addr.WithZone(""), Location: r.Location,
		Send: len(r.Packets), Receive: len(rtts), Loss: len(r.Packets) - len(rtts), Size: r.Size,
		Avg: -1, Max: -1, Min: -1, Refused: r.refused(), Captured: r.Captured,
	}
	w.Duplicates, w.Reordered, w.Late = r.Oddities()
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
	w := pingPacketWire{Seq: k.Seq, Outcome: k.Reply.Kind.String(), Duplicates: k.Duplicates, OutOfOrder: k.Reply.OutOfOrder, Late: ms(k.Late)}
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

// heading is the first line of a running ping.
type heading struct{ *PingResult }

func (h heading) String() string {
	return fmt.Sprintf("PING %s (%v) %d(%d) bytes of data.", h.Destination, h.Addr, h.Size, h.Size+headers(h.Addr))
}

// String is one line of a running ping.
func (k PingEvent) String() string {
	switch {
	case k.Err != nil:
		return fmt.Sprintf("seq=%d not sent: %v", k.Seq, k.Err)
	case k.Reply.Kind == packet.NoReply:
		return fmt.Sprintf("no answer to seq=%d", k.Seq)
	case !k.Answered:
		return fmt.Sprintf("From %v: seq=%d %v", k.Reply.From, k.Seq, k.Reply.Kind)
	}
	line := fmt.Sprintf("%d bytes from %v: seq=%d ttl=%d time=%.3f ms", k.payload(), k.Reply.From, k.Seq, k.Reply.TTL, ms(k.Reply.RTT))
	switch {
	case k.Reply.Duplicate:
		line += " (DUP!)"
	case k.Reply.Late:
		line += " (late)"
	case k.Reply.OutOfOrder:
		line += " (out of order)"
	}
	return line
}

// payload is the bytes of an answer above its IP header, as ping counts them.
func (k PingEvent) payload() int {
	return max(k.Reply.Size-headers(k.Reply.From)+8, 0)
}

// WriteText prints the summary that ping's users know.
func (r *PingResult) WriteText(w io.Writer) {
	defer r.Captured.writeText(w)
	rtts := r.RTTs()
	sent, lost := len(r.Packets), len(r.Packets)-len(rtts)
	fmt.Fprintf(w, "\n--- %s ping statistics ---\n%d packets transmitted, %d received", r.Destination, sent, len(rtts))
	duplicates, reordered, late := r.Oddities()
	for _, odd := range []struct {
		n    int
		name string
	}{{duplicates, "duplicates"}, {reordered, "out of order"}, {late, "late"}} {
		if odd.n > 0 {
			fmt.Fprintf(w, ", +%d %s", odd.n, odd.name)
		}
	}
	fmt.Fprintf(w, ", %.4g%% packet loss, time %dms\n", 100*float64(lost)/float64(sent), r.Elapsed.Milliseconds())
	if refused := r.refused(); refused != "" {
		fmt.Fprintln(w, refused)
	}
	if len(rtts) > 0 {
		s := SpreadOf(rtts)
		fmt.Fprintf(w, "rtt min/avg/max/mdev = %.3f/%.3f/%.3f/%.3f ms\n", ms(s.Min), ms(s.Avg), ms(s.Max), ms(s.Deviation))
		fmt.Fprintf(w, "jitter %.3f ms, p50/p90/p95/p99 = %.3f/%.3f/%.3f/%.3f ms\n", ms(s.Jitter), ms(s.P50), ms(s.P90), ms(s.P95), ms(s.P99))
	}
}
