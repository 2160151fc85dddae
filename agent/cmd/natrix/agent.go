package main

import (
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/natrix-os/natrix/agent"
	"github.com/natrix-os/natrix/agent/config"
	"github.com/natrix-os/natrix/agent/door/cli"
	"github.com/natrix-os/natrix/agent/execute"
	"github.com/natrix-os/natrix/agent/probe/page"
	"github.com/natrix-os/natrix/agent/sandbox"
	"github.com/natrix-os/natrix/agent/spool"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"
)

// agentCommand is the terminal in the foreground.
func agentCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "agent",
		Short:   "Be a terminal: take commands from the broker until told to stop",
		Example: "  natrix agent\n  natrix -d agent --config natrix.ini",
		Args:    cobra.NoArgs,
	}
	file := cmd.Flags().String("config", config.File, "configuration")
	isAppliance := cmd.Flags().Bool("appliance", false, "take the configuration from where an appliance has it; started by init")
	ram := cmd.Flags().String("runtime-directory", os.Getenv("RUNTIME_DIRECTORY"), "directory on a RAM disk: results survive the process there (systemd: RuntimeDirectory)")
	disk := cmd.Flags().String("state-directory", os.Getenv("STATE_DIRECTORY"), "directory on a disk: results that wait survive a power cut there (systemd: StateDirectory)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		settings, err := config.Load(*file, "")
		if *isAppliance {
			settings, err = applianceConfig()
		}
		logFile, verbose := cli.LogOptions(cmd)
		if verbose {
			settings.Log.Level = "debug"
		}
		log, done := agentLog(settings.Log, logFile, !*isAppliance)
		defer done()
		if err != nil {
			log.Error("configuration", "err", err) // what could be understood is used: a terminal with a typing error is better than none
		}
		log.Info("natrix agent", "version", agent.Version)
		if len(settings.AMQP.URLs) == 0 && settings.Zabbix.Mode == "" && !settings.BasicAgent.Open && *isAppliance {
			// An appliance has a shell, in which this can be read.
			log.Error("no broker is configured: set host, username and password under [RABBITMQ] in natrix.ini on the medium, or natrix.broker=URL in the kernel command line")
			agent.Pulse(cmd.Context(), log, alive, func() string { return "" })
			return nil
		}
		if os.Getenv("GOMEMLIMIT") == "" {
			debug.SetMemoryLimit(agent.MemoryLimit())
		}
		if dir := settings.Capture.Directory; dir != "" {
			if err := os.MkdirAll(dir, 0o700); err != nil {
				log.Warn("no directory for captures", "err", err)
			}
		}
		sandboxed := settings.Sandbox
		executor, err := execute.Start(agent.Policy(settings.BasicAgent)) // while there are privileges to give it
		if err != nil {
			log.Error("no command of a server will run", "err", err)
		}
		if executor != nil {
			defer executor.Close()
		}
		if settings.Sandbox {
			if err := sandbox.Enter(keep(settings.Capture.Directory, settings.Log.Directory, above(logFile), *ram, *disk, ownDirectory(settings.BasicAgent))); err != nil {
				log.Warn("not all was given up", "err", err)
				sandboxed = false
			}
		}
		places := spool.Places{RAM: below(*ram, "spool"), Medium: below(*disk, "spool")}
		a := agent.Agent{Config: settings, Log: log, Places: places, Alive: alive, Runtime: *ram, Sandboxed: sandboxed, Reached: func(phase string) { milestone(log, phase) }, Executor: executor}
		if *isAppliance {
			a.Reached = func(phase string) { milestone(log, phase); noteSession(log, phase) }
			a.Further = remoteUpdate(settings.Update)
		}
		return a.Run(cmd.Context())
	}
	return cmd
}

// keep is what the agent needs: raw sockets, the clock of a network card, and
// the directories that it writes to. On a machine with browsers it keeps what
// takes to run one as a user of its own, in a sandbox that is the browser's.
func keep(directories ...string) sandbox.Policy {
	p := sandbox.Policy{
		Capabilities: []cap.Value{cap.NET_RAW, cap.NET_ADMIN},
		Writable:     append(directories, "/run/natrix", os.TempDir()),
	}
	if len(page.Installed()) > 0 {
		p.Capabilities = append(p.Capabilities, cap.CHOWN, cap.KILL, cap.SETGID, cap.SETUID)
		p.Writable = append(p.Writable, "/proc") // a browser maps its users in there
	}
	return p
}

// alive tells the supervisor, which is PID 1 of an appliance or systemd, that
// the agent makes progress (sd_notify(3)). Without one it does nothing.
func alive() { daemon.SdNotify(false, daemon.SdNotifyWatchdog) }

// below is a directory in dir, or "" if there is no dir.
func below(dir, name string) string {
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, name)
}

// above is the directory of a file, or "" if there is no file.
func above(file string) string {
	if file == "" {
		return ""
	}
	return filepath.Dir(file)
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
