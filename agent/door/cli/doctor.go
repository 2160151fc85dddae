package cli

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/natrix-os/natrix/agent/doctor"
	"github.com/spf13/cobra"
)

// Doctor is the command that finds out why the terminal is offline. The
// function says what there is to know about the terminal.
func Doctor(about func() doctor.Config) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Why is this terminal offline? Step by step from the cable to the broker's queue",
		Long: "Why is this terminal offline? Each step, from the cable to the broker's queue, passes or says what to do;\n" +
			"the code at the end can be read out over a telephone, and explained with --explain.",
		Example: "  natrix doctor\n  natrix doctor --lang zh --link eth1\n  natrix doctor --explain 0821-0005",
		Args:    arguments("doctor"),
	}
	link := cmd.Flags().StringP("link", "i", "", "examine this link rather than the one that the default route takes")
	lang := cmd.Flags().String("lang", "", "en or zh; without it as LANG says")
	code := cmd.Flags().String("explain", "", "say what the code of another terminal means")
	form := cmd.Flags().StringP("output", "o", "text", "text: for people; json: for scripts")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		language, err := languageOf(*lang)
		if err != nil {
			return Usage(err)
		}
		if *code != "" {
			c, err := doctor.Parse(*code)
			if err != nil {
				return Usage(err)
			}
			return c.Explain(cmd.OutOrStdout(), language)
		}
		show := func(f doctor.Finding) { f.Write(cmd.OutOrStdout(), language) }
		switch *form {
		case "json":
			show = func(doctor.Finding) {}
		case "text":
		default:
			return Usage(fmt.Errorf("output %q is not text or json", *form))
		}
		c := about()
		c.Link = *link
		r := doctor.Examine(cmd.Context(), c, show)
		if err := cmd.Context().Err(); err != nil {
			return err
		}
		if *form == "json" {
			err = json.NewEncoder(cmd.OutOrStdout()).Encode(r)
		} else {
			err = r.WriteSum(cmd.OutOrStdout(), language)
		}
		if _, offline := r.Failed(); offline && err == nil {
			return ErrProbe
		}
		return err
	}
	return cmd
}

// languageOf is the language that was asked for, or else that of the
// environment, or else English.
func languageOf(asked string) (doctor.Language, error) {
	if asked != "" {
		return doctor.ParseLanguage(asked)
	}
	l, _ := doctor.ParseLanguage(os.Getenv("LANG"))
	return l, nil
}
