package main

import (
	"github.com/natrix-os/natrix/agent/appliance"
	"github.com/natrix-os/natrix/agent/doctor"
	"github.com/natrix-os/natrix/agent/door/cli"
	"github.com/natrix-os/natrix/agent/lease"
	"github.com/natrix-os/natrix/sysinfo"
	"github.com/spf13/cobra"
)

// doctorCommand finds out why this machine is offline.
func doctorCommand() *cobra.Command { return cli.Doctor(patient) }

// patient is what there is to know about this machine. What cannot be read is
// left out: the doctor finds out what is missing.
func patient() doctor.Config {
	settings := machineConfig()
	resolver, _ := sysinfo.Machine{}.Resolver()
	c := doctor.Config{
		Brokers: settings.AMQP.URLs,
		NTP:     settings.Appliance.NTP,
		Servers: resolver.Servers,
		Search:  resolver.Search,
		Leases:  leases,
		Built:   appliance.Built(),
	}
	if (appliance.Client{Path: appliance.Socket}).Present() {
		held, _ := lease.Read(lease.DefaultDir)
		c.NTP = appliance.TimeServers(settings.Appliance, held)
	}
	return c
}

func leases() ([]doctor.Lease, error) {
	held, err := lease.Read(lease.DefaultDir)
	var all []doctor.Lease
	for _, l := range held {
		all = append(all, doctor.Lease{Link: l.Link, Addr: l.Addr, Server: l.Server, Expires: l.Expires})
	}
	return all, err
}
