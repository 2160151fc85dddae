package shell

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/natrix-os/natrix/agent/capture"
	"github.com/natrix-os/natrix/agent/door/cli"
	"github.com/natrix-os/natrix/sysinfo/netif"
)

// captureOptions are what may be asked of a capture.
type captureOptions struct {
	count int
	match string
	write bool
}

// capture is the command that shows the packets of a link, or keeps them.
func (s *session) capture() *cobra.Command {
	var o captureOptions
	c := &cobra.Command{
		Use: "capture LINK", Short: "Show the packets of a link in a line each, until Ctrl-C; or keep them in a file", Args: cobra.ExactArgs(1),
		Example: "  capture eth0\n  capture eth0 -m dhcp\n  capture eth0 -w -c 1000",
		ValidArgsFunction: func(c *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return cli.Links(c, args, word)
		},
		RunE: func(c *cobra.Command, args []string) error {
			link, err := netif.ByName(args[0])
			if err != nil {
				return err
			}
			return s.listen(c.Context(), c.OutOrStdout(), link, o)
		},
	}
	c.Flags().IntVarP(&o.count, "count", "c", 0, "stop after so many packets; 0 for never")
	c.Flags().StringVarP(&o.match, "match", "m", "", "show only lines with this text, such as arp, dhcp or an address")
	c.Flags().BoolVarP(&o.write, "write", "w", false, "keep all packets in a pcapng file instead")
	return c
}

// listen captures until ctx ends, which is how a capture is meant to, or there
// are enough packets.
func (s *session) listen(ctx context.Context, out io.Writer, link netif.Link, o captureOptions) error {
	ctx, enough := context.WithCancel(ctx)
	defer enough()
	var file io.Writer
	if o.write {
		f, err := s.captureFile(link.Name)
		if err != nil {
			return err
		}
		defer f.Close()
		file = f
		fmt.Fprintf(out, "writing %s, at most %d MiB, until Ctrl-C\n", f.Name(), capture.DefaultLimit>>20)
	}
	seen := 0
	sum, err := capture.Link(ctx, link.Index, file, capture.DefaultLimit, func(p capture.Packet) {
		if o.count > 0 && seen >= o.count {
			return
		}
		if file == nil {
			line := describe(p)
			if !strings.Contains(line, o.match) {
				return
			}
			fmt.Fprintln(out, line)
		}
		if seen++; seen == o.count {
			enough()
		}
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d packets, %d bytes", sum.Packets, sum.Bytes)
	if sum.Left+sum.Lost > 0 {
		fmt.Fprintf(out, "; %d more did not fit, %d were too fast", sum.Left, sum.Lost)
	}
	fmt.Fprintln(out)
	return nil
}

// captureFile is a new file where History is kept, which outlives a reboot if
// there is a medium.
func (s *session) captureFile(link string) (*os.File, error) {
	dir := os.TempDir()
	if s.History != "" {
		dir = filepath.Dir(s.History)
	}
	name := fmt.Sprintf("capture-%s-%s.pcapng", link, time.Now().UTC().Format("20060102-150405"))
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("keep packets: %w", err)
	}
	return f, nil
}
