// Package getinfo is what a terminal tells of its machine to who asks by name:
// the documents of BasicAgent's getinfo methods.
package getinfo

import (
	"context"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/natrix-os/natrix/agent/door/basicagent/wire"
	"github.com/natrix-os/natrix/sysinfo"
	"github.com/natrix-os/natrix/sysinfo/netif"
	"golang.org/x/sys/unix"
)

// Collector answers for one machine. It is safe for concurrent use.
type Collector struct {
	Version string
	Machine sysinfo.Machine
	Sampler *sysinfo.Sampler // shared with who else samples the machine
	Etc     string           // directory of passwd, group and shadow; "" is /etc

	begun time.Time
}

// New returns a collector for this machine.
func New(version string) *Collector {
	return &Collector{Version: version, Sampler: sysinfo.NewSampler(sysinfo.Machine{}, time.Second), begun: time.Now()}
}

// Collect returns the document of a subject, such as kernel or users. The error
// is a *wire.Failure where the question is wrong.
func (c *Collector) Collect(ctx context.Context, subject string, args []string) (any, error) {
	if subject == "users" {
		return c.users(args)
	}
	if len(args) > 0 {
		return nil, wire.Fail(wire.InvalidParams, "%s takes no arguments", subject)
	}
	switch subject {
	case "kernel":
		return c.kernel()
	case "memory":
		return c.memory()
	case "disk":
		return c.disk()
	case "net":
		return c.net()
	case "host":
		return c.host()
	case "agent":
		return c.agent(), nil
	case "clock":
		return c.clock()
	case "temperature":
		return c.temperature()
	}
	return nil, wire.Fail(wire.UnknownMethod, "getinfo.%.60s", subject)
}

type kernel struct {
	Sysname  string `json:"sysname"`
	Nodename string `json:"nodename"`
	Release  string `json:"release"`
	Version  string `json:"version"`
	Machine  string `json:"machine"`
	Hostname string `json:"hostname"`
	BootID   string `json:"boot_id"`
	Uptime   int64  `json:"uptime"` // s
	Boot     int64  `json:"btime"`  // s since 1970
}

// kernel is uname(2) and what goes with it.
func (c *Collector) kernel() (any, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return nil, os.NewSyscallError("uname", err)
	}
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		return nil, os.NewSyscallError("clock_gettime", err)
	}
	hostname, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, err
	}
	text := func(b []byte) string { return unix.ByteSliceToString(b) }
	return kernel{
		text(u.Sysname[:]), text(u.Nodename[:]), text(u.Release[:]), text(u.Version[:]), text(u.Machine[:]),
		hostname, strings.TrimSpace(string(id)), int64(up.Sec), time.Now().Unix() - int64(up.Sec),
	}, nil
}

type memory struct {
	Total     uint64 `json:"total"` // bytes, all of them
	Free      uint64 `json:"free"`
	Available uint64 `json:"available"`
	Used      uint64 `json:"used"`
	Buffers   uint64 `json:"buffers"`
	Cached    uint64 `json:"cached"`
	SwapTotal uint64 `json:"swap_total"`
	SwapFree  uint64 `json:"swap_free"`
}

func (c *Collector) memory() (any, error) {
	m, err := c.Machine.Memory()
	return memory{m.Total, m.Free, m.Available, m.Used(), m.Buffers, m.Cached, m.SwapTotal, m.SwapFree}, err
}

type space struct {
	Total     uint64 `json:"total"` // bytes, all of them
	Used      uint64 `json:"used"`
	Available uint64 `json:"available"`
}

type disk struct {
	Name      string `json:"name"`
	Model     string `json:"model"`
	Serial    string `json:"serial"`
	Size      uint64 `json:"size"` // bytes
	Removable bool   `json:"removable"`
}

func (c *Collector) disk() (any, error) {
	root, err := c.Machine.Space("/")
	if err != nil {
		return nil, err
	}
	disks, err := c.Machine.Disks()
	all := make([]disk, 0, len(disks))
	for _, d := range disks {
		all = append(all, disk{d.Name, d.Model, d.Serial, d.Size, d.Removable})
	}
	return map[string]any{"root": space{root.Total, root.Used, root.Available}, "disks": all}, err
}

type link struct {
	Name      string   `json:"name"`
	MAC       string   `json:"mac"`
	Kind      string   `json:"kind"`
	Up        bool     `json:"up"`
	Carrier   bool     `json:"carrier"`
	MTU       int      `json:"mtu"`
	Addresses []string `json:"addresses"`
	Gateway4  string   `json:"gateway4,omitempty"`
	Gateway6  string   `json:"gateway6,omitempty"`
	RxBytes   uint64   `json:"rx_bytes"`
	TxBytes   uint64   `json:"tx_bytes"`
}

func (c *Collector) net() (any, error) {
	links, err := netif.Links()
	all := make([]link, 0, len(links))
	for _, l := range links {
		one := link{
			Name: l.Name, MAC: l.MAC.String(), Kind: string(l.Kind), Up: l.Up, Carrier: l.Carrier, MTU: l.MTU,
			Addresses: []string{}, RxBytes: l.Counters.RxBytes, TxBytes: l.Counters.TxBytes,
		}
		for _, a := range l.Addrs {
			one.Addresses = append(one.Addresses, a.String())
		}
		if l.Gateway4.IsValid() {
			one.Gateway4 = l.Gateway4.String()
		}
		if l.Gateway6.IsValid() {
			one.Gateway6 = l.Gateway6.String()
		}
		all = append(all, one)
	}
	return map[string]any{"links": all}, err
}

// host is the machine. What it does not tell is empty.
func (c *Collector) host() (any, error) {
	s, err := c.Machine.System()
	if err != nil {
		return nil, err
	}
	id, _ := c.Machine.Identity() // many machines have none
	cpu, _ := c.Machine.CPU()
	load, _ := c.Machine.Load()
	return map[string]any{
		"hostname": s.Hostname, "system": s.Name, "arch": s.Arch, "serial": id.Serial, "product": id.Product, "vendor": id.Vendor,
		"cpu": cpu.Model, "cores": cpu.Cores, "load": []float64{load.One, load.Five, load.Fifteen},
	}, nil
}

func (c *Collector) agent() any {
	var usage unix.Rusage
	unix.Getrusage(unix.RUSAGE_SELF, &usage) // it cannot fail for oneself
	return map[string]any{
		"version": c.Version, "pid": os.Getpid(), "go": runtime.Version(), "goroutines": runtime.NumGoroutine(),
		"uptime": int64(time.Since(c.begun).Seconds()), "max_rss": int64(usage.Maxrss) << 10,
	}
}

func (c *Collector) clock() (any, error) {
	k, err := c.Machine.Clock()
	return map[string]any{
		"time": time.Now().Unix(), "synchronised": k.Synchronised,
		"offset_ms": k.Offset.Seconds() * 1000, "max_error_ms": k.MaxError.Seconds() * 1000,
	}, err
}

func (c *Collector) temperature() (any, error) {
	all, err := c.Machine.Temperatures()
	if len(all) == 0 {
		return nil, wire.Fail(wire.NotAvailable, "no sensor")
	}
	sensors := make([]map[string]any, len(all))
	for i, t := range all {
		sensors[i] = map[string]any{"sensor": t.Sensor, "celsius": t.Celsius}
	}
	return map[string]any{"sensors": sensors}, err
}
