package main

import (
	"context"
	"encoding/json"

	"github.com/natrix-os/natrix/agent"
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
		c, err := config.Load(config.File, "")
		if err != nil && !config.Missing(err) {
			return nil, err
		}
		return check(ctx, c.Network, prober, kind)
	})
}

// reportCommand sends a report to the server.
func reportCommand(prober *probe.Prober) *cobra.Command {
	return cli.ReportCommand(func(ctx context.Context, kind string) ([]byte, error) {
		c, err := config.Load(config.File, "")
		if err != nil {
			return nil, err
		}
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

// check makes a document. What could not be found out is a gap in it, not an error.
func check(ctx context.Context, targets config.Network, prober *probe.Prober, kind string) (command.Data, error) {
	document, _ := agent.Reporter(targets, prober).Check(ctx, kind)
	return document, ctx.Err()
}
