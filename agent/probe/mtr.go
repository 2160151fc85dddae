package probe

import (
	"context"
	"os"
	"time"

	"github.com/natrix-os/natrix/agent/command"
	"github.com/natrix-os/natrix/agent/packet"
)

var mtrInfo = command.Info{
	Wire:    mtrWire{},
	Name:    "mtr",
	Summary: "Loss and round-trip times of every router on the way to a host, round after round",
	Example: "natrix mtr www.example.com\nnatrix mtr -r -c 100 -i 0.2 www.example.com\nnatrix mtr -T -P 443 -o json www.example.com",
}

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

// MTR sends a packet to every hop of a path, round after round. At its start it
// hands an [*MTRScreen] to the progress function of ctx. When ctx ends, the
// result is of what was known by then.
func (p *Prober) MTR(ctx context.Context, destination string, params MTRParams) (*MTRResult, error) {
	if params.Capture != "" {
		return captured(ctx, p, params.Capture, func(ctx context.Context, p *Prober) (*MTRResult, error) {
			params.Capture = ""
			return p.MTR(ctx, destination, params)
		})
	}
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
		return nil, unreachable(err)
	}
	defer time.AfterFunc(reverseLimit, stop).Stop()
	r.names.wait()
	result := r.snapshot()
	return &result, nil
}
