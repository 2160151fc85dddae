package main

import (
	"io"
	"os"

	"github.com/natrix-os/natrix/agent/appliance"
	"github.com/natrix-os/natrix/agent/door/cli"
	"github.com/natrix-os/natrix/agent/service"
	"github.com/spf13/cobra"
)

// serviceCommand makes natrix a service of an ordinary machine.
func serviceCommand() *cobra.Command {
	return cli.Service(func(w io.Writer) service.Manager {
		program, _ := os.Executable() // without /proc nothing else works either
		return service.Manager{Program: program, Appliance: (appliance.Client{Path: appliance.Socket}).Present(), Out: w}
	})
}
