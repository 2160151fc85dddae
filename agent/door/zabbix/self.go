package zabbix

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/natrix-os/natrix/sysinfo/netif"
)

// self answers an item of the agent of this machine.
func (p *proxy) self(ctx context.Context, k key) (string, error) {
	for _, answer := range []struct {
		name string
		of   func(context.Context, key) (string, error)
	}{
		{"agent.ping", func(context.Context, key) (string, error) { return "1", nil }},
		{"agent.hostname", func(context.Context, key) (string, error) { return p.Config.Hostname, nil }},
		{"agent.version", func(context.Context, key) (string, error) { return p.Version, nil }},
		{"agent.variant", func(context.Context, key) (string, error) { return "1", nil }},
		{"system.hostname", p.systemHostname},
		{"system.uname", p.systemUname},
		{"system.sw.arch", p.systemArch},
		{"system.uptime", p.systemUptime},
		{"system.boottime", p.systemBoot},
		{"system.localtime", func(context.Context, key) (string, error) { return fmt.Sprint(time.Now().Unix()), nil }},
		{"system.cpu.load", p.cpuLoad},
		{"system.cpu.num", p.cpuNumber},
		{"system.cpu.util", p.cpuUsage},
		{"system.cpu.switches", p.cpuSwitches},
		{"system.swap.size", p.swapSize},
		{"vm.memory.size", p.memorySize},
		{"vfs.fs.size", p.fsSize},
		{"net.if.in", p.netIn},
		{"net.if.out", p.netOut},
		{"net.if.total", p.netTotal},
		{"net.if.list", p.netList},
		{"net.if.discovery", p.netDiscovery},
		{"net.dns", p.dns},
		{"net.dns.record", p.dnsRecord},
		{"net.tcp.port", p.tcpPort},
		{"net.tcp.service", func(ctx context.Context, k key) (string, error) { return service(ctx, k, "127.0.0.1") }},
		{"net.tcp.service.perf", func(ctx context.Context, k key) (string, error) { return service(ctx, k, "127.0.0.1") }},
		{"net.udp.service", func(ctx context.Context, k key) (string, error) { return service(ctx, k, "127.0.0.1") }},
		{"net.udp.service.perf", func(ctx context.Context, k key) (string, error) { return service(ctx, k, "127.0.0.1") }},
		{"web.page.get", p.webPage},
		{"web.page.perf", p.webPage},
		{"web.page.regexp", p.webPage},
		{"proc.num", p.processes},
		{"kernel.maxfiles", p.kernelLimit("fs/file-max")},
		{"kernel.maxproc", p.kernelLimit("kernel/pid_max")},
		{"kernel.openfiles", p.openFiles},
	} {
		if answer.name == k.name {
			return answer.of(ctx, k)
		}
	}
	return "", unsupported("Unsupported item key.")
}

var errFirst, errSecond = errors.New("Invalid first parameter."), errors.New("Invalid second parameter.")

func (p *proxy) systemHostname(context.Context, key) (string, error) {
	s, err := p.Machine.System()
	return s.Hostname, ifEmpty(s.Hostname, err)
}

func (p *proxy) systemUname(context.Context, key) (string, error) {
	s, err := p.Machine.System()
	return strings.Join([]string{s.Type, s.Hostname, s.Kernel, s.Arch}, " "), ifEmpty(s.Kernel, err)
}

func (p *proxy) systemArch(context.Context, key) (string, error) {
	s, err := p.Machine.System()
	return s.Arch, ifEmpty(s.Arch, err)
}

// ifEmpty is an error that only counts when there is no value: results of
// sysinfo may have gaps.
func ifEmpty(text string, err error) error {
	if text != "" {
		return nil
	}
	if err == nil {
		return unsupported("this machine does not tell")
	}
	return err
}

func (p *proxy) systemUptime(context.Context, key) (string, error) {
	up, err := p.Machine.Uptime()
	return strconv.FormatInt(int64(up/time.Second), 10), err
}

func (p *proxy) systemBoot(context.Context, key) (string, error) {
	s, err := p.Machine.Stat()
	return strconv.FormatInt(s.Boot.Unix(), 10), err
}

func (p *proxy) cpuLoad(_ context.Context, k key) (string, error) {
	l, err := p.Machine.Load()
	if err != nil {
		return "", err
	}
	average, ok := map[string]float64{"": l.One, "avg1": l.One, "avg5": l.Five, "avg15": l.Fifteen}[k.param(1)]
	if !ok {
		return "", errSecond
	}
	switch k.param(0) {
	case "", "all":
	case "percpu":
		s, err := p.Machine.Stat()
		if err != nil {
			return "", err
		}
		average /= float64(max(len(s.Cores), 1))
	default:
		return "", errFirst
	}
	return strconv.FormatFloat(average, 'f', 6, 64), nil
}

func (p *proxy) cpuNumber(context.Context, key) (string, error) {
	s, err := p.Machine.Stat()
	return strconv.Itoa(len(s.Cores)), err
}

func (p *proxy) cpuSwitches(context.Context, key) (string, error) {
	s, err := p.Machine.Stat()
	return strconv.FormatUint(s.ContextSwitches, 10), err
}

// cpuUsage is the share of a second that begins now.
func (p *proxy) cpuUsage(ctx context.Context, k key) (string, error) {
	if c := k.param(0); c != "" && c != "all" {
		return "", errFirst
	}
	before, err := p.Machine.Stat()
	if err != nil {
		return "", err
	}
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		return "", ctx.Err()
	}
	after, err := p.Machine.Stat()
	if err != nil {
		return "", err
	}
	u := after.Total.Usage(before.Total)
	share, ok := map[string]float64{"": u.User, "user": u.User, "system": u.System, "iowait": u.IOWait, "steal": u.Steal, "idle": 1 - u.Busy - u.IOWait}[k.param(1)]
	if !ok {
		return "", errSecond
	}
	return strconv.FormatFloat(100*share, 'f', 6, 64), nil
}

func (p *proxy) memorySize(_ context.Context, k key) (string, error) {
	m, err := p.Machine.Memory()
	if err != nil {
		return "", err
	}
	return amount(k.param(0), m.Total, m.Total-min(m.Free, m.Total), m.Available, m.Free, map[string]uint64{"buffers": m.Buffers, "cached": m.Cached, "shared": m.Shared, "slab": m.Slab})
}

func (p *proxy) swapSize(_ context.Context, k key) (string, error) {
	if d := k.param(0); d != "" && d != "all" {
		return "", errFirst
	}
	m, err := p.Machine.Memory()
	if err != nil {
		return "", err
	}
	mode := k.param(1)
	if mode == "" {
		mode = "free"
	}
	return amount(mode, m.SwapTotal, m.SwapTotal-min(m.SwapFree, m.SwapTotal), m.SwapFree, m.SwapFree, nil)
}

func (p *proxy) fsSize(_ context.Context, k key) (string, error) {
	if k.param(0) == "" {
		return "", errFirst
	}
	s, err := p.Machine.Space(k.param(0))
	if err != nil {
		return "", unsupported("Cannot obtain filesystem information: %v", err)
	}
	return amount(k.param(1), s.Total, s.Used, s.Available, s.Available, nil)
}

// amount is a size in the mode that is asked for, in bytes or percent.
func amount(mode string, total, used, available, free uint64, more map[string]uint64) (string, error) {
	percent := func(n uint64) (string, error) {
		if total == 0 {
			return "", unsupported("Cannot calculate percentage because total is zero.")
		}
		return strconv.FormatFloat(100*float64(n)/float64(total), 'f', 6, 64), nil
	}
	switch mode {
	case "", "total":
		return strconv.FormatUint(total, 10), nil
	case "used":
		return strconv.FormatUint(used, 10), nil
	case "free":
		return strconv.FormatUint(free, 10), nil
	case "available":
		return strconv.FormatUint(available, 10), nil
	case "pused":
		return percent(used)
	case "pavailable":
		return percent(available)
	case "pfree":
		return percent(free)
	}
	if n, ok := more[mode]; ok {
		return strconv.FormatUint(n, 10), nil
	}
	return "", unsupported("Invalid parameter %q.", mode)
}

func (p *proxy) netIn(_ context.Context, k key) (string, error)    { return counter(k, true, false) }
func (p *proxy) netOut(_ context.Context, k key) (string, error)   { return counter(k, false, true) }
func (p *proxy) netTotal(_ context.Context, k key) (string, error) { return counter(k, true, true) }

func counter(k key, in, out bool) (string, error) {
	l, err := netif.ByName(k.param(0))
	if err != nil {
		return "", unsupported("Cannot find information for this network interface: %v", err)
	}
	c := l.Counters
	both, ok := map[string][2]uint64{
		"": {c.RxBytes, c.TxBytes}, "bytes": {c.RxBytes, c.TxBytes}, "packets": {c.RxPackets, c.TxPackets},
		"errors": {c.RxErrors, c.TxErrors}, "dropped": {c.RxDropped, c.TxDropped},
	}[k.param(1)]
	if !ok {
		return "", errSecond
	}
	var n uint64
	if in {
		n += both[0]
	}
	if out {
		n += both[1]
	}
	return strconv.FormatUint(n, 10), nil
}

func (p *proxy) netList(context.Context, key) (string, error) {
	all, err := netif.Links()
	var names []string
	for _, l := range all {
		names = append(names, l.Name)
	}
	return strings.Join(names, "\n"), ifEmpty(strings.Join(names, ""), err)
}

func (p *proxy) netDiscovery(context.Context, key) (string, error) {
	all, err := netif.Links()
	if len(all) == 0 && err != nil {
		return "", err
	}
	var b bytes.Buffer
	b.WriteByte('[')
	for i, l := range all {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"{#IFNAME}":%s,"{#IFMAC}":%s}`, quote(l.Name), quote(l.MAC.String()))
	}
	b.WriteByte(']')
	return b.String(), nil
}

func (p *proxy) tcpPort(ctx context.Context, k key) (string, error) {
	host := k.param(0)
	if host == "" {
		host = "127.0.0.1"
	}
	if k.param(1) == "" {
		return "", errSecond
	}
	return service(ctx, key{"net.tcp.service", []string{"tcp", host, k.param(1)}}, host)
}

func (p *proxy) processes(ctx context.Context, k key) (string, error) {
	if k.param(0) != "" || k.param(1) != "" || k.param(3) != "" {
		return "", unsupported("proc.num by name, user or command line is not supported by this proxy")
	}
	n, err := p.Machine.Processes()
	if err != nil {
		return "", err
	}
	count, ok := map[string]int{"": n.Total, "all": n.Total, "run": n.Running, "sleep": n.Sleeping, "zomb": n.Zombie, "disk": n.Blocked, "trace": n.Stopped}[k.param(2)]
	if !ok {
		return "", unsupported("Invalid third parameter.")
	}
	return strconv.Itoa(count), nil
}
