package probe

import (
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/natrix-os/natrix/agent/packet"
)

// historySize is how many of the last outcomes a hub remembers, a power of two.
const (
	historySize = 256
	historyMask = historySize - 1
)

// Hub is what mtr knows of one distance.
type Hub struct {
	TTL        int
	Addrs      []netip.Addr // that answered, the latest first
	Name       string       // of the first; its address if it has none
	Sent       int
	Received   int
	Duplicates int
	Last       time.Duration
	Best       time.Duration
	Worst      time.Duration
	Avg        time.Duration
	Deviation  time.Duration // standard deviation of the sample
	Jitter     time.Duration // difference of the last two round-trip times
	JitterAvg  time.Duration
	JitterMax  time.Duration
	JitterRTP  time.Duration // smoothed as in RFC 3550 section 6.4.1
	MPLS       []packet.Label
	Annotation string // "!H" and the like, of the last answer

	mean, squares, jitters, rtp float64 // nanoseconds; squares of the differences from mean

	pending int
	end     bool                       // the last answer ended the path
	history [historySize]time.Duration // by number of packet; see outcome
}

// Outcomes of packets that have no round-trip time.
const (
	unsent time.Duration = -iota
	underWay
	lost
)

// depart books a packet as sent.
func (h *Hub) depart() {
	h.Sent++
	h.pending++
	h.history[h.Sent&historyMask] = underWay
}

// book takes down what packet number met; end says that it ends the path.
func (h *Hub) book(number int, r packet.Reply, end bool) {
	h.pending--
	if r.Kind == packet.NoReply {
		h.history[number] = lost
		return
	}
	h.history[number] = max(r.RTT, 1)
	h.end, h.MPLS, h.Annotation = end, r.MPLS, annotation(r.Kind)
	if i := slices.Index(h.Addrs, r.From); i != 0 {
		if i > 0 {
			h.Addrs = slices.Delete(h.Addrs, i, i+1)
		}
		h.Addrs = slices.Insert(h.Addrs, 0, r.From)
	}
	h.measure(r.RTT)
}

// measure adds a round-trip time to the statistics (Welford's method).
func (h *Hub) measure(rtt time.Duration) {
	h.Received++
	n, x := float64(h.Received), float64(rtt)
	if h.Received == 1 {
		h.Best, h.Worst = rtt, rtt
	} else {
		h.Jitter = (rtt - h.Last).Abs()
		h.JitterMax = max(h.JitterMax, h.Jitter)
		h.jitters += float64(h.Jitter)
		h.rtp += (float64(h.Jitter) - h.rtp) / 16
		h.JitterAvg, h.JitterRTP = time.Duration(h.jitters/(n-1)), time.Duration(h.rtp)
	}
	h.Last, h.Best, h.Worst = rtt, min(h.Best, rtt), max(h.Worst, rtt)
	delta := x - h.mean
	h.mean += delta / n
	h.squares += delta * (x - h.mean)
	h.Avg, h.Deviation = time.Duration(h.mean), time.Duration(math.Sqrt(h.squares/max(n-1, 1)))
}

// Addr is the address that answered last.
func (h Hub) Addr() (netip.Addr, bool) {
	if len(h.Addrs) == 0 {
		return netip.Addr{}, false
	}
	return h.Addrs[0], true
}

// Loss is the share of packets that were not answered, 0 to 1; packets whose
// answer may still come do not count.
func (h Hub) Loss() float64 {
	settled := h.Sent - h.pending
	switch {
	case settled > 0:
		return 1 - float64(h.Received)/float64(settled)
	case h.Sent > 0:
		return 1
	}
	return 0
}

// last is the outcomes of the last n packets, oldest first.
func (h Hub) last(n int) []time.Duration {
	n = min(n, h.Sent, historySize-1)
	outcomes := make([]time.Duration, n)
	for i := range outcomes {
		outcomes[i] = h.history[(h.Sent-n+1+i)&historyMask]
	}
	return outcomes
}
