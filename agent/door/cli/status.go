package cli

import (
	"encoding/json"
	"fmt"

	"github.com/natrix-os/natrix/agent/status"
	"github.com/spf13/cobra"
)

// Status is the command that tells how the agent of this machine is doing.
func Status() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Is this terminal healthy, and if not, why?",
		Example: "  natrix status\n  natrix status -o json",
		Args:    arguments("status"),
	}
	form := cmd.Flags().StringP("output", "o", "text", "text: for people; json: for scripts")
	socket := cmd.Flags().String("socket", status.Socket, "where the agent tells its status: status.sock in its runtime directory")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *form != "text" && *form != "json" {
			return Usage(fmt.Errorf("output %q is not text or json", *form))
		}
		s, err := status.Read(cmd.Context(), *socket)
		if err != nil {
			return err
		}
		if *form == "json" {
			err = json.NewEncoder(cmd.OutOrStdout()).Encode(s)
		} else {
			err = s.WriteText(cmd.OutOrStdout())
		}
		if err == nil && len(s.Problems) > 0 {
			return ErrProbe
		}
		return err
	}
	return cmd
}
