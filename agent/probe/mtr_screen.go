package probe

import (
	"fmt"
	"strings"
	"time"
)

// MTRScreen is a running mtr as it is looked at: a page that can be drawn at
// any time and takes keys. It is safe for concurrent use.
type MTRScreen struct {
	rounds *rounds
	mode   int  // under rounds.mu, as help
	help   bool // show what the keys do
}

// modes are the ways to show hubs, through which the d key goes.
var modes = []struct {
	name    string
	columns []column // nil is the chart of the last packets
}{
	{"statistics", lossColumns},
	{"jitter", jitterColumns},
	{"last packets", nil},
}

// String is the report so far.
func (s *MTRScreen) String() string {
	var b strings.Builder
	r := s.rounds.snapshot()
	r.WriteText(&b)
	return b.String()
}

// Press does what a key of mtr's does, and reports whether that is to quit.
func (s *MTRScreen) Press(key byte) (quit bool) {
	r := s.rounds
	r.mu.Lock()
	defer r.mu.Unlock()
	wasHelp := s.help
	s.help = false
	switch key {
	case 'q', 'Q':
		return true
	case 'd', 'D':
		s.mode = (s.mode + 1) % len(modes)
	case 'n', 'N':
		r.named = !r.named
	case 'p', 'P':
		r.paused = true
	case ' ':
		r.paused = false
	case 'r', 'R':
		r.reset()
	case 'h', 'H', '?':
		s.help = !wasHelp
	}
	return false
}

// keysHelp is what the keys do.
var keysHelp = []string{
	"",
	" h ?     this help, and away",
	" d       display mode: statistics, jitter, last packets",
	" n       names or addresses",
	" p       pause, space goes on",
	" r       reset the statistics",
	" q       quit, with a report",
}

// Draw is the page for a terminal of so many columns and rows: lines that fit,
// joined by newlines.
func (s *MTRScreen) Draw(columns, rows int) string {
	result := s.rounds.snapshot()
	s.rounds.mu.Lock()
	mode, help, paused := s.mode, s.help, s.rounds.paused
	s.rounds.mu.Unlock()

	lines := append([]string{centred("My traceroute  [natrix]", columns)}, result.top(columns, modes[mode].name, paused)...)
	switch {
	case help:
		lines = append(lines, keysHelp...)
	case modes[mode].columns == nil:
		lines = append(lines, result.chart(columns)...)
	default:
		lines = append(lines, result.table(columns, modes[mode].columns)...)
	}
	for i, line := range lines {
		lines[i] = fit(line, columns)
	}
	return strings.Join(lines[:min(len(lines), max(rows, 1))], "\n")
}

// top is the lines above the hubs.
func (r *MTRResult) top(columns int, mode string, paused bool) []string {
	route := fmt.Sprintf("%s -> %s", r.Source, both(r.Destination, r.Addr))
	state := r.Start.Format("2006-01-02T15:04:05-0700")
	if paused {
		state = "paused"
	}
	return []string{
		justified(route, state, columns),
		justified("Keys:  Help   Display mode   Names   Pause   Reset   Quit", mode, columns),
	}
}

// table is a line for each hub, with figures.
func (r *MTRResult) table(columns int, figures []column) []string {
	head := headOf(figures)
	width := max(columns-len(head), 10)
	lines := []string{fmt.Sprintf("%-*s%s", width, " Host", head)}
	for _, h := range r.Hubs {
		lines = append(lines, fmt.Sprintf("%-*s%s", width, fit(fmt.Sprintf("%2d. %s%s", h.TTL, h.host(), prefixed(" ", h.Annotation)), width), h.columns(figures)))
		for _, other := range h.Addrs[min(1, len(h.Addrs)):] {
			lines = append(lines, fmt.Sprintf("    %v", other))
		}
		for _, label := range labelLines(h) {
			lines = append(lines, "    "+label)
		}
	}
	return lines
}

// nameWidth is the share of a chart that names get.
const nameWidth = 30

// chart is a line for each hub, with a mark for each of the last packets.
func (r *MTRResult) chart(columns int) []string {
	width := min(nameWidth, columns/2)
	room := max(columns-width-1, 0)
	scale := r.scale()
	lines := []string{fmt.Sprintf("%-*s Last %d packets", width, " Host", room)}
	for _, h := range r.Hubs {
		var marks strings.Builder
		for _, outcome := range h.last(room) {
			marks.WriteByte(scale.mark(outcome))
		}
		lines = append(lines, fmt.Sprintf("%-*s %s", width, fit(fmt.Sprintf("%2d. %s", h.TTL, h.host()), width), marks.String()))
	}
	return append(lines, "", "Scale ms: "+scale.String())
}

// scale is the upper bounds of the marks of round-trip times.
type scale [len(chartMarks) - 1]time.Duration

// chartMarks stand for round-trip times from quick to slow, as in mtr.
const chartMarks = ".123abc>"

// scale has bounds whose distances grow like squares, up to the slowest hub.
func (r *MTRResult) scale() scale {
	var best, worst time.Duration
	for _, h := range r.Hubs {
		if h.Received > 0 {
			worst = max(worst, h.Worst)
			if best == 0 || h.Best < best {
				best = h.Best
			}
		}
	}
	var s scale
	for i := range s {
		s[i] = best + (worst-best)*time.Duration((i+1)*(i+1))/time.Duration(len(chartMarks)*len(chartMarks))
	}
	return s
}

func (s scale) mark(outcome time.Duration) byte {
	switch outcome {
	case unsent, underWay:
		return ' '
	case lost:
		return '?'
	}
	for i, most := range s {
		if outcome <= most {
			return chartMarks[i]
		}
	}
	return chartMarks[len(chartMarks)-1]
}

func (s scale) String() string {
	var b strings.Builder
	for i, most := range s {
		fmt.Fprintf(&b, "%c:%s ", chartMarks[i], milliseconds(most))
	}
	return b.String() + ">:more ?:lost"
}

// centred, justified and fit make lines of a width.
func centred(s string, width int) string { return strings.Repeat(" ", max((width-len(s))/2, 0)) + s }

func justified(left, right string, width int) string {
	return left + strings.Repeat(" ", max(width-len(left)-len(right), 1)) + right
}

func fit(s string, width int) string {
	if r := []rune(s); len(r) > width {
		return string(r[:max(width, 0)])
	}
	return s
}
