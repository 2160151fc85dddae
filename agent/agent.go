// Package agent is the terminal: it builds the core, opens the doors and keeps
// them open.
package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/natrix-os/natrix/agent/command"
	"github.com/natrix-os/natrix/agent/config"
	"github.com/natrix-os/natrix/agent/door/amqp"
	"github.com/natrix-os/natrix/agent/door/rtstat"
	"github.com/natrix-os/natrix/agent/execute"
	"github.com/natrix-os/natrix/agent/location"
	"github.com/natrix-os/natrix/agent/probe"
	"github.com/natrix-os/natrix/agent/report"
	"github.com/natrix-os/natrix/agent/schedule"
	"github.com/natrix-os/natrix/agent/spool"
	"github.com/natrix-os/natrix/agent/status"
	"github.com/natrix-os/natrix/sysinfo"
	"github.com/natrix-os/natrix/sysinfo/netif"
)

// Version is what the terminal calls itself, to servers too: at most 16
// characters, and later than the original client's 0.1.
const Version = "0.2.0"

// The milestones of a terminal's start, as Agent.Reached is told of them.
const (
	PhaseBroker  = "broker"  // the queues are being consumed
	PhaseCommand = "command" // the first command came in
)

// Agent is a terminal that is about to run.
type Agent struct {
	Config    config.Config
	Log       *slog.Logger
	Places    spool.Places         // where results are kept beside memory; none is fine
	Alive     func()               // called every few seconds while nothing is stuck; may be nil
	Reached   func(phase string)   // called at most once for each milestone; may be nil
	Further   []command.Definition // commands of this machine besides the probes
	Runtime   string               // directory for the socket that tells the status; "" for none
	Sandboxed bool                 // whether the process has given up what it does not need

	// Executor runs what the policy of BasicAgent allows; nil refuses it all.
	Executor *execute.Executor

	// ClockFloor is a time at which this program cannot have run: a clock that
	// says less was never set, and is waited for. Zero is that of this version.
	ClockFloor time.Time
}

// Run opens the doors that the configuration names and keeps them open until
// ctx ends.
func (a Agent) Run(ctx context.Context) error {
	if len(a.Config.AMQP.URLs) == 0 && a.Config.Zabbix.Mode == "" && !a.Config.BasicAgent.Open {
		return errors.New("no broker is configured: set host, username and password under [RABBITMQ], or url; or natrix.broker= on the kernel command line")
	}
	if err := waitForClock(ctx, a.ClockFloor, a.Log); err != nil {
		return err
	}
	results, err := spool.Open(spoolLimits(memory()), a.Places)
	if err != nil {
		a.Log.Warn("results are kept in memory alone", "err", err)
	}
	defer results.Close()
	locations := a.locations()
	defer locations.Close()
	prober := probe.New()
	defer prober.Close()
	prober.Captures = a.Config.Capture.Directory
	prober.Locations = locations.Finder()
	reporter := Reporter(a.Config.Network, prober)

	recent := new(rtstat.Recent)
	core := clocked{command.NewSet(append(prober.Commands(), a.Further...)...).Limited(limits(a.Config.Limits)), a.noting(recent)}
	worker := &amqp.Worker{
		Config: a.Config.AMQP,
		Core:   clocked{a.granted(core.Set), core.note},
		Reports: []amqp.Report{
			{Queue: amqp.BasicQueue, Every: a.Config.AMQP.Basic, Make: document(reporter.Basic, a.Log)},
			{Queue: amqp.AdvanceQueue, Every: a.Config.AMQP.Advance, Make: document(reporter.Advance, a.Log)},
		},
		Results:  results,
		Links:    netif.Watch,
		Log:      a.Log.With("door", "amqp"),
		Tally:    new(status.Tally),
		Opened:   a.milestone(PhaseBroker),
		Received: a.milestone(PhaseCommand),
	}
	timetable := schedule.Schedule{Core: core, Results: results, Terminal: defaultTerminal, Log: a.Log.With("door", "schedule")}
	if err := timetable.Add(core.Set, a.Config.Schedule); err != nil {
		a.Log.Error("some of the schedule will not run", "err", err)
	}
	var running sync.WaitGroup
	defer running.Wait()
	a.tell(ctx, &running, worker, results)
	if a.Alive != nil {
		running.Go(func() { Pulse(ctx, a.Log, a.Alive, worker.Stuck) })
	}
	running.Go(func() { a.live(ctx, core.Set, recent, standing(worker, results)) })
	running.Go(func() { timetable.Run(ctx) })
	running.Go(func() { reporter.Run(ctx) })
	running.Go(func() { results.Run(ctx) })
	running.Go(func() { a.zabbix(ctx, core.Set) })
	if a.Config.BasicAgent.Open {
		running.Go(func() { a.runBasicAgent(ctx, core.Set) })
	}
	if len(a.Config.AMQP.URLs) == 0 {
		<-ctx.Done()
		return nil
	}
	return worker.Run(ctx)
}

// granted are the commands that the server may give.
func (a Agent) granted(all command.Set) command.Set {
	names := a.Config.AMQP.Commands
	if names == nil {
		return all
	}
	for _, name := range names {
		if _, found := all.Lookup(name); !found {
			a.Log.Error("no such command, under [RABBITMQ] commands", "cmd", name)
		}
	}
	return all.Only(names...)
}

// locations is the data that says where addresses are. A terminal without any
// is one all the same.
func (a Agent) locations() *location.Data {
	data, err := location.Open(a.Config.Location.Data...)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		a.Log.Info("no location data", "err", err)
	case err != nil:
		a.Log.Warn("location data", "err", err)
	}
	return data
}

// memory is that of the machine in bytes: of the smallest, if it does not tell.
func memory() uint64 {
	if m, err := (sysinfo.Machine{}).Memory(); err == nil {
		return m.Total
	}
	return 96 << 20
}

// MemoryLimit is what the Go runtime should keep the agent below, as far as it
// can: a quarter of the machine.
func MemoryLimit() int64 { return int64(min(max(memory()/4, 24<<20), 256<<20)) }

// spoolLimits has results take a small part of the machine's memory.
func spoolLimits(memory uint64) spool.Limits {
	l := spool.DefaultLimits()
	l.Bytes = min(l.Bytes, int(memory/32))
	return l
}

// limits are those of the configuration, or what suits this machine.
func limits(c config.Limits) command.Limits {
	l := command.DefaultLimits(runtime.GOMAXPROCS(0), memory())
	if c.Commands > 0 {
		l.Capacity, l.Heavy = c.Commands, (c.Commands+1)/2
	}
	if c.Heavy > 0 {
		l.Heavy = c.Heavy
	}
	return l
}

// Reporter makes the reports of this machine. It asks the targets of the access
// checks through the prober.
func Reporter(targets config.Network, prober *probe.Prober) *report.Reporter {
	return report.New(report.Config{
		Version:   Version,
		Intranet:  targets.Intranet,
		Corporate: targets.Corporate,
		Internet:  targets.Internet,
		Echo:      targets.Echo,
		Pinger:    prober,
		Locate:    prober.Locations,
	})
}

// defaultTerminal is the terminal id of the link that the default route leaves
// by, or of the first: "" without any.
func defaultTerminal() string {
	all, _ := netif.Links() // without links there is no id
	links := netif.Terminals(all)
	i := slices.IndexFunc(links, func(l netif.Link) bool { return l.Default4 || l.Default6 })
	if len(links) == 0 {
		return ""
	}
	return links[max(i, 0)].Terminal()
}

// milestone is a function that reports the milestone once.
func (a Agent) milestone(phase string) func() {
	return sync.OnceFunc(func() {
		if a.Reached != nil {
			a.Reached(phase)
		}
	})
}

// document makes a report what the server gets. A report with gaps is still one.
func document[R json.Marshaler](make func(context.Context) (R, error), log *slog.Logger) func(context.Context) ([]byte, error) {
	return func(ctx context.Context) ([]byte, error) {
		r, err := make(ctx)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			log.Debug("report has gaps", "err", err)
		}
		body, err := json.Marshal(r)
		if err != nil {
			return nil, fmt.Errorf("write report: %w", err)
		}
		return body, nil
	}
}
