package status

import (
	"fmt"
	"io"
	"strconv"
)

// WritePrometheus writes the text format of Prometheus, version 0.0.4. Nothing
// in it is a secret or tells what was measured.
func (s Status) WritePrometheus(w io.Writer) {
	gauge := func(name, help string, value float64) {
		fmt.Fprintf(w, "# HELP %[1]s %[2]s\n# TYPE %[1]s gauge\n%[1]s %[3]s\n", name, help, number(value))
	}
	gauge("natrix_healthy", "Whether nothing is wrong.", flag(len(s.Problems) == 0))
	gauge("natrix_start_time_seconds", "When the agent began, in seconds since 1970.", float64(s.Began.Unix()))
	gauge("natrix_broker_connected", "Whether there is a connection to a broker.", flag(s.Broker.Connected))
	gauge("natrix_broker_blocked", "Whether the broker takes nothing.", flag(s.Broker.Blocked != ""))
	gauge("natrix_queues", "Queues that are consumed.", float64(len(s.Broker.Queues)))
	gauge("natrix_spool_waiting", "Results that the server is still to get.", float64(s.Spool.Waiting))
	gauge("natrix_spool_bytes", "Size of the results that are kept.", float64(s.Spool.Bytes))
	gauge("natrix_clock_synchronised", "Whether somebody keeps the clock right.", flag(s.Clock.Synchronised))
	gauge("natrix_clock_offset_seconds", "What the clock is still to be corrected by.", s.Clock.Offset)
	gauge("natrix_goroutines", "Goroutines.", float64(s.Goroutines))
	gauge("natrix_resident_memory_bytes", "Resident memory.", float64(s.Memory))

	counter := func(name, help string) { fmt.Fprintf(w, "# HELP %[1]s %[2]s\n# TYPE %[1]s counter\n", name, help) }
	counter("natrix_broker_sessions_total", "Connections to a broker.")
	fmt.Fprintf(w, "natrix_broker_sessions_total %d\n", s.Broker.Sessions)
	counter("natrix_spool_dropped_total", "Results that were given up.")
	fmt.Fprintf(w, "natrix_spool_dropped_total %d\n", s.Spool.Dropped)
	counter("natrix_commands_total", "Commands that were run.")
	for _, c := range s.Counts.Commands {
		name := strconv.QuoteToASCII(c.Name)
		fmt.Fprintf(w, "natrix_commands_total{command=%s,outcome=\"ok\"} %d\n", name, c.Done-c.Failed)
		fmt.Fprintf(w, "natrix_commands_total{command=%s,outcome=\"error\"} %d\n", name, c.Failed)
	}
	s.Counts.Durations.write(w, "natrix_command_duration_seconds", "How long commands took.")
	s.Counts.Publish.write(w, "natrix_publish_duration_seconds", "From publishing to the broker's confirm.")
}

func (h Histogram) write(w io.Writer, name, help string) {
	fmt.Fprintf(w, "# HELP %[1]s %[2]s\n# TYPE %[1]s histogram\n", name, help)
	sum := 0
	for i, bound := range bounds {
		sum += h.Buckets[i]
		fmt.Fprintf(w, "%s_bucket{le=\"%s\"} %d\n", name, number(bound), sum)
	}
	fmt.Fprintf(w, "%[1]s_bucket{le=\"+Inf\"} %[2]d\n%[1]s_sum %[3]s\n%[1]s_count %[2]d\n", name, h.Count, number(h.Sum.Seconds()))
}

func number(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
