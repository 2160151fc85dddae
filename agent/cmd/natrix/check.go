package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/natrix-os/natrix/agent"
	"github.com/natrix-os/natrix/agent/appliance"
	"github.com/natrix-os/natrix/agent/command"
	"github.com/natrix-os/natrix/agent/config"
	"github.com/natrix-os/natrix/agent/door/amqp"
	"github.com/natrix-os/natrix/agent/door/cli"
	"github.com/natrix-os/natrix/agent/probe"
	"github.com/spf13/cobra"
)

// checkCommand prints what the terminal knows about itself.
func checkCommand(prober *probe.Prober) *cobra.Command {
	return cli.Check(func(ctx context.Context, kind string) (command.Data, error) {
		return check(ctx, machineConfig().Network, prober, kind)
	})
}

// reportCommand sends a report to the server.
func reportCommand(prober *probe.Prober) *cobra.Command {
	return cli.ReportCommand(func(ctx context.Context, kind string) ([]byte, error) {
		c := machineConfig()
		document, err := check(ctx, c.Network, prober, kind)
		if err != nil {
			return nil, err
		}
		body, err := json.Marshal(document)
		if err != nil {
			return nil, err
		}
		queue := map[string]string{"basic": amqp.BasicQueue, "advance": amqp.AdvanceQueue}[kind]
		return body, amqp.Publish(ctx, c.AMQP, queue, body)
	})
}

// machineConfig is the configuration of the terminal that this machine is: that
// of its agent. What is wrong with it is told, and the rest used.
func machineConfig() config.Config {
	c, err := loadMachineConfig()
	if err != nil && !config.Missing(err) {
		fmt.Fprintln(os.Stderr, "natrix:", err)
	}
	return c
}

func loadMachineConfig() (config.Config, error) {
	if (appliance.Client{Path: appliance.Socket}).Present() {
		return applianceConfig()
	}
	return config.Load(config.File, "")
}

// check makes a document. What could not be found out is a gap in it, not an error.
func check(ctx context.Context, targets config.Network, prober *probe.Prober, kind string) (command.Data, error) {
	document, _ := agent.Reporter(targets, prober).Check(ctx, kind)
	return document, ctx.Err()
}
