package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/natrix-os/natrix/agent"
	"github.com/natrix-os/natrix/agent/appliance"
	"github.com/natrix-os/natrix/agent/command"
	"github.com/natrix-os/natrix/agent/config"
	"github.com/natrix-os/natrix/agent/door/cli"
	"github.com/natrix-os/natrix/agent/lease"
	"github.com/natrix-os/natrix/agent/medium"
	"github.com/natrix-os/natrix/agent/probe"
	"github.com/natrix-os/natrix/agent/update"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// imageKeys are the public keys that an image was built with.
const imageKeys = "/etc/natrix/update.pub"

// sessionFile is there once the agent has consumed from the broker.
const sessionFile = "/run/natrix/session"

// updateCommand has PID 1 install another version.
func updateCommand() *cobra.Command {
	var request appliance.UpdateRequest
	cmd := &cobra.Command{
		Use:   "update URL|FILE",
		Short: "Install another version, and come back to this one if it does not work",
		Long: "Install another version: download it, check who signed it, write it to the idle slot, and restart.\n" +
			"If what works now does not work then, this version comes back by itself.\n" +
			"Ctrl-C leaves the update to itself; status says how far it is.",
		Example: "  natrix update https://updates.example.com/natrix-rpi3.update\n  natrix update --link eth1 http://192.0.2.1/natrix-amd64.update",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client := appliance.Client{Path: appliance.Socket}
			if !client.Present() {
				return errors.New("this machine is no appliance of natrix: update it as it was installed")
			}
			request.Source = args[0]
			if !strings.Contains(request.Source, "://") {
				path, err := filepath.Abs(request.Source)
				if err != nil {
					return err
				}
				request.Source = path
			}
			if err := client.Update(cmd.Context(), request); err != nil {
				return err
			}
			return follow(cmd, request.Source)
		},
	}
	cmd.Flags().StringVar(&request.Link, "link", "", "link to download through")
	cmd.Flags().BoolVar(&request.Force, "force", false, "take an older version, or the same one; and a machine that cannot try one")
	return cmd
}

// follow shows how far the update is, until it has failed or the machine goes
// down.
func follow(cmd *cobra.Command, source string) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	shown := ""
	for begun := false; ; {
		select {
		case <-tick.C:
		case <-cmd.Context().Done():
			return nil
		}
		s, err := update.ReadStatus(update.StatusFile)
		if err != nil {
			return err
		}
		begun = begun || s.Source == source
		if !begun {
			continue
		}
		if line := s.String(); line != shown {
			fmt.Fprintln(cmd.OutOrStdout(), line)
			shown = line
		}
		if s.Source == "" && s.Last.State == update.Refused {
			return cli.ErrProbe
		}
		if s.Source == "" {
			fmt.Fprintln(cmd.OutOrStdout(), "restarting")
			return nil
		}
	}
}

// lastUpdate is what status shows.
func lastUpdate() string {
	s, err := update.ReadStatus(update.StatusFile)
	if err != nil {
		return err.Error()
	}
	return s.String()
}

// installCommand is the process that PID 1 starts for an update.
func installCommand() *cobra.Command {
	return &cobra.Command{
		Use: "install REQUEST", Short: "Write an update to the idle slot; started by init", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			request, err := appliance.ParseUpdateRequest(args[0])
			if err != nil {
				return err
			}
			return install(cmd.Context(), request, logger("info"))
		},
	}
}

func install(ctx context.Context, request appliance.UpdateRequest, log *slog.Logger) error {
	slots, err := appliance.Medium(medium.Root())
	if err != nil {
		return err
	}
	show := func(s update.Status) {
		if err := s.Write(update.StatusFile); err != nil {
			log.Warn("say how far the update is", "err", err)
		}
	}
	show(update.Status{Source: request.Source})
	err = installFrom(ctx, slots, request, func(h update.Header, done int64) {
		show(update.Status{Source: request.Source, To: h.Version, Done: done, Total: h.Packed})
	}, log)
	last, _ := slots.Last() // best effort: err says more
	if err != nil && last.State != update.Refused {
		last = update.Record{State: update.Refused, Reason: err.Error()}
	}
	show(update.Status{Last: last})
	return err
}

// installFrom opens the source of an update and installs it.
func installFrom(ctx context.Context, slots update.Medium, request appliance.UpdateRequest, progress func(update.Header, int64), log *slog.Logger) error {
	settings, _ := applianceConfig() // init has told what is wrong with it
	keys, err := trusted(settings.Update)
	if err != nil {
		return err
	}
	running, err := appliance.Running()
	if err != nil {
		return err
	}
	file, err := update.Open(ctx, request.Source, request.Link)
	if err != nil {
		return err
	}
	defer file.Close()
	var shown time.Time
	h, err := update.Install(ctx, slots, file, update.Order{
		Running: running,
		Keys:    keys,
		Force:   request.Force,
		Tries:   appliance.Tries(slots),
		Needs:   update.Working(ctx, needs(nil)),
		Progress: func(h update.Header, done int64) {
			if time.Since(shown) >= time.Second {
				shown = time.Now()
				progress(h, done)
			}
		},
	})
	if err != nil {
		return err
	}
	log.Info("update installed", "version", h.Version, "slot", slots.Booted.Other(), "from", running.Version)
	return nil
}

// trusted are the keys of the image and those of the settings.
func trusted(c config.Update) ([]ed25519.PublicKey, error) {
	file, err := os.ReadFile(imageKeys)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	keys, err := update.ParsePublic(string(file) + "\n" + strings.Join(c.Keys, "\n"))
	if err == nil && len(keys) == 0 {
		err = errors.New("this terminal trusts no key: build its image with KEYS=, or set [UPDATE] keys in natrix.ini on the medium")
	}
	return keys, err
}

// trialCommand is the gate of a version on trial.
func trialCommand(prober *probe.Prober) *cobra.Command {
	return &cobra.Command{
		Use: "trial TIME", Short: "Keep the version on trial if it works; started by init", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			left, err := time.ParseDuration(args[0])
			if err != nil {
				return err
			}
			slots, err := appliance.Medium(medium.Root())
			if err != nil {
				return err
			}
			r, err := slots.Last()
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), left)
			defer cancel()
			if err := update.Gate(ctx, needs(prober), append(r.Needs, "probe"), time.Second); err != nil {
				return errors.Join(err, update.Reject(slots, r, err))
			}
			if err := update.Keep(slots, r); err != nil {
				return err
			}
			r, err = slots.Last()
			logger("info").Info("update", "last", r)
			return errors.Join(err, update.Status{Last: r}.Write(update.StatusFile))
		},
	}
}

// needs are what works on a terminal that is well. The probe to itself is asked
// of a version on trial alone, and always.
func needs(prober *probe.Prober) []update.Need {
	all := []update.Need{
		{Name: "lease", Works: hasLease},
		{Name: "clock", Works: func(context.Context) error { return clockSet() }},
		{Name: "broker", Works: func(context.Context) error {
			if _, err := os.Stat(sessionFile); err != nil {
				return errors.New("no session with the broker")
			}
			return nil
		}},
	}
	if prober != nil {
		all = append(all, update.Need{Name: "probe", Works: func(ctx context.Context) error { return pingItself(ctx, prober) }})
	}
	return all
}

func hasLease(context.Context) error {
	leases, err := lease.Read(lease.DefaultDir)
	if err == nil && len(leases) == 0 {
		err = errors.New("no link has an address")
	}
	return err
}

// clockSet asks the kernel whether somebody keeps its clock right.
func clockSet() error {
	var t unix.Timex
	if _, err := unix.Adjtimex(&t); err != nil {
		return os.NewSyscallError("adjtimex", err)
	}
	if t.Status&unix.STA_UNSYNC != 0 {
		return errors.New("not synchronised")
	}
	return nil
}

func pingItself(ctx context.Context, prober *probe.Prober) error {
	p := probe.DefaultPing()
	p.Count = 1
	r, err := prober.Ping(ctx, "127.0.0.1", p)
	if err == nil && !slices.ContainsFunc(r.Packets, func(p probe.PingPacket) bool { return p.Answered }) {
		err = errors.New("127.0.0.1 does not answer")
	}
	return err
}

// noteSession leaves a mark that the broker was reached.
func noteSession(log *slog.Logger, phase string) {
	if phase != agent.PhaseBroker {
		return
	}
	if err := os.WriteFile(sessionFile, nil, 0o600); err != nil {
		log.Warn("note the session", "err", err)
	}
}

// remoteUpdate is the command by which the server orders an update, if it may.
func remoteUpdate(c config.Update) []command.Definition {
	if !c.Remote {
		return nil
	}
	return []command.Definition{update.Command(func(ctx context.Context, url, link string) error {
		if scheme, _, _ := strings.Cut(url, "://"); scheme != "http" && scheme != "https" {
			return fmt.Errorf("%.60q: want a URL with http or https: %w", url, command.ErrParameter)
		}
		return appliance.Client{Path: appliance.Socket}.Update(ctx, appliance.UpdateRequest{Source: url, Link: link})
	})}
}
