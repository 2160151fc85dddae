package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/natrix-os/natrix/agent"
	"github.com/natrix-os/natrix/agent/appliance"
	"github.com/natrix-os/natrix/agent/config"
	"github.com/natrix-os/natrix/agent/door/shell"
	"github.com/natrix-os/natrix/agent/lease"
	"github.com/natrix-os/natrix/agent/logs"
	"github.com/natrix-os/natrix/agent/medium"
	"github.com/natrix-os/natrix/agent/probe"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// kernel is where the kernel's command line is read.
const kernel = "/proc/cmdline"

// initialise is PID 1: it returns only if it could not be that.
func initialise(ctx context.Context) error {
	if os.Getpid() != 1 {
		return errors.New("init is for the kernel to start")
	}
	return appliance.Run(ctx, appliance.Config{
		Settings: applianceConfig,
		Network:  []string{"network"},
		Agent:    []string{"agent", "--appliance", "--runtime-directory", "/run/natrix"},
		Shell:    []string{"shell"},
		Update:   []string{"install"},
		Trial:    []string{"trial"},
		Data:     []string{"data"},
	})
}

// applianceConfig is the configuration of an appliance. Whoever is nearer to
// the machine wins: the network, the image, what the Raspberry Pi Imager put on
// the medium, the file that somebody edited there, the kernel command line, what
// was set on the console. None needs to be there.
// The network has no say in whose updates are taken: everybody speaks there.
func applianceConfig() (config.Config, error) {
	files := settingFiles()
	c, err := config.LoadLayers(files, kernel, config.Session)
	trusted, _ := config.LoadLayers(files[1:], kernel, config.Session) // the error is in the other one
	c.Update = trusted.Update
	return c, err
}

func settingFiles() []string {
	files := []string{appliance.NetworkConfig, config.File}
	for _, name := range []string{config.UserDataFile, config.NetworkConfigFile, medium.ConfigFile} {
		files = append(files, filepath.Join(appliance.BootDir, name))
	}
	return files
}

// networkCommand is the process that PID 1 keeps for the network.
func networkCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "network",
		Short:  "Keep leases and clock of an appliance; started by init",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _ := applianceConfig() // init has told what is wrong with it
			log := logger("info")
			for _, what := range c.Ignored {
				log.Info("settings that mean nothing here", "ignored", what)
			}
			var sending sync.WaitGroup
			defer sending.Wait()
			sending.Go(func() { sendLog(cmd.Context(), c.Log, log) })
			return appliance.Network(cmd.Context(), c.Appliance, log)
		},
	}
}

// dataCommand is the process that PID 1 starts for a data partition that it
// cannot mount.
func dataCommand() *cobra.Command {
	return &cobra.Command{
		Use: "data", Short: "Make or mend the data partition; started by init", Hidden: true, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			done, err := appliance.PrepareData(medium.Root())
			if err == nil {
				logger("info").Info("data partition", "done", done)
			}
			return err
		},
	}
}

// sendLog sends the log that PID 1 keeps, from its first line, to the collector
// that the configuration names, until ctx ends.
func sendLog(ctx context.Context, c config.Log, log *slog.Logger) {
	if c.Syslog == "" {
		return
	}
	collector, err := logs.Dial(c.Syslog)
	if err != nil {
		log.Error("the log stays here", "err", err)
		return
	}
	defer collector.Close()
	const everything = 1 << 20 // lines, more than PID 1 keeps
	err = appliance.Client{Path: appliance.Socket}.Log(ctx, collector, everything, true)
	if err != nil && ctx.Err() == nil {
		log.Error("the log stays here", "err", err)
	}
}

// shellCommand is the prompt of a console: the one that is named, which PID 1
// hands over, or else the terminal on standard input.
func shellCommand(prober *probe.Prober) *cobra.Command {
	return &cobra.Command{
		Use:     "shell [CONSOLE]",
		Short:   "The natrix prompt: the commands of this command line, edited and repeated with ease",
		Example: "  natrix shell",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c := shell.Config{Root: func() *cobra.Command { return prompt(prober) }, Version: agent.Version, Leases: lease.DefaultDir}
			if client := (appliance.Client{Path: appliance.Socket}); client.Present() {
				c.Machine = client
				c.Settings = shell.Settings{Files: settingFiles(), Kernel: kernel, Session: config.Session, Save: onMedium(appliance.BootDir, medium.ConfigFile), Unlock: appliance.UnlockBoot}
				c.History = cmp.Or(onMedium(appliance.DataDir, "history")(), "/run/natrix/history")
				c.Update = lastUpdate
				c.Wrong = func() error { _, err := applianceConfig(); return err }
			}
			path := "/dev/tty"
			if len(args) > 0 {
				path, c.Console = "/dev/"+args[0], args[0]
			}
			tty, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
			if err != nil {
				return fmt.Errorf("open the terminal: %w", err)
			}
			defer tty.Close()
			c.TTY = tty
			return shell.Run(cmd.Context(), c)
		},
	}
}

// onMedium is a function that returns the path of a file on a partition; ""
// while that is not mounted.
func onMedium(dir, name string) func() string {
	return func() string {
		var here, root unix.Stat_t
		if unix.Stat(dir, &here) != nil || unix.Stat("/", &root) != nil || here.Dev == root.Dev {
			return ""
		}
		return filepath.Join(dir, name)
	}
}
