// Package probe measures networks: ping, traceroute, mtr, dns, http and whole
// pages. Each probe is a method of Prober with typed parameters and a typed
// result, and a command that doors can run.
//
//	p := probe.New()
//	defer p.Close()
//	result, err := p.Ping(ctx, "www.example.com", probe.DefaultPing())
package probe

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"sync"
	"time"

	"github.com/natrix-os/natrix/agent/command"
	"github.com/natrix-os/natrix/agent/location"
	"github.com/natrix-os/natrix/agent/packet"
	"golang.org/x/sys/unix"
)

// sender sends packets and brings their answers.
type sender interface {
	Do(context.Context, packet.Request) (packet.Reply, error)
	NewStream(size int) stream
	Close() error
}

// engine is a packet.Engine as a sender.
type engine struct{ *packet.Engine }

func (e engine) NewStream(size int) stream { return e.Engine.NewStream(size) }

// Prober runs probes, any number at a time. Its sockets for packets are opened
// by the first probe that needs them, because dns and http work without the
// privilege that they take.
type Prober struct {
	Locations location.Finder // where addresses are; the zero Finder knows private ones
	Captures  string          // directory for packets that remote parties want captured; "" refuses them

	open  func() (sender, error)
	roots certificates // whom name servers' certificates are of; nil is the system's choice

	mu     sync.Mutex
	engine sender
	closed bool
}

// New is a Prober on the network namespace of this process. Close it.
func New() *Prober {
	return &Prober{open: func() (sender, error) {
		e, err := packet.Open(packet.Options{})
		return engine{e}, err
	}}
}

// Close ends the probes that are under way and frees the sockets.
func (p *Prober) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if p.engine == nil {
		return nil
	}
	return p.engine.Close()
}

// Commands are the probes as commands for doors.
func (p *Prober) Commands() []command.Definition {
	return []command.Definition{
		command.Define(pingInfo, DefaultPing, p.Ping),
		command.Define(tracerouteInfo, DefaultTraceroute, p.Traceroute),
		command.Define(dnsInfo, DefaultDNS, p.DNS),
		command.Define(httpInfo, DefaultHTTP, p.HTTP),
		command.Define(performanceInfo, DefaultPerformance, p.Performance),
		command.Define(mtrInfo, DefaultMTR, p.MTR),
	}
}

// Do sends one packet, for those who need less than a probe.
func (p *Prober) Do(ctx context.Context, r packet.Request) (packet.Reply, error) {
	engine, err := p.sender()
	if err != nil {
		return packet.Reply{}, err
	}
	return engine.Do(ctx, r)
}

// sender opens the sockets if they are not open yet.
func (p *Prober) sender() (sender, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errors.New("prober is closed")
	}
	if p.engine == nil {
		e, err := p.open()
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
			return nil, fmt.Errorf("%w: %w (needs root or CAP_NET_RAW)", command.ErrPermission, err)
		}
		if err != nil {
			return nil, err
		}
		p.engine = e
	}
	return p.engine, nil
}

// ms is a duration in the milliseconds of the wire, to the microsecond.
func ms(d time.Duration) float64 {
	return math.Round(float64(d)/float64(time.Microsecond)) / 1000
}

// located is an address and where it is, as the wire has it.
type located struct {
	IP       netip.Addr        `json:"ip"`
	Location location.Location `json:"location"`
}
