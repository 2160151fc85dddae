package agent

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/natrix-os/natrix/agent/door/amqp"
	"github.com/natrix-os/natrix/agent/spool"
	"github.com/natrix-os/natrix/agent/status"
	"github.com/natrix-os/natrix/sysinfo"
)

// tell has everybody who may ask be told how the agent is doing. That nobody
// can be told is no reason not to be a terminal.
func (a Agent) tell(ctx context.Context, running *sync.WaitGroup, worker *amqp.Worker, results *spool.Spool) {
	began := time.Now()
	now := func() status.Status { return a.status(began, worker, results) }
	serve := func(what string, do func() error) {
		running.Go(func() {
			if err := do(); err != nil {
				a.Log.Warn("no "+what, "err", err)
			}
		})
	}
	if a.Runtime != "" {
		serve("status", func() error { return status.Serve(ctx, a.Runtime, now) })
	}
	if addr := a.Config.Metrics.Listen; addr != "" {
		serve("metrics", func() error { return status.ListenMetrics(ctx, addr, now) })
	}
}

func (a Agent) status(began time.Time, worker *amqp.Worker, results *spool.Spool) status.Status {
	kept := results.State()
	s := status.Status{
		Version: Version, At: time.Now(), Began: began,
		Broker:     worker.Broker(),
		Spool:      status.Spool{Waiting: kept.Waiting, Bytes: kept.Bytes, Dropped: kept.Dropped},
		Counts:     worker.Tally.Counts(),
		Sandbox:    a.Sandboxed,
		Goroutines: runtime.NumGoroutine(),
		Memory:     resident(),
	}
	if kept.Err != nil {
		s.Spool.Err = kept.Err.Error()
	}
	if c, err := (sysinfo.Machine{}).Clock(); err == nil {
		s.Clock = status.Clock{Synchronised: c.Synchronised, Offset: c.Offset.Seconds()}
	}
	for _, j := range a.Config.Schedule {
		s.Schedule = append(s.Schedule, fmt.Sprintf("%s: %s, %s", j.Name, j.When, strings.Join(j.Command, " ")))
	}
	s.Judge()
	return s
}

// resident is this process's memory, in bytes (proc_pid_statm(5)).
func resident() int64 {
	b, _ := os.ReadFile("/proc/self/statm")
	var size, pages int64
	fmt.Sscan(string(b), &size, &pages)
	return pages * int64(os.Getpagesize())
}
