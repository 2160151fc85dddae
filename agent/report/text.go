package report

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/natrix-os/natrix/sysinfo/netif"
)

// WriteText writes the report as a page for people.
func (b Basic) WriteText(w io.Writer) {
	p := newPage(w)
	p.line("Terminal", "%s (%s), natrix %s", text(b.Hostname, 64), text(b.Serial, 64), text(b.Version, 16))
	b.writeLoad(p)
	b.writeNetworks(p)
	p.flush()
}

// WriteText writes the report as a page for people.
func (a Advance) WriteText(w io.Writer) {
	p := newPage(w)
	p.line("Terminal", "%s (%s), natrix %s", text(a.Hostname, 64), text(a.Serial, 64), text(a.Version, 16))
	a.writeSystem(p)
	a.writeHardware(p)
	a.writeNetworks(p)
	p.flush()
}

// WriteText writes the part as a page for people.
func (part Part) WriteText(w io.Writer) {
	p := newPage(w)
	switch part.Name {
	case "system":
		part.Report.writeSystem(p)
	case "hardware":
		part.Report.writeHardware(p)
	default:
		part.Report.writeNetworks(p)
	}
	p.flush()
}

func (a Advance) writeSystem(p *page) {
	s := a.System
	p.line("System", "%s", strings.TrimSpace(fmt.Sprintf("%s %s %s", text(s.Name, 64), s.Version, s.Codename)))
	p.line("Kernel", "%s %s %s", s.Type, s.Kernel, s.Arch)
	for i, server := range a.Resolver.Servers {
		p.line([]string{"Name servers", ""}[min(i, 1)], "%s", server)
	}
}

func (a Advance) writeHardware(p *page) {
	p.line("Machine", "%s", text(a.Identity.Product, 128))
	p.line("Processor", "%s, %d cores%s", text(a.CPU.Model, 128), a.CPU.Cores, clock(a.CPU.Clock))
	a.writeLoad(p)
	for _, d := range a.Disks {
		p.line("Disk "+d.Name, "%s%s", size(d.Size), wear(d.Wear.Known, d.Wear.LifeUsed, d.Wear.Reserve))
	}
	if a.Throttling != 0 {
		p.line("Power", "%s", a.Throttling)
	}
}

func (b Basic) writeLoad(p *page) {
	s := b.Sample
	if s.Uptime > 0 {
		p.line("Up", "%s since %s", span(s.Uptime), s.Stat.Boot.UTC().Format(time.DateTime+" UTC"))
	}
	p.line("Busy", "%.0f %% over %s, load %.2f %.2f %.2f", 100*s.Usage.Busy, span(s.Over), s.Load.One, s.Load.Five, s.Load.Fifteen)
	p.line("Memory", "%s of %s used", size(s.Memory.Used()), size(s.Memory.Total))
	if s.Memory.SwapTotal > 0 {
		p.line("Swap", "%s of %s used", size(s.Memory.SwapUsed()), size(s.Memory.SwapTotal))
	}
	if s.Root.Total > 0 {
		p.line("File system", "%s of %s used (%.0f %%)", size(s.Root.Used), size(s.Root.Total), 100*s.Root.Share())
	}
	for _, t := range s.Temperatures {
		p.line("Temperature", "%.1f °C %s", t.Celsius, t.Sensor)
	}
}

func (b Basic) writeNetworks(p *page) {
	if len(b.Networks) == 0 {
		p.line("Links", "none with a MAC address: no server can send commands")
	}
	for _, n := range b.Networks {
		p.line("Link "+n.Link.Name, "%s %s, %s", n.Link.Kind, n.Link.MAC, state(n.Link))
		for _, a := range n.Link.Addrs {
			p.line("", "%s%s", a, lent(n.Link.Leases[a.Addr()]))
		}
		if n.Gateway.IsValid() {
			p.line("", "gateway %s%s", n.Gateway, map[bool]string{true: ", default route"}[n.Default])
		}
		if n.Public.IsValid() {
			p.line("", "public %s", n.Public)
		}
		if n.Local.IsValid() {
			p.line("", "reaches %s", reached(n))
		}
	}
}

func lent(left time.Duration) string {
	if left == 0 {
		return ""
	}
	return ", lent for " + span(left)
}

func state(l netif.Link) string {
	switch {
	case !l.Up:
		return "down"
	case !l.Carrier:
		return "no carrier"
	case l.SpeedMbit > 0 && l.Duplex != "":
		return fmt.Sprintf("up, %d Mbit/s %s duplex", l.SpeedMbit, l.Duplex)
	case l.SpeedMbit > 0:
		return fmt.Sprintf("up, %d Mbit/s", l.SpeedMbit)
	case l.SignalDBm != 0:
		return fmt.Sprintf("up, %d dBm", l.SignalDBm)
	}
	return "up"
}

func reached(n Network) string {
	var all []string
	for _, a := range []struct {
		yes  bool
		name string
	}{{n.Intranet, "intranet"}, {n.Corporate, "corporate"}, {n.Internet, "internet"}} {
		if a.yes {
			all = append(all, a.name)
		}
	}
	if len(all) == 0 {
		return "nothing: it gets no commands"
	}
	return strings.Join(all, ", ")
}

// page lays out lines of a word and what it is about.
type page struct{ w *tabwriter.Writer }

func newPage(w io.Writer) *page { return &page{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)} }

func (p *page) line(word, format string, args ...any) {
	fmt.Fprintf(p.w, "%s\t%s\n", word, fmt.Sprintf(format, args...))
}

// flush writes the page. Who reads it sees himself if it breaks off.
func (p *page) flush() { p.w.Flush() }

func clock(hz uint64) string {
	if hz == 0 {
		return ""
	}
	return fmt.Sprintf(" at %d MHz", hz/1e6)
}

func wear(known bool, used int, reserve string) string {
	if !known {
		return ""
	}
	return strings.TrimRight(fmt.Sprintf(", %d %% of its life used, reserve %s", used, reserve), " ")
}

// span rounds to what a person wants to know.
func span(d time.Duration) string {
	days := d / (24 * time.Hour)
	switch {
	case days > 0:
		return fmt.Sprintf("%dd%dh", days, d/time.Hour-24*days)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d/time.Minute%60)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d/time.Second%60)
	}
	return fmt.Sprintf("%ds", d.Round(time.Second)/time.Second)
}

// size is a number of bytes in the largest binary unit that leaves a whole part.
func size(bytes uint64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	f, i := float64(bytes), 0
	for f >= 1024 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	if i == 0 || f >= 100 {
		return fmt.Sprintf("%.0f %s", f, units[i])
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}
