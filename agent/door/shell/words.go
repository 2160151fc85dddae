package shell

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/natrix-os/natrix/agent/lease"
	"github.com/natrix-os/natrix/sysinfo/netif"
)

// words are the commands that only the shell has.
func (s *session) words() []*cobra.Command {
	words := []*cobra.Command{
		{
			Use: "exit", Aliases: []string{"logout", "quit"}, Short: "Leave the shell", Args: cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error { return errExit },
		},
		{
			Use: "status", Short: "Who this terminal is and how it is doing", Args: cobra.NoArgs,
			RunE: func(c *cobra.Command, _ []string) error { return s.status(c.Context(), c.OutOrStdout()) },
		},
		{
			Use: "links", Short: "The network links and their addresses", Args: cobra.NoArgs,
			RunE: func(c *cobra.Command, _ []string) error { return s.links(c.OutOrStdout()) },
		},
	}
	if s.Machine == nil {
		return words
	}
	return append(words, s.log(),
		&cobra.Command{
			Use: "reboot", Short: "Restart the machine", Args: cobra.NoArgs,
			RunE: func(c *cobra.Command, _ []string) error { return s.Machine.Reboot(c.Context()) },
		},
		&cobra.Command{
			Use: "poweroff", Short: "Switch the machine off", Args: cobra.NoArgs,
			RunE: func(c *cobra.Command, _ []string) error { return s.Machine.PowerOff(c.Context()) },
		})
}

func (s *session) log() *cobra.Command {
	var lines int
	var follow bool
	c := &cobra.Command{
		Use: "log", Short: "The last lines of the log", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			shown := s.Console != "" // what comes is shown here anyway
			err := s.Machine.Log(c.Context(), c.OutOrStdout(), lines, follow && !shown)
			if err != nil || !follow {
				return err
			}
			<-c.Context().Done()
			return nil
		},
	}
	c.Flags().IntVarP(&lines, "lines", "n", 20, "how many lines")
	c.Flags().BoolVarP(&follow, "follow", "f", false, "show what is added, until Ctrl-C")
	return c
}

// banner says who this terminal is. Without links there is not much to say yet.
func (s *session) banner(ctx context.Context) {
	host, err := os.Hostname()
	if err != nil {
		host = err.Error()
	}
	fmt.Fprintf(s.screen, "\nnatrix %s on %s\n", s.Version, host)
	if err := s.links(s.screen); err != nil {
		fmt.Fprintf(s.screen, "links: %v\n", err)
	}
	fmt.Fprintln(s.screen, "help lists the commands, Tab completes them")
}

func (s *session) status(ctx context.Context, out io.Writer) error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "natrix\t%s\n", s.Version)
	fmt.Fprintf(w, "host\t%s\n", host)
	fmt.Fprintf(w, "clock\t%s, %s\n", time.Now().UTC().Format("2006-01-02 15:04:05 UTC"), clockState())
	var up unix.Sysinfo_t
	if err := unix.Sysinfo(&up); err == nil {
		fmt.Fprintf(w, "running for\t%v\n", time.Duration(up.Uptime)*time.Second)
	}
	if s.Machine != nil {
		services, err := s.Machine.Services(ctx)
		if err != nil {
			return err
		}
		for _, v := range services {
			fmt.Fprintf(w, "%s\t%s\n", v.Name, v)
		}
	}
	fmt.Fprintln(w)
	if err := w.Flush(); err != nil {
		return err
	}
	return s.links(out)
}

// String says how the service is doing.
func (v Service) String() string {
	state := fmt.Sprintf("running for %v", v.For.Round(time.Second))
	if v.PID == 0 {
		state = fmt.Sprintf("not running for %v", v.For.Round(time.Second))
	} else if v.Memory > 0 {
		state += fmt.Sprintf(", %.1f MiB", float64(v.Memory)/(1<<20))
	}
	if v.Restarts > 0 {
		state += fmt.Sprintf(", restarted %d times", v.Restarts)
	}
	if v.Last != "" {
		state += ", ended last with " + v.Last
	}
	return state
}

// clockState is what the kernel was told by whoever keeps its clock right.
func clockState() string {
	var t unix.Timex
	if _, err := unix.Adjtimex(&t); err != nil {
		return "state unknown"
	}
	if t.Status&unix.STA_UNSYNC != 0 {
		return "not synchronised"
	}
	return "synchronised"
}

func (s *session) links(out io.Writer) error {
	links, err := netif.Links()
	if err != nil {
		return err
	}
	leases, err := s.leases()
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, l := range links {
		if l.Kind == netif.Loopback || l.Terminal() == "" && len(l.Addrs) == 0 {
			continue // the kernel makes tunnels that nobody asked for
		}
		fmt.Fprintf(w, "%s\t%s\tterminal %s\t%s\n", l.Name, state(l), l.Terminal(), strings.Join(addresses(l), " "))
		if g, ok := leases[l.Name]; ok {
			fmt.Fprintf(w, "\t\tlease\tfrom %s, gateway %s, dns %s, %v left\n",
				word(g.Server), word(g.Gateway), join(g.DNS), time.Until(g.Expires).Round(time.Second))
		}
	}
	return w.Flush()
}

// leases are by link.
func (s *session) leases() (map[string]lease.Lease, error) {
	all := make(map[string]lease.Lease)
	if s.Leases == "" {
		return all, nil
	}
	leases, err := lease.Read(s.Leases)
	for _, l := range leases {
		all[l.Link] = l
	}
	return all, err
}

func state(l netif.Link) string {
	switch {
	case !l.Up:
		return "down"
	case !l.Carrier:
		return "no carrier"
	case l.SpeedMbit > 0:
		return fmt.Sprintf("up %d Mbit/s", l.SpeedMbit)
	default:
		return "up"
	}
}

func addresses(l netif.Link) []string {
	if len(l.Addrs) == 0 {
		return []string{"no address"}
	}
	var all []string
	for _, a := range l.Addrs {
		all = append(all, a.String())
	}
	return all
}

func join(addrs []netip.Addr) string {
	if len(addrs) == 0 {
		return "none"
	}
	var all []string
	for _, a := range addrs {
		all = append(all, a.String())
	}
	return strings.Join(all, " ")
}

func word(a netip.Addr) string {
	if !a.IsValid() {
		return "none"
	}
	return a.String()
}
