package cli

import (
	"errors"
	"log/slog"
	"strings"

	"github.com/natrix-os/natrix/agent/pxe"
	"github.com/spf13/cobra"
)

// PXE is the command that boots the neighbours on a link. The service logs to
// what log returns.
func PXE(log func() *slog.Logger) *cobra.Command {
	const use = "pxe --link LINK"
	cmd := &cobra.Command{
		Use:   use,
		Short: "Boot the PCs on a link over the network",
		Long: "Boot the PCs on a link over the network, until Ctrl-C: tell them by DHCP what to load, and give it to them by\n" +
			"TFTP and HTTP, under BIOS, UEFI and iPXE. Addresses come from the DHCP server that is there; on a cable of its\n" +
			"own, --serve-addresses gives them out, and is refused if another server answers. Other links see nothing.\n" +
			"Whoever is on the link can read the configuration, passwords in it included.",
		Example: "  natrix pxe --link eth1 --dir build/image/amd64/pxe --config natrix.ini\n" +
			"  natrix pxe --link eth1 --broker amqp://natrix:secret@192.0.2.1/\n" +
			"  natrix pxe --link eth1 --serve-addresses 192.0.2.10-192.0.2.50",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return Usage(errors.New("want: natrix " + use))
			}
			return nil
		},
	}
	var c pxe.Config
	flags := cmd.Flags()
	flags.StringVarP(&c.Link, "link", "i", "", "`LINK` to serve on, and on no other")
	flags.StringVar(&c.Dir, "dir", "build/image/amd64/pxe", "`DIRECTORY` with what is loaded, as make image BOARD=amd64 makes it")
	addresses := flags.String("serve-addresses", "", "`RANGE` of addresses to give out, such as 192.0.2.10-192.0.2.50")
	file := flags.String("config", "", "`FILE` that the neighbours are configured by, like natrix.ini; one with a mistake is refused")
	broker := flags.String("broker", "", "`URL` of their broker, instead of a file")
	flags.StringVar(&c.Words, "words", "", "further `WORDS` for their kernel command line, such as natrix.log=debug")
	flags.IntVar(&c.HTTPPort, "http-port", 80, "`PORT` for HTTP")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		switch {
		case c.Link == "":
			return Usage(errors.New("--link is missing"))
		case *file != "" && *broker != "":
			return Usage(errors.New("--broker and --config: want one of them"))
		case strings.ContainsAny(*broker, "\r\n"):
			return Usage(errors.New("--broker is more than one line"))
		case *addresses != "":
			if c.Addresses, err = pxe.ParseRange(*addresses); err != nil {
				return Usage(err)
			}
		}
		if c.Ini, err = checked(*file); err != nil {
			return err
		}
		if *broker != "" {
			c.Ini = []byte("[RABBITMQ]\nurl = " + *broker + "\n")
		}
		return pxe.Run(cmd.Context(), c, log())
	}
	return cmd
}
