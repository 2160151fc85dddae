package main

import (
	"log/slog"
	"math"
	"time"

	"github.com/natrix-os/natrix/agent"
	"github.com/natrix-os/natrix/agent/config"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// agentCommand is the terminal in the foreground.
func agentCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Be a terminal: take commands from the broker until told to stop",
		Args:  cobra.NoArgs,
	}
	file := cmd.Flags().String("config", config.File, "configuration")
	cmdline := cmd.Flags().String("cmdline", "", "kernel command line whose natrix. words win over the file, such as /proc/cmdline")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		settings, err := config.Load(*file, *cmdline)
		log := logger(settings.Log.Level)
		if err != nil && !(*cmdline != "" && config.Missing(err)) {
			log.Error("configuration", "err", err) // what could be understood is used: a terminal with a typing error is better than none
		}
		log.Info("natrix agent", "version", agent.Version)
		if len(settings.AMQP.URLs) == 0 && *cmdline != "" {
			// An appliance has a shell, in which this can be read.
			log.Error("no broker is configured: the kernel command line wants natrix.broker=URL, or the image a " + config.File)
			<-cmd.Context().Done()
			return nil
		}
		a := agent.Agent{Config: settings, Log: log, Reached: func(phase string) { milestone(log, phase) }}
		return a.Run(cmd.Context())
	}
	return cmd
}

// milestone logs how far the machine has come, in seconds since its kernel began.
func milestone(log *slog.Logger, phase string) {
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		return
	}
	at := time.Duration(up.Nano()).Seconds()
	log.Info("boot", "phase", phase, "at", math.Round(at*1000)/1000)
}
