package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/natrix-os/natrix/agent/command"
	"github.com/spf13/cobra"
)

// mtr is the probe of that name with what its users expect: a live display on a
// terminal, until a number of rounds, a report or another form is asked for;
// the report as text otherwise; and mtr's own document for -o json.
func mtr(d command.Definition, log OpenLog) *cobra.Command {
	run := d.Prepare()
	cmd := entry(d, run.Flags)
	report := cmd.Flags().BoolP("report", "r", false, "print a report, without a live display")
	wide := cmd.Flags().BoolP("report-wide", "w", false, "the same")
	short := cmd.Flags().BoolP("json", "j", false, "the same as -o json")
	form := cmd.Flags().StringP("output", "o", "text", "text: for people; json: as mtr prints it; document: as other commands print it")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *short {
			*form = "json"
		}
		show, known := mtrForms[*form]
		if !known {
			return Usage(fmt.Errorf("output %q is not text, json or document", *form))
		}
		asked := *report || *wide || *short || cmd.Flags().Changed("output") || cmd.Flags().Changed("report-cycles")
		if stage, close, ok := stageOf(cmd.OutOrStdout()); ok && !asked {
			defer close()
			if err := run.Flags.Lookup("report-cycles").Value.Set("0"); err != nil {
				return err
			}
			return watch(cmd.Context(), stage, cmd.OutOrStdout(), run, args[0])
		}
		r, err := log.logged(cmd, d.Name, func(ctx context.Context) command.Result {
			p := newProgress(cmd.ErrOrStderr(), d.Name+" "+args[0])
			defer p.end()
			return execute(ctx, run, d.Name, args[0])
		})
		if err != nil {
			return err
		}
		return show(cmd.OutOrStdout(), r)
	}
	return cmd
}

// mtrForms are the ways to print the result of mtr.
var mtrForms = map[string]func(io.Writer, command.Result) error{
	"document": document,
	"text":     text,
	"json":     bare,
}

// bare is the data without the document around it, as mtr prints its own.
func bare(w io.Writer, r command.Result) error {
	if r.Err != nil {
		return r.Err
	}
	body, err := json.MarshalIndent(r.Data, "", "    ")
	if err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	_, err = fmt.Fprintf(w, "%s\n", body)
	return err
}
