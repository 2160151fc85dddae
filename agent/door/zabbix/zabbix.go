// Package zabbix is the door through which the terminal is a Zabbix proxy: it
// takes the items of monitored hosts from a Zabbix server, polls them on time,
// keeps their values while the server is away, and delivers each of them once.
package zabbix

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/natrix-os/natrix/agent/command"
	"github.com/natrix-os/natrix/agent/config"
	"github.com/natrix-os/natrix/agent/spool"
	"github.com/natrix-os/natrix/sysinfo"
)

// Door is a proxy that is about to run.
type Door struct {
	Config  config.Zabbix
	Core    command.Set // what items can measure
	Machine sysinfo.Machine
	Version string // of the terminal, as agent.version tells it
	Dir     string // where values and the configuration survive the process; "" for nowhere
	Log     *slog.Logger
}

// proxy is a Door that runs.
type proxy struct {
	Door
	session string
	values  *spool.Queue // history data: see appendValue
	rows    *spool.Queue // discovery, autoregistration and results of tasks: see section
	speaks  atomic.Value // dialect

	poller *poller
	states *states // of interfaces

	mu       sync.Mutex
	tables   tables    // the configuration as it came
	current  *snapshot // the same, ready to be run
	revision uint64    // of a configuration from 6.4 on
	refused  int       // packets in a row
	process  *processor

	sending sync.Mutex // one dialogue about data at a time
}

// dialect is the protocol's version, which the proxy must have in common with
// its server.
type dialect string

const (
	legacy    dialect = "6.0" // complete configurations, and heartbeats
	revisions dialect = "7.0" // configurations by revision
)

// announced is what the proxy says it is: servers look at the first two numbers.
func (d dialect) announced() string { return string(d) + ".0" }

// Run is the proxy until ctx ends.
func (d Door) Run(ctx context.Context) error {
	p, err := d.open()
	if err != nil {
		return err
	}
	defer p.close()
	identity, err := loadIdentity(d.Config)
	if err != nil {
		return err
	}
	p.restore()
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if address := p.listens(); address != "" {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return fmt.Errorf("listen for the Zabbix server: %w", err)
		}
		running.Go(func() { p.serve(ctx, l, identity) })
	}
	running.Go(func() { p.poller.run(ctx) })
	running.Go(func() { p.discover(ctx) })
	running.Go(func() { p.keep(ctx) })
	if d.Config.Mode == "active" {
		c := &caller{proxy: p, identity: identity}
		running.Go(func() { c.configure(ctx) })
		running.Go(func() { c.heartbeat(ctx) })
		c.deliver(ctx)
	}
	<-ctx.Done()
	return nil
}

// open checks what the configuration must say, and opens the queues.
func (d Door) open() (*proxy, error) {
	switch {
	case d.Config.Mode == "active" && len(d.Config.Servers) == 0:
		return nil, errors.New("an active Zabbix proxy needs [ZABBIX] server")
	case d.Config.Mode == "active" && d.Config.Hostname == "":
		return nil, errors.New("an active Zabbix proxy needs [ZABBIX] hostname, as the server has it")
	case d.Config.Mode == "passive" && len(d.Config.Allowed) == 0:
		return nil, errors.New("a passive Zabbix proxy needs [ZABBIX] allowed_server: it answers nobody else")
	}
	p := &proxy{Door: d, tables: tables{}, states: newStates(), process: newProcessor()}
	p.current, _ = build(p.tables)
	p.speaks.Store(legacy)
	if d.Config.Protocol == string(revisions) {
		p.speaks.Store(revisions)
	}
	var err error
	if p.values, err = spool.OpenQueue(below(d.Dir, "values"), int64(d.Config.Buffer)<<20); err != nil {
		return nil, err
	}
	if p.rows, err = spool.OpenQueue(below(d.Dir, "rows"), 4<<20); err != nil {
		p.values.Close()
		return nil, err
	}
	// The session goes with the numbers of the values, so that the server knows
	// a value again that it got from this process before it was killed.
	if p.session, err = p.values.Token(newSession); err != nil {
		d.Log.Warn("the Zabbix session does not survive", "err", err)
	}
	p.poller = newPoller(p)
	return p, nil
}

func (p *proxy) close() {
	if err := errors.Join(p.values.Close(), p.rows.Close()); err != nil {
		p.Log.Warn("values that wait for the Zabbix server", "err", err)
	}
}

func below(dir, name string) string {
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, name)
}

// newSession makes a token of the length that servers demand.
func newSession() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// listens is where others may call this proxy; "" for nowhere.
func (p *proxy) listens() string {
	if p.Config.Listen == "" && p.Config.Mode == "passive" {
		return ":10051"
	}
	return p.Config.Listen
}

// keep has what was queued written to the disk, once a second, until ctx ends.
func (p *proxy) keep(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	var dropped uint64
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		if err := errors.Join(p.values.Sync(), p.rows.Sync()); err != nil {
			p.Log.Error("values would not survive a power cut", "err", err)
		}
		if n := p.values.Dropped(); n > dropped {
			p.Log.Warn("the oldest values were dropped, because the server is away for too long", "values", n-dropped)
			dropped = n
		}
	}
}

// snapshot is the configuration at this moment.
func (p *proxy) snapshot() *snapshot {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.current
}

func (p *proxy) dialect() dialect { return p.speaks.Load().(dialect) }
