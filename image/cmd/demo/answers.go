package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/natrix-os/natrix/agent/door/amqp"
	"github.com/natrix-os/natrix/agent/report/server"
	"github.com/natrix-os/natrix/image/qemu"
)

// answer is a command and what came back.
type answer struct {
	protocol, destination string
	parameters            map[string]any
	check                 func(json.RawMessage) (summary string, err error)

	took    time.Duration // from publishing the command to the response
	summary string
}

// ask sends a command of each kind and waits for all responses and for one
// report of each kind.
func (d *demo) ask(ctx context.Context, m *qemu.Machine, dispatcher *amqp.Dispatcher, t *targets) error {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	messages, err := dispatcher.Watch(ctx, amqp.ResponseQueue, amqp.BasicQueue, amqp.AdvanceQueue)
	if err != nil {
		return err
	}
	d.answers = []answer{
		{protocol: "ping", destination: qemu.Host, parameters: map[string]any{"count": 3, "timeout": 1}, check: checkPing},
		{protocol: "traceroute", destination: qemu.Host, check: checkTraceroute},
		{protocol: "dns", destination: "www.example.com", parameters: map[string]any{"dns_server": t.nameServer(), "timeout": 5}, check: checkDNS},
		{protocol: "http", destination: t.webServer(), parameters: map[string]any{"operation": "get", "save_response_body": true}, check: checkHTTP},
	}
	d.reports = make(map[string][]byte)
	for i := range d.answers {
		if err := d.answers[i].exchange(ctx, dispatcher, messages, d.reports); err != nil {
			return err
		}
		if i == 0 {
			if err := d.reach(ctx, m, "command"); err != nil {
				return err
			}
		}
	}
	for len(d.reports) < 2 {
		select {
		case m, open := <-messages:
			if !open {
				return amqp.ErrWatch
			}
			if err := keep(d.reports, m); err != nil {
				return err
			}
		case <-ctx.Done():
			return fmt.Errorf("no report: %w", ctx.Err())
		}
	}
	return nil
}

// exchange sends the command and waits for the response, keeping the reports
// that come in between.
func (a *answer) exchange(ctx context.Context, dispatcher *amqp.Dispatcher, messages <-chan amqp.Message, reports map[string][]byte) error {
	body, err := json.Marshal(amqp.NewRequest(terminal, a.protocol, a.destination, a.parameters))
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := dispatcher.Send(ctx, terminal, body); err != nil {
		return err
	}
	for {
		select {
		case m, open := <-messages:
			if !open {
				return amqp.ErrWatch
			}
			if m.Queue != amqp.ResponseQueue {
				if err := keep(reports, m); err != nil {
					return err
				}
				continue
			}
			if !m.Answers(body) {
				continue
			}
			a.took = time.Since(begin)
			return a.judge(m.Body)
		case <-ctx.Done():
			return fmt.Errorf("no answer to %s: %w", a.protocol, ctx.Err())
		}
	}
}

// judge checks a response as the server does, and then what it says.
func (a *answer) judge(body []byte) error {
	var response struct {
		Status int
		Data   json.RawMessage
	}
	if err := json.Unmarshal(body, &response); err != nil {
		return fmt.Errorf("%s: %w: %s", a.protocol, err, body)
	}
	if response.Status != 0 {
		return fmt.Errorf("%s failed: %s", a.protocol, response.Data)
	}
	if err := server.Response(a.protocol, body); err != nil {
		return fmt.Errorf("%s: the server would not take it: %w: %s", a.protocol, err, body)
	}
	summary, err := a.check(response.Data)
	if err != nil {
		return fmt.Errorf("%s: %w: %s", a.protocol, err, body)
	}
	a.summary = summary
	return nil
}

// keep checks a report as the server does, and keeps the first of its kind.
func keep(reports map[string][]byte, m amqp.Message) error {
	check := server.Basic
	if m.Queue == amqp.AdvanceQueue {
		check = server.Advance
	}
	if err := check(m.Body); err != nil {
		return fmt.Errorf("%s: the server would not take it: %w: %s", m.Queue, err, m.Body)
	}
	if reports[m.Queue] == nil {
		reports[m.Queue] = m.Body
	}
	return nil
}

func checkPing(data json.RawMessage) (string, error) {
	var p struct {
		Send    int     `json:"packet_send"`
		Receive int     `json:"packet_receive"`
		Avg     float64 `json:"avg_time"`
	}
	if err := json.Unmarshal(data, &p); err != nil {
		return "", err
	}
	if p.Send != 3 || p.Receive != 3 || p.Avg <= 0 {
		return "", fmt.Errorf("%d of %d answered", p.Receive, p.Send)
	}
	return fmt.Sprintf("%d of %d answered, %.3f ms on average", p.Receive, p.Send, p.Avg), nil
}

func checkTraceroute(data json.RawMessage) (string, error) {
	var hops []struct {
		Routes []struct {
			IP   string  `json:"ip"`
			Time float64 `json:"response_times"`
		}
	}
	if err := json.Unmarshal(data, &hops); err != nil {
		return "", err
	}
	if len(hops) == 0 || hops[len(hops)-1].Routes[0].IP != qemu.Host {
		return "", fmt.Errorf("the path does not end at %s", qemu.Host)
	}
	return fmt.Sprintf("%d hop, %s in %.3f ms", len(hops), hops[0].Routes[0].IP, hops[0].Routes[0].Time), nil
}

func checkDNS(data json.RawMessage) (string, error) {
	var r struct {
		IPs []struct {
			IP string `json:"ip"`
		} `json:"ips"`
		Time float64 `json:"ptime"`
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return "", err
	}
	if len(r.IPs) != 1 || r.IPs[0].IP != knownAddr {
		return "", fmt.Errorf("want %s", knownAddr)
	}
	return fmt.Sprintf("%s in %.3f ms", r.IPs[0].IP, r.Time), nil
}

func checkHTTP(data json.RawMessage) (string, error) {
	var r struct {
		Status int     `json:"status_code"`
		Body   string  `json:"response_body"`
		Total  float64 `json:"total_time"`
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return "", err
	}
	if r.Status != 200 || r.Body != knownPage {
		return "", fmt.Errorf("want status 200 and %q", knownPage)
	}
	return fmt.Sprintf("status %d, %d bytes in %.3f ms", r.Status, len(r.Body), r.Total), nil
}

// parts names what ends with each milestone.
var parts = map[string]string{"init": "kernel", "services": "init", "network": "network", "broker": "broker", "command": "command"}

// print shows the answers, where the time of the boot went, and the figures.
func (d *demo) print() error {
	w := tabwriter.NewWriter(d.out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "COMMAND\tDESTINATION\tANSWER\tROUND TRIP")
	for _, a := range d.answers {
		fmt.Fprintf(w, "%s\t%s\t%s\t%.0f ms\n", a.protocol, a.destination, a.summary, a.took.Seconds()*1000)
	}
	for _, queue := range []string{amqp.BasicQueue, amqp.AdvanceQueue} {
		fmt.Fprintf(w, "report\t%s\t%d bytes\t\n", queue, len(d.reports[queue]))
	}
	fmt.Fprintln(w)
	fmt.Fprint(w, "FROM KERNEL ENTRY\t")
	before := 0.0
	for _, p := range d.phases {
		fmt.Fprintf(w, "%s %.3f s\t", parts[p.name], p.at-before)
		before = p.at
	}
	fmt.Fprintf(w, "\nto the first command\t%.3f s of the guest's clock\n", before)
	kernel, initramfs, binary, err := d.sizes()
	if err != nil {
		return err
	}
	const mb = 1e6
	fmt.Fprintf(w, "\nSIZES\tkernel %.1f MB\tinitramfs %.1f MB\tnatrix %.1f MB\nagent in the guest\t%s resident\n",
		float64(kernel)/mb, float64(initramfs)/mb, float64(binary)/mb, d.memory)
	return w.Flush()
}

// transcript keeps the end of the guest's console, for when something fails.
type transcript struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (t *transcript) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.buf.Len() > 1<<16 {
		t.buf.Next(t.buf.Len() / 2)
	}
	return t.buf.Write(b)
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.String()
}
