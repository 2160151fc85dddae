// Package cli is the door of the command line: it runs one command of the core
// and prints its result.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/natrix-os/natrix/agent/command"
	"github.com/spf13/cobra"
)

// The exit codes of natrix. The document form keeps 0 for a failed probe, as
// the original does; those of natrix service are the original's, as a shell
// sees them.
const (
	ExitFailed          = 1   // a probe failed, or natrix itself did
	ExitUsage           = 2   // the command line is wrong
	ExitNotRunning      = 3   // service status: the service does not run
	ExitNotRoot         = 101 // service init: only root can
	ExitEnableNoUnit    = 145 // service enable: the unit is missing (401 modulo 256)
	ExitEnableNoProgram = 146 // service enable: the program is missing (402 modulo 256)
	ExitStartNoUnit     = 201 // service start: the unit is missing
	ExitStartNoProgram  = 202 // service start: the program is missing
)

// exitCodes is the same for people.
const exitCodes = `Exit codes:
  0         done; in the document form also a probe that failed
  1         the probe failed (-o text, -o json), or natrix did
  2         the command line is wrong
  3         service status: the service does not run
  101       service init: only root can
  201, 202  service start: the unit, the program is missing
  145, 146  service enable: the unit, the program is missing`

// ErrProbe is a failure that has been printed as a result.
var ErrProbe = errors.New("the probe failed")

// New is the command tree: the commands of the core, whose runs are logged, then
// further ones that main adds.
func New(set command.Set, log OpenLog, further ...*cobra.Command) *cobra.Command {
	root := &cobra.Command{
		Use:              "natrix",
		Short:            "The terminal of a network-testing system",
		Long:             about + "\n\n" + exitCodes,
		Example:          indent("natrix ping www.example.com\nnatrix -d --log-file ping.log ping www.example.com\nnatrix http -o text get https://www.example.com/\nnatrix check network -o text\nnatrix service init"),
		SilenceUsage:     true,
		SilenceErrors:    true,
		TraverseChildren: true,

		SuggestionsMinimumDistance: 2,
	}
	root.Flags().BoolP("debug", "d", false, "log everything, on standard error too")
	root.Flags().String("log-file", "", "log to this file rather than to the machine's own")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return Usage(err) })
	root.AddGroup(&cobra.Group{ID: "probe", Title: "Probes:"})
	for d := range set.All() {
		if d.Name == "mtr" {
			root.AddCommand(mtr(d, log))
			continue
		}
		root.AddCommand(probe(d, log))
	}
	root.AddCommand(further...)
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	exemplify(root)
	complete(root)
	strict(root)
	return root
}

// about says what natrix is.
const about = "natrix measures networks: from this machine, where it is typed, and on behalf of a\nNatrix server, as its terminal."

// exemplify gives cobra's own commands examples like those of all others.
func exemplify(root *cobra.Command) {
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.Example = "  natrix help http"
		case "completion":
			c.Example = "  natrix completion bash | sudo tee /etc/bash_completion.d/natrix\n  natrix completion zsh > \"${fpath[1]}/_natrix\"\n  natrix completion fish > ~/.config/fish/completions/natrix.fish"
			for _, shell := range c.Commands() {
				shell.Example = "  natrix completion " + shell.Name()
			}
		}
	}
}

// strict makes every mistake on the command line one that Report tells from a
// failure, also where cobra would print the help and be content.
func strict(cmd *cobra.Command) {
	for _, c := range cmd.Commands() {
		strict(c)
	}
	switch args := cmd.Args; {
	case !cmd.Runnable():
		cmd.Args = cobra.ArbitraryArgs
		cmd.RunE = unknown
	case args != nil:
		cmd.Args = func(cmd *cobra.Command, words []string) error { return Usage(args(cmd, words)) }
	}
}

// unknown is what a command that only holds others does with its arguments.
func unknown(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		cmd.Help()
		return Usage(errors.New("which command?"))
	}
	err := fmt.Errorf("unknown command %q", args[0])
	if close := cmd.SuggestionsFor(args[0]); len(close) > 0 {
		err = fmt.Errorf("%w, did you mean %s?", err, strings.Join(close, " or "))
	}
	return Usage(err)
}

// probe is a command of the core as a command of the tree.
func probe(d command.Definition, log OpenLog) *cobra.Command {
	run := d.Prepare()
	cmd := entry(d, run.Flags)
	form := cmd.Flags().StringP("output", "o", "document", "document: as the original prints it; text: for people; json: for scripts")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if d.Positional != "" {
			if err := run.Flags.Lookup(d.Positional).Value.Set(args[0]); err != nil {
				return Usage(err)
			}
		}
		show, known := forms[*form]
		if !known {
			return Usage(fmt.Errorf("output %q is not document, text or json", *form))
		}
		destination := args[len(args)-1]
		r, err := log.logged(cmd, d.Name, func(ctx context.Context) command.Result {
			return watched(ctx, cmd, *form, d.Name, destination, func(ctx context.Context) command.Result {
				return execute(ctx, run, d.Name, destination)
			})
		})
		if err != nil {
			return err
		}
		return show(cmd.OutOrStdout(), r)
	}
	return cmd
}

// watched shows how a probe gets on: line by line where a person reads its
// result as text, and else, if it takes a while, to a person at the terminal.
func watched(ctx context.Context, cmd *cobra.Command, form, name, destination string, execute func(context.Context) command.Result) command.Result {
	if form == "text" {
		return execute(command.AlsoProgress(ctx, func(line fmt.Stringer) { fmt.Fprintln(cmd.OutOrStdout(), line) }))
	}
	p := newProgress(cmd.ErrOrStderr(), name+" "+command.Command{Destination: destination}.Target())
	defer p.end()
	return execute(command.AlsoProgress(ctx, func(line fmt.Stringer) { p.say(line.String()) }))
}

// entry is the command of the tree for a command of the core: its words, and
// its parameters as flags.
func entry(d command.Definition, flags *command.Flags) *cobra.Command {
	cmd := &cobra.Command{
		Use:     d.Name + " DESTINATION",
		Short:   d.Summary,
		Example: indent(d.Example),
		GroupID: "probe",
	}
	if d.Positional != "" {
		cmd.Use = fmt.Sprintf("%s %s DESTINATION", d.Name, strings.ToUpper(d.Positional))
	}
	cmd.Args = arguments(cmd.Use)
	cmd.Flags().SortFlags = false
	cmd.Flags().AddFlagSet(flags.FlagSet)
	return cmd
}

func execute(ctx context.Context, run command.Invocation, name, destination string) command.Result {
	return run.Execute(ctx, command.Command{Name: name, Destination: destination, Received: time.Now()})
}

// arguments demands as many arguments as the usage line has words after the command.
func arguments(use string) cobra.PositionalArgs {
	words := strings.Fields(use)
	return func(_ *cobra.Command, args []string) error {
		if len(args) != len(words)-1 {
			return Usage(fmt.Errorf("want: natrix %s", use))
		}
		return nil
	}
}

// forms are the ways to print a result.
var forms = map[string]func(io.Writer, command.Result) error{
	"document": document,
	"text":     text,
	"json":     script,
}

// document is the original's form: a header, one line of JSON, a footer.
func document(w io.Writer, r command.Result) error {
	_, err := fmt.Fprintf(w, "%s\n%s\n%s\n", header(r.Command.Name), command.Encode(r), strings.Repeat("=", 54))
	return err
}

// header is the original's line above a result, name by name as it counted them.
func header(name string) string {
	left, right := 18, 24
	if name == "dns" {
		left, right = 21, 22
	}
	return strings.Repeat("=", left) + strings.ToUpper(name) + " EXECUTE" + strings.Repeat("=", right)
}

func text(w io.Writer, r command.Result) error {
	r.WriteText(w)
	return failed(r)
}

func script(w io.Writer, r command.Result) error {
	if _, err := fmt.Fprintf(w, "%s\n", command.Encode(r)); err != nil {
		return err
	}
	return failed(r)
}

func failed(r command.Result) error {
	if r.Err != nil {
		return ErrProbe
	}
	return nil
}

func indent(s string) string { return "  " + strings.ReplaceAll(s, "\n", "\n  ") }

// usageError is a mistake on the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// Usage marks an error as a mistake on the command line; nil stays nil.
func Usage(err error) error {
	if err == nil || errors.As(err, new(usageError)) {
		return err
	}
	return usageError{err}
}

// Report prints what a command of the tree returned, unless that was done, and
// is the exit code for it.
func Report(w io.Writer, err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, ErrProbe):
		return ExitFailed
	}
	fmt.Fprintf(w, "natrix: %v\n", err)
	if exit := new(exitError); errors.As(err, exit) {
		return exit.code
	}
	if errors.As(err, new(usageError)) {
		return ExitUsage
	}
	return ExitFailed
}

// exitError is a failure with an exit code of its own.
type exitError struct {
	error
	code int
}

func (e exitError) Unwrap() error { return e.error }
