package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/natrix-os/natrix/agent/door/mtr"
	"github.com/natrix-os/natrix/agent/packet"
	"github.com/spf13/cobra"
)

// mtrCommand is the door under a name of its own; mtr itself calls the binary
// mtr-packet.
func mtrCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "mtr-packet",
		Short:   "Send packets for mtr: MTR_PACKET=mtr-packet mtr www.example.com",
		Example: "  ln -s /usr/local/bin/natrix /usr/local/lib/mtr-packet\n  MTR_PACKET=/usr/local/lib/mtr-packet mtr --report www.example.com",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return mtrPacket(cmd.Context()) },
	}
}

// mtrPacket serves the process that started this one. NATRIX_MTR=0.95 or 0.96
// says what version of mtr that is, where it cannot be seen.
func mtrPacket(ctx context.Context) error {
	// Signals end mtr-packet at once, even while nobody reads its output.
	signal.Reset(syscall.SIGINT, syscall.SIGTERM)
	engine, err := packet.Open(packet.Options{})
	if err != nil {
		return err
	}
	defer engine.Close()
	parent := os.Getppid()
	version := os.Getenv("NATRIX_MTR")
	if version == "" {
		version = mtr.VersionFor(parent) // looks into the parent, which root alone may
	}
	if err := mtr.DropPrivileges(); err != nil {
		return err
	}
	return mtr.Serve(ctx, mtr.Config{Version: version, Parent: parent}, engine, os.Stdin, os.Stdout)
}
