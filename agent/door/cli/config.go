package cli

import (
	"fmt"
	"runtime/debug"
	"strings"

	"github.com/natrix-os/natrix/agent/config"
	"github.com/spf13/cobra"
)

// Config is the command that looks at configuration files.
func Config() *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Look at configuration files", Example: "  natrix config check /etc/natrix/natrix.ini"}
	cmd.AddCommand(&cobra.Command{
		Use:     "check FILE",
		Short:   "Say whether a configuration file is right, and what it means",
		Example: "  natrix config check /etc/natrix/natrix.ini",
		Args:    arguments("check FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := config.Load(args[len(args)-1], "")
			if err != nil {
				return err
			}
			w := cmd.OutOrStdout()
			fmt.Fprintln(w, "the file is right")
			for _, broker := range c.AMQP.URLs {
				fmt.Fprintf(w, "broker     %s\n", config.Redact(broker))
			}
			if len(c.AMQP.URLs) == 0 {
				fmt.Fprintln(w, "broker     none: the terminal takes no commands from a server")
			}
			fmt.Fprintf(w, "commands   at most %d in hand\n", c.AMQP.Prefetch)
			fmt.Fprintf(w, "reports    basic every %v, advance every %v\n", c.AMQP.Basic, c.AMQP.Advance)
			if c.AMQP.ReplyDelay > 0 {
				fmt.Fprintf(w, "answers    after %v at the earliest\n", c.AMQP.ReplyDelay)
			}
			fmt.Fprintf(w, "limits     %s\n", limits(c.Limits))
			fmt.Fprintf(w, "log        %s\n", destinations(c.Log))
			fmt.Fprintf(w, "locations  from %s\n", strings.Join(c.Location.Data, ", "))
			if c.Capture.Directory != "" {
				fmt.Fprintf(w, "captures   of the server's commands in %s\n", c.Capture.Directory)
			}
			fmt.Fprintf(w, "internet   %q\ncorporate  %q\nintranet   %q\n", c.Network.Internet, c.Network.Corporate, c.Network.Intranet)
			return nil
		},
	})
	return cmd
}

// Version is the command that prints the version, and the revision of the
// sources where the build recorded it: that of a release does not, so that its
// bytes depend on nothing else.
func Version(version string) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  natrix version",
		Args:    arguments("version"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if build, ok := debug.ReadBuildInfo(); ok {
				version += revision(build.Settings)
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "natrix", version)
			return err
		},
	}
}

// revision is " (revision, changed)" as far as the build says.
func revision(settings []debug.BuildSetting) string {
	about := make(map[string]string)
	for _, s := range settings {
		about[s.Key] = s.Value
	}
	r := about["vcs.revision"]
	if r == "" {
		return ""
	}
	if about["vcs.modified"] == "true" {
		r += ", changed"
	}
	return " (" + r + ")"
}

// limits says in words what commands may do at once.
func limits(l config.Limits) string {
	all, heavy := "as many commands at once as suit the machine", "half of them"
	if l.Commands > 0 {
		all = fmt.Sprintf("at most %d light commands at once", l.Commands)
	}
	if l.Heavy > 0 {
		heavy = fmt.Sprint(l.Heavy)
	}
	return fmt.Sprintf("%s, heavy ones in place of %s", all, heavy)
}

// destinations says in words what is logged, and where to.
func destinations(l config.Log) string {
	s := l.Level
	if l.Directory != "" {
		s += ", to files in " + l.Directory
	}
	if l.Syslog != "" {
		s += ", to " + l.Syslog
	}
	return s
}
