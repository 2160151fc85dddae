package shell

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/natrix-os/natrix/agent/lease"
	"github.com/natrix-os/natrix/agent/status"
	"github.com/natrix-os/natrix/sysinfo"
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
	return append(words, s.logs(), s.set(), s.tools(), s.capture(),
		&cobra.Command{
			Use: "lease", Short: "The DHCP leases in full", Args: cobra.NoArgs,
			RunE: func(c *cobra.Command, _ []string) error { return s.lease(c.OutOrStdout()) },
		},
		&cobra.Command{
			Use: "restart SERVICE", Short: "Have a service start anew", Args: cobra.ExactArgs(1),
			ValidArgsFunction: s.serviceNames,
			RunE:              func(c *cobra.Command, args []string) error { return s.Machine.Restart(c.Context(), args[0]) },
		},
		&cobra.Command{
			Use: "reboot", Short: "Restart the machine", Args: cobra.NoArgs,
			RunE: func(c *cobra.Command, _ []string) error { return s.Machine.Reboot(c.Context()) },
		},
		&cobra.Command{
			Use: "poweroff", Short: "Switch the machine off", Args: cobra.NoArgs,
			RunE: func(c *cobra.Command, _ []string) error { return s.Machine.PowerOff(c.Context()) },
		})
}

// serviceNames completes the name of a service.
func (s *session) serviceNames(c *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	services, err := s.Machine.Services(c.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []cobra.Completion
	for _, v := range services {
		names = append(names, cobra.CompletionWithDesc(v.Name, v.String()))
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (s *session) logs() *cobra.Command {
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

// banner says who this terminal is and where. It is false if it had no address
// to tell. It is written in one piece: until the log is the shell's, PID 1
// writes here as well.
func (s *session) banner(ctx context.Context) (addressed bool) {
	host, err := os.Hostname()
	if err != nil {
		host = err.Error()
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "\nnatrix %s on %s", s.Version, host)
	if s.Console != "" {
		fmt.Fprintf(&b, ", console %s", s.Console)
	}
	fmt.Fprintln(&b)
	id, _ := sysinfo.Machine{}.Identity() // gaps and all
	if id.Product != "" {
		fmt.Fprintf(&b, "%s, serial number %s\n", id.Product, cmp.Or(id.Serial, "unknown"))
	}
	if err := s.links(&b); err != nil {
		fmt.Fprintf(&b, "links: %v\n", err)
	}
	fmt.Fprintln(&b, "help lists the commands, Tab completes them, ? says what may follow")
	s.screen.Write(b.Bytes())
	links, err := netif.Links()
	return err != nil || slices.ContainsFunc(links, hasAddress)
}

// showAddress shows the links again as soon as one of them has an address.
func (s *session) showAddress(ctx context.Context) {
	for links, err := range netif.Watch(ctx) {
		if err != nil || slices.ContainsFunc(links, hasAddress) {
			var b bytes.Buffer // in one piece, for the editor to draw its line below
			if s.links(&b) == nil && ctx.Err() == nil {
				aside{s}.Write(b.Bytes())
			}
			return
		}
	}
}

// hasAddress reports whether a link can be reached from afar.
func hasAddress(l netif.Link) bool {
	return l.Kind != netif.Loopback && slices.ContainsFunc(l.Addrs, func(p netip.Prefix) bool { return p.Addr().IsGlobalUnicast() })
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
	if s.Update != nil {
		fmt.Fprintf(w, "update\t%s\n", s.Update())
	}
	if s.Wrong != nil {
		fmt.Fprintf(w, "configuration\t%s\n", mistakes(s.Wrong()))
	}
	fmt.Fprintln(w)
	if err := w.Flush(); err != nil {
		return err
	}
	if err := s.links(out); err != nil {
		return err
	}
	return s.agent(ctx, out)
}

// agent tells how the agent is doing, if there is one.
func (s *session) agent(ctx context.Context, out io.Writer) error {
	told, err := status.Read(ctx, status.Socket)
	if err != nil {
		return nil // of an appliance without a broker, or of another machine
	}
	fmt.Fprintln(out)
	return told.WriteText(out)
}

// mistakes puts those of a configuration below each other.
func mistakes(err error) string {
	if err == nil {
		return "right"
	}
	return strings.ReplaceAll(err.Error(), "\n", "\n\t")
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
		addrs := addresses(l)
		fmt.Fprintf(w, "%s\t%s\t%s\tterminal %s\n", l.Name, state(l), addrs[0], l.Terminal())
		for _, a := range addrs[1:] {
			fmt.Fprintf(w, "\t\t%s\n", a)
		}
		if g, ok := leases[l.Name]; ok && !g.Server.IsValid() {
			fmt.Fprintf(w, "\t\tby hand, gateway %s\n", word(g.Gateway))
		} else if ok {
			fmt.Fprintf(w, "\t\tleased from %s for %v\n", word(g.Server), time.Until(g.Expires).Round(time.Second))
			fmt.Fprintf(w, "\t\tgateway %s, dns %s\n", word(g.Gateway), join(g.DNS))
		}
	}
	return w.Flush()
}

// lease prints the leases with all that is in them.
func (s *session) lease(out io.Writer) error {
	leases, err := lease.Read(s.Leases)
	if err != nil {
		return err
	}
	if len(leases) == 0 {
		fmt.Fprintln(out, "no link has a lease: doctor says why")
		return nil
	}
	for i, l := range leases {
		if i > 0 {
			fmt.Fprintln(out)
		}
		if err := writeLease(out, l); err != nil {
			return err
		}
	}
	return nil
}

func writeLease(out io.Writer, l lease.Lease) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "link\t%s\naddress\t%s\n", l.Link, l.Addr)
	if l.Server.IsValid() {
		in := func(t time.Time) time.Duration { return time.Until(t).Round(time.Second) }
		fmt.Fprintf(w, "server\t%s\ngranted\t%v ago\n", l.Server, -in(l.Acquired))
		fmt.Fprintf(w, "renewed\tin %v, by any server in %v\nends\tin %v\n", in(l.Renew), in(l.Rebind), in(l.Expires))
	} else {
		fmt.Fprintf(w, "server\tnone: the address was given by hand\n")
	}
	for _, r := range l.Routes {
		fmt.Fprintf(w, "route\t%s by %s\n", r.Dst, word(r.Via))
	}
	fmt.Fprintf(w, "dns\t%s\nntp\t%s\n", join(l.DNS), join(l.NTP))
	if len(l.Search) > 0 {
		fmt.Fprintf(w, "search\t%s\n", strings.Join(l.Search, " "))
	}
	if l.MTU > 0 {
		fmt.Fprintf(w, "mtu\t%d\n", l.MTU)
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

// addresses are those that the link can be reached by from afar.
func addresses(l netif.Link) []string {
	var all []string
	for _, a := range l.Addrs {
		if a.Addr().IsGlobalUnicast() {
			all = append(all, a.String())
		}
	}
	if len(all) == 0 {
		return []string{"no address"}
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
