package agent

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/natrix-os/natrix/agent/command"
	"github.com/natrix-os/natrix/agent/config"
	"github.com/natrix-os/natrix/agent/door/amqp"
	"github.com/natrix-os/natrix/agent/probe"
	"github.com/natrix-os/natrix/agent/report"
	"github.com/natrix-os/natrix/agent/spool"
	"github.com/natrix-os/natrix/sysinfo/netif"
)

// Fleet is many terminals in one process, for those who look after a server:
// each has a MAC address, a serial number, a connection, a queue and reports of
// its own. Their commands are real, and leave by the loopback link.
type Fleet struct {
	Size   int
	Config config.Config
	First  net.HardwareAddr // of the first terminal; the others count on from it
	Ramp   int              // terminals that start in a second; 0 starts all at once
	Log    *slog.Logger

	connected, commands atomic.Int64
}

// Connected is how many terminals have come to consume their queue.
func (f *Fleet) Connected() int { return int(f.connected.Load()) }

// Commands is how many commands all of them were sent.
func (f *Fleet) Commands() int { return int(f.commands.Load()) }

// Run keeps the fleet going until ctx ends.
func (f *Fleet) Run(ctx context.Context) {
	prober := probe.New()
	defer prober.Close()
	reporter := Reporter(f.Config.Network, prober)
	core := command.NewSet(prober.Commands()...).Limited(limits(f.Config.Limits))

	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { reporter.Run(ctx) })
	basic, advance := recent(reporter.Basic), recent(reporter.Advance)
	for n := range f.Size {
		running.Go(func() { f.terminal(n, core, basic, advance).Run(ctx) })
		if f.Ramp > 0 {
			select {
			case <-time.After(time.Second / time.Duration(f.Ramp)):
			case <-ctx.Done():
				return
			}
		}
	}
}

// terminal is the worker of terminal n. The reports are those of this machine.
func (f *Fleet) terminal(n int, core command.Set, basic maker[report.Basic], advance maker[report.Advance]) *amqp.Worker {
	link := netif.Link{Index: n + 1, Name: "lo", Kind: netif.Wired, Up: true, Carrier: true, Default4: true, MAC: f.mac(n)}
	own := func(ctx context.Context) (report.Basic, error) {
		b, err := basic(ctx)
		return disguise(b, link), err
	}
	ownAdvance := func(ctx context.Context) (report.Advance, error) {
		a, err := advance(ctx)
		a.Basic = disguise(a.Basic, link)
		return a, err
	}
	log := f.Log.With("terminal", link.Terminal())
	return &amqp.Worker{
		Config: f.Config.AMQP,
		Core:   core,
		Reports: []amqp.Report{
			{Queue: amqp.BasicQueue, Every: f.Config.AMQP.Basic, Make: document(own, log)},
			{Queue: amqp.AdvanceQueue, Every: f.Config.AMQP.Advance, Make: document(ownAdvance, log)},
		},
		Results:  spool.New(spool.Limits{Bytes: 256 << 10, Delivered: spool.DefaultLimits().Delivered, Age: spool.DefaultLimits().Age}),
		Links:    always(link),
		Log:      log,
		Opened:   sync.OnceFunc(func() { f.connected.Add(1) }),
		Received: func() { f.commands.Add(1) },
	}
}

// maker makes a report.
type maker[R any] func(context.Context) (R, error)

// recent makes a report at most every few seconds, and hands out the last one
// in between.
func recent[R any](fresh maker[R]) maker[R] {
	const lasts = 5 * time.Second
	var mu sync.Mutex
	var made time.Time
	var last R
	var lastErr error
	return func(ctx context.Context) (R, error) {
		mu.Lock()
		defer mu.Unlock()
		if made.IsZero() || time.Since(made) > lasts {
			last, lastErr = fresh(ctx)
			made = time.Now()
		}
		return last, lastErr
	}
}

// mac is the address of terminal n.
func (f *Fleet) mac(n int) net.HardwareAddr {
	var b [8]byte
	copy(b[2:], f.First)
	binary.BigEndian.PutUint64(b[:], binary.BigEndian.Uint64(b[:])+uint64(n))
	return net.HardwareAddr(slices.Clone(b[2:]))
}

// disguise makes the report of this machine that of a terminal of the fleet.
func disguise(b report.Basic, link netif.Link) report.Basic {
	b.Serial = "fleet-" + link.Terminal()
	b.Hostname = fmt.Sprintf("natrix-%x", link.MAC[3:])
	i := slices.IndexFunc(b.Networks, func(n report.Network) bool { return n.Default })
	n := report.Network{Internet: true, Corporate: true, Intranet: true}
	if len(b.Networks) > 0 {
		n = b.Networks[max(i, 0)]
	}
	n.Default = true
	n.Link.Name, n.Link.MAC, n.Link.PermanentMAC, n.Link.Kind = "eth0", link.MAC, link.MAC, link.Kind
	b.Networks = []report.Network{n}
	return b
}

// always yields the one link, and then nothing until ctx ends.
func always(link netif.Link) func(context.Context) iter.Seq2[[]netif.Link, error] {
	return func(ctx context.Context) iter.Seq2[[]netif.Link, error] {
		return func(yield func([]netif.Link, error) bool) {
			if yield([]netif.Link{link}, nil) {
				<-ctx.Done()
			}
		}
	}
}
