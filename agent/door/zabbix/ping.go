package zabbix

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/natrix-os/natrix/agent/command"
)

// ping is what an icmpping item asks for. Equal ones of the same moment are
// answered by one ping.
type ping struct {
	target            string
	count, size       int
	interval, timeout time.Duration
}

func isPing(name string) bool {
	return name == "icmpping" || name == "icmppingloss" || name == "icmppingsec"
}

// parsePing reads icmpping[target,packets,interval,size,timeout], with Zabbix's
// defaults, limits and words. Interval and timeout are in milliseconds.
func parsePing(it *item) (ping, error) {
	k, most := it.key, 5
	if k.name == "icmppingsec" {
		most = 6
	}
	if len(k.params) > most {
		return ping{}, unsupported("Too many parameters.")
	}
	p := ping{target: k.param(0)}
	if p.target == "" && it.iface != nil {
		p.target = it.iface.conn()
	}
	numbers := []struct {
		name              string
		standard          int
		least, upperLimit int
		value             int
	}{
		{"Number of packets", 3, 1, 10000, 0},
		{"Interval", 1000, 20, 1 << 30, 0},
		{"Packet size", 56, 24, 65507, 0},
		{"Timeout", 500, 50, 1 << 30, 0},
	}
	for i := range numbers {
		n := &numbers[i]
		n.value = n.standard
		text := k.param(i + 1)
		if text == "" {
			continue
		}
		v, err := strconv.Atoi(text)
		if err != nil || v < n.least || v > n.upperLimit {
			if n.upperLimit == 1<<30 {
				return ping{}, unsupported("%s %q should be at least %d.", n.name, text, n.least)
			}
			return ping{}, unsupported("%s %q is not between %d and %d.", n.name, text, n.least, n.upperLimit)
		}
		n.value = v
	}
	switch mode := k.param(5); mode {
	case "", "avg", "min", "max":
	default:
		return ping{}, unsupported("Mode %q is not supported.", mode)
	}
	p.count, p.size = numbers[0].value, numbers[2].value
	p.interval, p.timeout = time.Duration(numbers[1].value)*time.Millisecond, time.Duration(numbers[3].value)*time.Millisecond
	return p, nil
}

// pinged is what the door reads of a ping's result. Times are milliseconds.
type pinged struct {
	Send    int     `json:"packet_send"`
	Receive int     `json:"packet_receive"`
	Avg     float64 `json:"avg_time"`
	Max     float64 `json:"max_time"`
	Min     float64 `json:"min_time"`
}

// ping pings once, and passes on what that is to each of the items.
func (p *proxy) ping(ctx context.Context, asked ping, items []*item) {
	at := time.Now()
	r, err := p.pinged(ctx, asked)
	if ctx.Err() != nil {
		return
	}
	for _, it := range items {
		p.take(it, r.value(it.key), err, at)
	}
}

func (p *proxy) pinged(ctx context.Context, asked ping) (r pinged, err error) {
	data, err := p.command(ctx, "ping", asked.target, map[string]string{
		"count":    strconv.Itoa(asked.count),
		"interval": fmt.Sprint(asked.interval.Seconds()),
		"timeout":  fmt.Sprint(asked.timeout.Seconds()),
		"size":     strconv.Itoa(asked.size),
	})
	if err != nil {
		p.Log.Debug("ping", "dst", asked.target, "err", err)
		return r, unsupported("Cannot send ICMP ping packets to this host.")
	}
	return r, json.Unmarshal(data, &r)
}

// value is the result as an item wants it.
func (r pinged) value(k key) string {
	switch k.name {
	case "icmpping":
		return strconv.Itoa(min(r.Receive, 1))
	case "icmppingloss":
		return strconv.FormatFloat(100*float64(r.Send-r.Receive)/float64(max(r.Send, 1)), 'g', -1, 64)
	}
	if r.Receive == 0 {
		return "0"
	}
	ms := r.Avg
	switch k.param(5) {
	case "min":
		ms = r.Min
	case "max":
		ms = r.Max
	}
	return perf(time.Duration(ms * 1e6))
}

// perf is a time in seconds as Zabbix tells it: 0 is for what is down.
func perf(d time.Duration) string {
	return strconv.FormatFloat(max(d.Seconds(), 0.0001), 'f', -1, 64)
}

// command runs a command of the terminal and returns its result as JSON.
func (p *proxy) command(ctx context.Context, name, destination string, params map[string]string) ([]byte, error) {
	d, found := p.Core.Lookup(name)
	if !found {
		return nil, unsupported("there is no command %s", name)
	}
	run := d.Prepare()
	for param, text := range params {
		flag := strings.ReplaceAll(param, "_", "-")
		if err := run.Flags.Set(flag, text); err != nil {
			return nil, unsupported("%s: %v", param, err)
		}
	}
	r := run.Execute(command.WithRemote(ctx), command.Command{Name: name, Destination: destination, Received: time.Now()})
	if r.Err != nil {
		return nil, r.Err
	}
	return json.Marshal(r.Data)
}

// natrix runs a command of the terminal as an item of its own:
// natrix.ping[192.0.2.1,count=5] has the result as JSON.
func (p *proxy) natrix(ctx context.Context, k key) (string, error) {
	params := make(map[string]string)
	for _, param := range k.params[min(1, len(k.params)):] {
		if param == "" {
			continue
		}
		name, text, _ := strings.Cut(param, "=")
		if strings.HasPrefix(name, "capture") {
			return "", unsupported("%s is not for items", name)
		}
		params[name] = text
	}
	data, err := p.command(ctx, strings.TrimPrefix(k.name, "natrix."), k.param(0), params)
	if err != nil {
		return "", err
	}
	return string(data), nil
}
