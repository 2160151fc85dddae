package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/natrix-os/natrix/agent/service"
	"github.com/spf13/cobra"
)

// Service is the command that makes natrix a service of the machine. The
// function makes the manager that writes to w.
func Service(manager func(w io.Writer) service.Manager) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "service",
		Short:   "Make natrix a service of this machine, for systemd to keep running",
		Example: "  natrix service init\n  natrix service start\n  natrix service enable",
	}
	for _, sub := range []struct {
		name, short string
		codes       map[error]int
		do          func(service.Manager, context.Context) error
	}{
		{"start", "Start the service", map[error]int{service.ErrNoUnit: ExitStartNoUnit, service.ErrNoProgram: ExitStartNoProgram}, service.Manager.Start},
		{"stop", "Stop the service", nil, service.Manager.Stop},
		{"status", "Show how the service does", map[error]int{service.ErrNotRunning: ExitNotRunning}, service.Manager.Status},
		{"enable", "Start the service with the machine from now on", map[error]int{service.ErrNoUnit: ExitEnableNoUnit, service.ErrNoProgram: ExitEnableNoProgram}, service.Manager.Enable},
		{"disable", "Start the service with the machine no more", nil, service.Manager.Disable},
	} {
		cmd.AddCommand(&cobra.Command{
			Use:     sub.name,
			Short:   sub.short,
			Example: "  natrix service " + sub.name,
			Args:    arguments(sub.name),
			RunE: func(cmd *cobra.Command, _ []string) error {
				w := cmd.OutOrStdout()
				return framed(w, sub.name, exit(sub.codes, sub.do(manager(w), cmd.Context())))
			},
		})
	}
	cmd.AddCommand(serviceInit(manager))
	return cmd
}

func serviceInit(manager func(w io.Writer) service.Manager) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Write the unit, a configuration to fill in and the directory of the log",
		Long: "Write the unit, a configuration to fill in and the directory of the log, and copy\n" +
			"the program to where a service can see it. It may be done again at any time: a\n" +
			"configuration that is there stays, and a unit that differs is kept under another name.",
		Example: "  natrix service init\n  natrix service init --fresh          # start from the template again\n  natrix service init --root /mnt/image  # for a machine that is not running",
		Args:    arguments("init"),
	}
	fresh := cmd.Flags().Bool("fresh", false, "begin with a new configuration; the one before is kept as natrix.ini.TIME")
	root := cmd.Flags().String("root", "", "directory that stands for /, such as a mounted image")
	cmd.Flags().StringP("python", "p", "", "2 or 3: accepted for scripts written for the original client")
	cmd.Flags().Lookup("python").Hidden = true
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if p := cmd.Flag("python").Value.String(); p != "" && p != "2" && p != "3" {
			return Usage(fmt.Errorf("-p %s: the original knew 2 and 3, and here neither makes a difference", p))
		}
		w := cmd.OutOrStdout()
		m := manager(w)
		m.Root = *root
		return framed(w, "init", exit(map[error]int{service.ErrNotRoot: ExitNotRoot}, m.Init(cmd.Context(), *fresh)))
	}
	return cmd
}

// framed ends what a command printed with the original's line.
func framed(w io.Writer, name string, err error) error {
	if err == nil {
		fmt.Fprintf(w, "natrix service %s: done\n%s\n", name, strings.Repeat("=", 96))
	}
	return err
}

// exit gives a failure its exit code, if it has one of its own.
func exit(codes map[error]int, err error) error {
	for kind, code := range codes {
		if errors.Is(err, kind) {
			return exitError{err, code}
		}
	}
	return err
}
