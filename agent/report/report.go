// Package report is what a terminal says about itself to a Natrix server,
// unasked once a minute and once in a while at length, and to people who ask.
package report

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/natrix-os/natrix/agent/location"
	"github.com/natrix-os/natrix/agent/packet"
	"github.com/natrix-os/natrix/sysinfo"
	"github.com/natrix-os/natrix/sysinfo/netif"
)

// Config is what a Reporter is told. Its zero value reports on the machine
// that the program runs on, by the name UNKNOWN for a version.
type Config struct {
	Version string          // of this program, 16 characters at most
	Serial  string          // overrides the machine's own, 64 characters at most
	Machine sysinfo.Machine // the one to report on

	// Sampler measures Machine, if others measure it too; nil makes one.
	Sampler *sysinfo.Sampler

	// Locate says where addresses are.
	Locate location.Finder

	// Targets of the three access flags: addresses, names or URLs. A link has
	// the access if it reaches one of them. Without any it has it as soon as
	// it has an address.
	Intranet, Corporate, Internet []string

	// Pinger asks the targets; the packet engine is one. Without it a target
	// counts as reached if the link has a carrier and the kernel a route to
	// it by that link, which says nothing about what is behind the first hop.
	Pinger pinger

	// Echo lists services that tell a caller its public address, tried in
	// turn: http and https URLs whose answer holds it somewhere, and STUN
	// servers as stun:host:port. Without any, public addresses stay unknown.
	Echo []string
}

// pinger sends one packet and waits for what comes back.
type pinger interface {
	Do(context.Context, packet.Request) (packet.Reply, error)
}

// Reporter makes reports. It is safe for concurrent use.
type Reporter struct {
	config  Config
	sampler *sysinfo.Sampler

	mu     sync.Mutex
	serial string               // once known it stays, whatever links come and go
	public map[string]publicTry // by link name
}

// New returns a Reporter. Public addresses are looked up by its Run or Refresh only.
func New(c Config) *Reporter {
	r := &Reporter{config: c, sampler: c.Sampler, public: make(map[string]publicTry)}
	if r.sampler == nil {
		r.sampler = sysinfo.NewSampler(c.Machine, time.Second)
	}
	return r
}

// Basic is the short report: that the terminal lives, how busy it is, and what
// its links reach.
type Basic struct {
	Time     time.Time
	Version  string
	Serial   string
	Hostname string
	Sample   sysinfo.Sample
	Networks []Network
}

// Advance is the long report: the short one, and what the machine is made of.
type Advance struct {
	Basic
	System     sysinfo.System
	Resolver   sysinfo.Resolver
	Identity   sysinfo.Identity
	CPU        sysinfo.CPU
	Disks      []sysinfo.Disk
	Programs   Programs
	Throttling sysinfo.Throttling // of a Raspberry Pi, 0 elsewhere
}

// Basic makes a short report, in four seconds at most. The error names what
// could not be found out; the report is whole all the same and a server takes
// it, with zero or "UNKNOWN" in the gaps. Only if ctx ended it is worthless.
func (r *Reporter) Basic(ctx context.Context) (Basic, error) {
	a, err := r.make(ctx, r.addNetworks, r.addSystem, r.addSample)
	return a.Basic, err
}

// Advance makes a long report, under the same terms as [Reporter.Basic].
func (r *Reporter) Advance(ctx context.Context) (Advance, error) {
	return r.make(ctx, r.addNetworks, r.addSystem, r.addSample, r.addHardware, r.addPrograms)
}

// A part fills in fields of a report that no other part touches.
type part func(context.Context, *Advance) error

// make makes a report of some parts, all at the same time.
func (r *Reporter) make(ctx context.Context, first part, others ...part) (Advance, error) {
	a := Advance{Basic: Basic{Version: r.config.Version, Serial: r.identify()}}
	errs := make([]error, len(others))
	var wg sync.WaitGroup
	for i, add := range others {
		wg.Go(func() { errs[i] = add(ctx, &a) })
	}
	err := first(ctx, &a) // by the caller's thread: links are those of its namespace
	wg.Wait()
	a.Time = time.Now()
	return a, errors.Join(append(errs, err, ctx.Err())...)
}

func (r *Reporter) addNetworks(ctx context.Context, a *Advance) error {
	links, err := netif.Links()
	a.Networks = r.networks(ctx, links)
	return err
}

func (r *Reporter) addSample(ctx context.Context, a *Advance) (err error) {
	a.Sample, err = r.sampler.Sample(ctx)
	return err
}

func (r *Reporter) addSystem(_ context.Context, a *Advance) (err error) {
	a.System, err = r.config.Machine.System()
	a.Hostname = a.System.Hostname
	a.Resolver, _ = r.config.Machine.Resolver() // no server asks for it
	return err
}

func (r *Reporter) addHardware(_ context.Context, a *Advance) error {
	m := r.config.Machine
	var identity, cpu error
	a.Identity, identity = m.Identity()
	a.CPU, cpu = m.CPU()
	a.Disks, _ = m.Disks()           // an appliance in memory has none,
	a.Throttling, _ = m.Throttling() // and most machines are no Raspberry Pi
	return errors.Join(identity, cpu)
}

// identify returns the number that a server knows this machine by: as
// configured, the machine's own, or the address of its first hardware link.
func (r *Reporter) identify() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.serial == "" {
		r.serial = r.config.Serial
	}
	if r.serial == "" {
		id, _ := r.config.Machine.Identity() // its gaps are in the long report
		r.serial = id.Serial
	}
	if r.serial == "" {
		links, _ := netif.Links()
		r.serial = firstMAC(links)
	}
	return r.serial
}

// firstMAC prefers an address that is burnt into hardware to one that may be
// another after the next boot.
func firstMAC(links []netif.Link) string {
	for _, burnt := range []bool{true, false} {
		for _, l := range links {
			if burnt {
				l.MAC = l.PermanentMAC
			}
			if mac := l.Terminal(); mac != "" && (!burnt || l.Driver == "device") {
				return mac
			}
		}
	}
	return ""
}
