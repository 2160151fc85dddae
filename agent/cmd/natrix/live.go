package main

import (
	"fmt"
	"net"
	"strconv"

	"github.com/natrix-os/natrix/agent"
	"github.com/natrix-os/natrix/agent/command"
	"github.com/natrix-os/natrix/agent/config"
	"github.com/natrix-os/natrix/agent/door/cli"
	"github.com/natrix-os/natrix/agent/probe"
	"github.com/spf13/cobra"
)

// liveOptions are those of Rt-Stat's server, and a few more.
type liveOptions struct {
	sockets, quiet bool
	address        string
	port           int
	live           config.Live
}

// liveCommand is the live door alone, on any machine.
func liveCommand(prober *probe.Prober) *cobra.Command {
	var o liveOptions
	cmd := &cobra.Command{
		Use:   "live",
		Short: "Show this machine live: the Rt-Stat protocol, and a page",
		Long: "Show this machine live, in the protocol of Rt-Stat over plain TCP, or with --web-sockets over\n" +
			"WebSocket, on a page, and to Prometheus. An agent does the same with the settings under [LIVE].",
		Example: "  natrix live --web-sockets\n" +
			"  natrix live --web-sockets --interface 127.0.0.1 --port 8080 --auth-token secret --commands ping,dns",
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVarP(&o.address, "interface", "i", "0.0.0.0", "address to listen on")
	f.IntVarP(&o.port, "port", "p", 8000, "port to listen on")
	f.StringVarP(&o.live.Token, "auth-token", "a", "", "tell nothing to who does not know this token")
	f.IntVarP(&o.live.Clients, "max-clients", "c", config.Default().Live.Clients, "clients at once; 0 is any number")
	f.BoolVarP(&o.sockets, "web-sockets", "w", false, "WebSocket and the page, instead of plain TCP")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "log nothing but failures")
	f.StringSliceVar(&o.live.Commands, "commands", nil, "commands that may be run from the page, if there is a token")
	f.StringSliceVar(&o.live.Origins, "origins", nil, "hosts whose pages may connect, besides this one")
	f.StringVar(&o.live.Certificate, "certificate", "", "PEM file of a certificate, for TLS")
	f.StringVar(&o.live.Key, "key", "", "PEM file of its key, if that is another")
	f.StringVar(&o.live.Modules, "modules", "", "modules of /probe, as blackbox_exporter has them in blackbox.yml")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return o.run(cmd, prober) }
	return cmd
}

func (o *liveOptions) run(cmd *cobra.Command, prober *probe.Prober) error {
	if o.port < 0 || o.port > 65535 || o.live.Clients < 0 {
		return cli.Usage(fmt.Errorf("port %d or max-clients %d is out of range", o.port, o.live.Clients))
	}
	level := "info"
	logFile, verbose := cli.LogOptions(cmd)
	switch {
	case verbose:
		level = "debug"
	case o.quiet:
		level = "warn"
	}
	log, done := agentLog(config.Log{Level: level}, logFile, false)
	defer done()
	where := net.JoinHostPort(o.address, strconv.Itoa(o.port))
	if o.sockets {
		o.live.Listen = where
	} else {
		o.live.Raw = where
	}
	door := agent.Live(command.NewSet(prober.Commands()...))
	door.Config, door.Log = o.live, log.With("door", "rtstat")
	return door.Run(cmd.Context())
}
