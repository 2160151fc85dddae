// Natrix is the terminal in one binary, which acts by the name that it is
// called under: init is PID 1 of an appliance, mtr-packet is mtr's,
// BasicAgentCtl answers queries, everything else is the command line.
package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/natrix-os/natrix/agent"
	"github.com/natrix-os/natrix/agent/command"
	"github.com/natrix-os/natrix/agent/door/cli"
	"github.com/natrix-os/natrix/agent/execute"
	"github.com/natrix-os/natrix/agent/flash"
	"github.com/natrix-os/natrix/agent/medium"
	"github.com/natrix-os/natrix/agent/probe"
	"github.com/natrix-os/natrix/agent/report"
	"github.com/spf13/cobra"

	_ "golang.org/x/crypto/x509roots/fallback" // certificate authorities, for machines that have none
)

func main() {
	if status, ours := execute.Main(os.Args[0], confine); ours {
		os.Exit(status)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	switch filepath.Base(os.Args[0]) {
	case "init":
		os.Exit(cli.Report(os.Stderr, initialise(context.Background())))
	case "BasicAgentCtl":
		os.Exit(basicAgentCtl(ctx, os.Args[1:], os.Stdout, os.Stderr))
	case "mtr-packet":
		os.Exit(cli.Report(os.Stderr, mtrPacket(ctx)))
	}
	prober := probe.New()
	defer prober.Close()
	prober.Locations = locations()
	os.Exit(cli.Report(os.Stderr, tree(prober).ExecuteContext(ctx)))
}

// tree is the command line.
func tree(prober *probe.Prober) *cobra.Command {
	return prompt(prober, agentCommand(), cli.Status(), networkCommand(), shellCommand(prober), mtrCommand(), installCommand(), dataCommand(), trialCommand(prober))
}

// prompt is the part of the command line that makes sense in the shell, and
// what is added to it.
func prompt(prober *probe.Prober, further ...*cobra.Command) *cobra.Command {
	set := command.NewSet(prober.Commands()...)
	return cli.New(set, consoleLog, append(further,
		checkCommand(prober),
		reportCommand(prober),
		dispatchCommand(),
		fleetCommand(),
		liveCommand(prober),
		gatewayCommand(),
		serviceCommand(),
		doctorCommand(),
		cli.Flash(flash.System(medium.Root())),
		updateCommand(),
		cli.PXE(func() *slog.Logger { return logger("info") }),
		cli.Schema(set, report.Wires()),
		cli.Config(),
		cli.Version(agent.Version),
	)...)
}
