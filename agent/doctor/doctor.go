// Package doctor answers the question "why am I offline?": it asks, from the
// link up to the broker's queue, one question after the other, says of each
// step whether it passed or what to do, and ends with a code that can be read
// out over a telephone.
package doctor

import (
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/natrix-os/natrix/sysinfo/netif"
)

// Limit is how long an examination takes at most.
const Limit = 15 * time.Second

// Config is what the doctor is told about the terminal.
type Config struct {
	Link    string                  // the link to examine; empty: the one that the default route takes, or else the best
	Brokers []string                // URLs, as the agent is told them
	NTP     []string                // time servers; without any only the kernel is asked about its clock
	Servers []netip.Addr            // name servers
	Search  []string                // domains that complete names
	Leases  func() ([]Lease, error) // of the links; nil on a machine whose leases are somebody else's
	Built   time.Time               // the clock cannot be right before then
}

// Lease is what the doctor wants to know of a link's DHCP lease.
type Lease struct {
	Link    string
	Addr    netip.Prefix
	Server  netip.Addr
	Expires time.Time
}

// State is how a step went.
type State int

// The states of a step.
const (
	Passed  State = iota
	Warned        // it works, but somebody should look at it
	Failed        // this keeps the terminal offline
	Skipped       // an earlier step has failed, or the time was over
)

// Finding is the outcome of one step.
type Finding struct {
	Step    Step
	State   State
	Verdict Verdict       // 0 if the step was skipped
	Args    []any         // what the verdict's text is about
	After   Step          // the step whose failure made this one pointless; 0 if the time was over
	Took    time.Duration // that the step took
}

// found is the finding for a verdict.
func found(v Verdict, args ...any) Finding {
	return Finding{Step: v.Step(), State: v.State(), Verdict: v, Args: args}
}

// Report is the outcome of all steps.
type Report struct {
	Findings []Finding // one for each step, in their order
	Kind     netif.Kind
}

// Failed is the first step that failed. It is false if none did.
func (r Report) Failed() (Finding, bool) { return r.first(Failed) }

// first is the first finding of a state.
func (r Report) first(s State) (Finding, bool) {
	for _, f := range r.Findings {
		if f.State == s {
			return f, true
		}
	}
	return Finding{}, false
}

// patient is the terminal, as far as it has been examined.
type patient struct {
	Config
	machine

	link   netif.Link
	source netip.Addr // for IPv4 packets that leave by the link that was asked for; zero to leave it to the routes
	broker broker     // what the steps from Names on have found out about it
}

// machine is how the doctor touches the world.
type machine struct {
	links func() ([]netif.Link, error)
	offer func(ctx context.Context, link netif.Link) (server, addr netip.Addr, err error)
	arp   func(ctx context.Context, link netif.Link, own []string, sender, target netip.Addr) (net.HardwareAddr, error)
	ask   func(ctx context.Context, server netip.Addr, name string) (answer, error)
	hosts func(ctx context.Context, name string) ([]netip.Addr, error)
	time  func(ctx context.Context, server string) (offset time.Duration, err error)
	now   func() time.Time
}

// step is one question: what must have passed before it makes sense, and how
// long it may take.
type step struct {
	step  Step
	needs Step
	limit time.Duration
	ask   func(context.Context) Finding
}

func (p *patient) steps() []step {
	return []step{
		{Link, 0, time.Second, p.examineLink},
		{Carrier, Link, time.Second, p.examineCarrier},
		{Address, Carrier, 4 * time.Second, p.examineAddress},
		{Conflict, Address, 2 * time.Second, p.examineConflict},
		{Gateway, Address, 2 * time.Second, p.examineGateway},
		{Names, Address, 3 * time.Second, p.examineNames},
		{Clock, 0, 2 * time.Second, p.examineClock},
		{Connect, Names, 3 * time.Second, p.examineConnect},
		{TLS, Connect, 3 * time.Second, p.examineTLS},
		{Login, TLS, 4 * time.Second, p.examineLogin},
		{VHost, Login, time.Second, p.examineVHost},
		{Queue, VHost, 2 * time.Second, p.examineQueue},
	}
}

// Examine takes all steps and tells show each finding as it is made. It
// returns within [Limit], and early if ctx ends: the steps that were not taken
// count as skipped.
func Examine(ctx context.Context, c Config, show func(Finding)) Report {
	return examine(ctx, &patient{Config: c, machine: thisMachine()}, show)
}

func examine(ctx context.Context, p *patient, show func(Finding)) Report {
	ctx, cancel := context.WithTimeout(ctx, Limit)
	defer cancel()
	defer p.broker.close()
	var r Report
	bad := make(map[Step]Step) // a step that did not pass, and the failure behind it
	for _, s := range p.steps() {
		f := take(ctx, s, bad)
		if f.State >= Failed {
			bad[s.step] = s.step
			if f.State == Skipped {
				bad[s.step] = f.After
			}
		}
		r.Findings = append(r.Findings, f)
		show(f)
	}
	r.Kind = p.link.Kind
	return r
}

// take takes a step, unless it is pointless.
func take(ctx context.Context, s step, bad map[Step]Step) Finding {
	if after, pointless := bad[s.needs]; pointless {
		return Finding{Step: s.step, State: Skipped, After: after}
	}
	if ctx.Err() != nil {
		return Finding{Step: s.step, State: Skipped}
	}
	ctx, cancel := context.WithTimeout(ctx, s.limit)
	defer cancel()
	begin := time.Now()
	f := s.ask(ctx)
	f.Took = time.Since(begin)
	return f
}
