package agent

import (
	"context"
	"time"

	"github.com/natrix-os/natrix/agent/command"
	"github.com/natrix-os/natrix/agent/door/amqp"
	"github.com/natrix-os/natrix/agent/door/rtstat"
	"github.com/natrix-os/natrix/agent/spool"
	"github.com/natrix-os/natrix/sysinfo"
)

// fresh is how old a sample of the machine may be that the live door shows.
const fresh = 200 * time.Millisecond

// Live is a live door for this machine, which is yet to be configured.
func Live(core command.Set) *rtstat.Server {
	return &rtstat.Server{Core: core, Sampler: sysinfo.NewSampler(sysinfo.Machine{}, fresh), Version: Version}
}

// live keeps the live door open until ctx ends, if the configuration has one.
func (a Agent) live(ctx context.Context, core command.Set, recent *rtstat.Recent, state func() rtstat.State) {
	if !a.isLive() {
		return
	}
	door := Live(core)
	door.Config, door.Recent, door.State, door.Log = a.Config.Live, recent, state, a.Log.With("door", "rtstat")
	pause := time.Second
	for ctx.Err() == nil {
		err := door.Run(ctx)
		if ctx.Err() != nil {
			return
		}
		a.Log.Warn("live door", "err", err, "again", pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		pause = min(2*pause, time.Minute)
	}
}

func (a Agent) isLive() bool { return a.Config.Live.Listen != "" || a.Config.Live.Raw != "" }

// noting notes results for the live door, nil if there is none.
func (a Agent) noting(recent *rtstat.Recent) func(command.Result) {
	if !a.isLive() {
		return nil
	}
	return recent.Add
}

// standing tells how the terminal stands with its server.
func standing(worker *amqp.Worker, results *spool.Spool) func() rtstat.State {
	return func() rtstat.State {
		kept := results.State()
		s := rtstat.State{Broker: "away", Waiting: kept.Waiting, Bytes: kept.Bytes, Dropped: kept.Dropped, Stuck: worker.Stuck()}
		if worker.Consuming() {
			s.Broker = "connected"
		}
		return s
	}
}
