package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/natrix-os/natrix/agent"
	"github.com/natrix-os/natrix/agent/config"
	"github.com/natrix-os/natrix/agent/door/cli"
	"github.com/spf13/cobra"
)

// fleetCommand is many terminals, for people who look after a server.
func fleetCommand() *cobra.Command {
	f := agent.Fleet{Config: config.Default()}
	var broker, first string
	cmd := &cobra.Command{
		Use:   "fleet -n COUNT --broker URL",
		Short: "Be many terminals at once, to try out a server",
		Long: "Be many terminals at once, to try out a server. Each has a MAC address, a serial number, a connection,\n" +
			"a queue and reports of its own. Their commands are real; they leave by the loopback link, so that\n" +
			"127.0.0.1 answers and nothing else is reached.",
		Example: "  natrix fleet -n 1000 --broker amqp://natrix:natrix@192.0.2.1:5672/%2Fnatrix",
		Args:    cobra.NoArgs,
	}
	flags := cmd.Flags()
	flags.IntVarP(&f.Size, "count", "n", 100, "how many terminals")
	flags.StringVar(&broker, "broker", "", "URL of the broker")
	flags.StringVar(&first, "first", "02:4e:58:00:00:01", "MAC address of the first terminal; the others count on from it")
	flags.IntVar(&f.Ramp, "ramp", 100, "terminals to start in a second")
	flags.DurationVar(&f.Config.AMQP.Basic, "basic", f.Config.AMQP.Basic, "time between the basic reports of a terminal")
	flags.DurationVar(&f.Config.AMQP.Advance, "advance", f.Config.AMQP.Advance, "time between its advance reports")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		mac, err := net.ParseMAC(first)
		switch {
		case broker == "":
			return cli.Usage(errors.New("--broker is missing"))
		case err != nil || len(mac) != 6:
			return cli.Usage(fmt.Errorf("--first: %q is not a MAC address such as 02:4e:58:00:00:01", first))
		case f.Size < 1 || f.Ramp < 0:
			return cli.Usage(errors.New("a fleet has one terminal at least"))
		}
		f.First, f.Config.AMQP.URLs = mac, []string{broker}
		f.Log = logger("warn")

		ctx := cmd.Context()
		var running sync.WaitGroup
		defer running.Wait()
		running.Go(func() { f.Run(ctx) })
		for begin := time.Now(); ; {
			select {
			case <-time.After(10 * time.Second):
				rss := resident()
				fmt.Fprintf(cmd.OutOrStdout(), "%v: %d of %d terminals consume, %d commands, %d MiB, %d KiB a terminal\n",
					time.Since(begin).Round(time.Second), f.Connected(), f.Size, f.Commands(), rss>>20, rss>>10/int64(f.Size))
			case <-ctx.Done():
				return nil
			}
		}
	}
	return cmd
}

// resident is this process's memory, in bytes (proc_pid_statm(5)).
func resident() int64 {
	b, _ := os.ReadFile("/proc/self/statm")
	var size, pages int64
	fmt.Fscan(strings.NewReader(string(b)), &size, &pages)
	return pages * int64(os.Getpagesize())
}
