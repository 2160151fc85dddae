package rtstat

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/natrix-os/natrix/sysinfo"
	"github.com/natrix-os/natrix/sysinfo/netif"
)

// exposition is a text in Prometheus' format, version 0.0.4.
type exposition struct {
	strings.Builder
	described map[string]bool
}

// add writes a sample: labels are names and values in turn.
func (e *exposition) add(name, kind, help string, value float64, labels ...string) {
	if e.described == nil {
		e.described = make(map[string]bool)
	}
	if !e.described[name] {
		e.described[name] = true
		fmt.Fprintf(e, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
	}
	e.WriteString(name)
	for i := 0; i+1 < len(labels); i += 2 {
		e.WriteString(map[bool]string{true: "{", false: ","}[i == 0])
		e.WriteString(labels[i] + `="` + labelEscape.Replace(labels[i+1]) + `"`)
	}
	if len(labels) > 0 {
		e.WriteByte('}')
	}
	e.WriteString(" " + strconv.FormatFloat(value, 'g', -1, 64) + "\n")
}

var labelEscape = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// send answers a scrape.
func (e *exposition) send(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Write([]byte(e.String()))
}

// metrics answers a scrape of this terminal.
func (s *Server) metrics(w http.ResponseWriter, r *http.Request) {
	defer s.hub.subscribe()()
	now, err := s.hub.now(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	var e exposition
	e.add("natrix_info", "gauge", "The terminal; always 1.", 1, "version", s.Version, "machine", s.machine)
	e.machine(now.sample)
	if p, ok := s.hub.value(r.Context(), "processes").(processCounts); ok {
		for _, c := range []struct {
			state string
			count int
		}{{"running", p.Running}, {"sleeping", p.Sleep}, {"stopped", p.Stopped}, {"zombie", p.Zombie}} {
			e.add("natrix_processes", "gauge", "Processes by what they do.", float64(c.count), "state", c.state)
		}
	}
	if links, ok := s.hub.value(r.Context(), "net").(map[string]linkState); ok {
		e.links(links)
	}
	if t, ok := s.hub.value(r.Context(), "broker").(terminal); ok {
		e.terminal(t)
	}
	e.outcomes(s.Recent.last(outcomesKept))
	e.send(w)
}

func (e *exposition) machine(now sysinfo.Sample) {
	for _, c := range now.Stat.Cores {
		for _, t := range []struct {
			mode string
			time time.Duration
		}{{"user", c.User}, {"nice", c.Nice}, {"system", c.System}, {"idle", c.Idle}, {"iowait", c.IOWait}, {"irq", c.IRQ}, {"softirq", c.SoftIRQ}, {"steal", c.Steal}} {
			e.add("natrix_cpu_seconds_total", "counter", "Time of each processor.", t.time.Seconds(), "cpu", strconv.Itoa(c.ID), "mode", t.mode)
		}
	}
	m := now.Memory
	e.add("natrix_memory_total_bytes", "gauge", "Memory.", float64(m.Total))
	e.add("natrix_memory_available_bytes", "gauge", "Memory that programs can have.", float64(m.Available))
	e.add("natrix_swap_total_bytes", "gauge", "Swap space.", float64(m.SwapTotal))
	e.add("natrix_swap_free_bytes", "gauge", "Swap space that is free.", float64(m.SwapFree))
	e.add("natrix_load1", "gauge", "Load over a minute.", now.Load.One)
	e.add("natrix_uptime_seconds", "gauge", "Since the kernel started.", now.Uptime.Seconds())
	e.add("natrix_disk_total_bytes", "gauge", "Size of the root file system.", float64(now.Root.Total))
	e.add("natrix_disk_available_bytes", "gauge", "Room in the root file system.", float64(now.Root.Available))
	for _, t := range now.Temperatures {
		e.add("natrix_temperature_celsius", "gauge", "What a sensor says.", t.Celsius, "sensor", t.Sensor)
	}
}

func (e *exposition) links(links map[string]linkState) {
	names := slices.Sorted(maps.Keys(links))
	each := func(metric, kind, help string, value func(linkState) (float64, bool)) {
		for _, n := range names {
			if v, known := value(links[n]); known {
				e.add(metric, kind, help, v, "link", n)
			}
		}
	}
	each("natrix_link_up", "gauge", "Whether the link can pass packets.", func(l linkState) (float64, bool) { return truth(l.Up && l.Carrier), true })
	each("natrix_link_receive_bytes_total", "counter", "Received.", func(l linkState) (float64, bool) { return float64(l.RxBytes), true })
	each("natrix_link_transmit_bytes_total", "counter", "Sent.", func(l linkState) (float64, bool) { return float64(l.TxBytes), true })
	each("natrix_link_errors_total", "counter", "Errors in both directions.", func(l linkState) (float64, bool) { return float64(l.Errors), true })
	each("natrix_link_signal_dbm", "gauge", "Signal of the radio.", func(l linkState) (float64, bool) { return float64(l.Signal), l.Kind == netif.Wireless && l.Signal < 0 })
	each("natrix_gateway_rtt_seconds", "gauge", "Round-trip time to the gateway of the link.", func(l linkState) (float64, bool) {
		if l.GatewayRTT == nil || *l.GatewayRTT < 0 {
			return 0, false
		}
		return *l.GatewayRTT / 1000, true
	})
}

func (e *exposition) terminal(t terminal) {
	e.add("natrix_broker_connected", "gauge", "Whether the queues are being consumed.", truth(t.Broker == "connected"))
	e.add("natrix_spool_waiting", "gauge", "Results that the server is still to get.", float64(t.Waiting))
	e.add("natrix_spool_bytes", "gauge", "Of all results that are kept.", float64(t.Bytes))
	e.add("natrix_spool_dropped_total", "counter", "Results given up.", float64(t.Dropped))
	e.add("natrix_live_clients", "gauge", "Clients of the live door.", float64(t.Clients))
	if t.Clock != nil {
		e.add("natrix_clock_synchronised", "gauge", "Whether somebody keeps the clock right.", truth(t.Clock.Synchronised))
		e.add("natrix_clock_max_error_seconds", "gauge", "How wrong the clock can be.", t.Clock.MaxError)
	}
}

// outcomes writes the latest result for each target.
func (e *exposition) outcomes(all []outcome) {
	latest := make(map[[3]string]outcome)
	for _, o := range all {
		latest[[3]string{o.Command, o.Target, o.Link}] = o
	}
	keys := slices.SortedFunc(maps.Keys(latest), func(a, b [3]string) int { return slices.Compare(a[:], b[:]) })
	each := func(metric, help string, value func(outcome) (float64, bool)) {
		for _, k := range keys {
			if v, known := value(latest[k]); known {
				e.add(metric, "gauge", help, v, "command", k[0], "target", k[1], "link", k[2])
			}
		}
	}
	each("natrix_result_success", "Whether the latest probe measured something.", func(o outcome) (float64, bool) { return truth(o.Error == "" && o.Value != nil), true })
	each("natrix_result_seconds", "What the latest probe took.", func(o outcome) (float64, bool) {
		if o.Value == nil {
			return 0, false
		}
		return *o.Value / 1000, true
	})
	each("natrix_result_loss_ratio", "Packets that the latest probe lost.", func(o outcome) (float64, bool) {
		if o.Loss == nil {
			return 0, false
		}
		return *o.Loss, true
	})
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
