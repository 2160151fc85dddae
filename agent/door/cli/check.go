package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/natrix-os/natrix/agent/command"
	"github.com/spf13/cobra"
)

var (
	checks  = []string{"basic", "advance", "system", "hardware", "network"}
	reports = checks[:2]
)

// Check is the command that prints what the terminal knows about itself. The
// function makes the page of one of the five kinds.
func Check(page func(ctx context.Context, kind string) (command.Data, error)) *cobra.Command {
	cmd := &cobra.Command{
		Use:       "check KIND",
		Short:     "What this terminal knows about itself: " + strings.Join(checks, ", "),
		Example:   "  natrix check basic\n  natrix check -o text network",
		ValidArgs: checks,
		Args:      oneOf(checks),
	}
	form := cmd.Flags().StringP("output", "o", "document", "document: as the original prints it; text: for people; json: for scripts")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p, err := page(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		if *form == "text" {
			p.WriteText(cmd.OutOrStdout())
			return nil
		}
		body, err := json.Marshal(p)
		if err != nil {
			return err
		}
		switch *form {
		case "document":
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n%s\n%s\n", header("check"), body, strings.Repeat("=", 54))
		case "json":
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", body)
		default:
			err = Usage(fmt.Errorf("output %q is not document, text or json", *form))
		}
		return err
	}
	return cmd
}

// ReportCommand is the command that sends a report to the server by hand. The
// function sends one of the two kinds and returns what it sent.
func ReportCommand(send func(ctx context.Context, kind string) ([]byte, error)) *cobra.Command {
	return &cobra.Command{
		Use:       "report KIND",
		Aliases:   []string{"keepalive"}, // as the original's documentation has it
		Short:     "Send a report to the server now: " + strings.Join(reports, ", "),
		Example:   "  natrix report basic",
		ValidArgs: reports,
		Args:      oneOf(reports),
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := send(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n%s\n", header("report"), body)
			return err
		},
	}
}

// oneOf demands one argument, one of these words.
func oneOf(words []string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 1 || !slices.Contains(words, args[0]) {
			return Usage(fmt.Errorf("want one of: %s", strings.Join(words, ", ")))
		}
		return nil
	}
}
