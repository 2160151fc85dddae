package cli

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/natrix-os/natrix/agent/command"
	"github.com/spf13/cobra"
)

// OpenLog opens the log of a command line: the file that --log-file names, or
// the machine's own where file is "". What is logged besides, with debug, is
// everything. The caller calls close.
type OpenLog func(file string, debug bool) (log *slog.Logger, close func(), err error)

// LogOptions are what natrix [-d] [--log-file FILE] COMMAND says.
func LogOptions(cmd *cobra.Command) (file string, debug bool) {
	flags := cmd.Root().Flags()
	file, _ = flags.GetString("log-file")
	debug, _ = flags.GetBool("debug")
	return file, debug
}

// logged runs a probe, and logs each line of its progress and its outcome. A nil
// OpenLog logs nowhere.
func (open OpenLog) logged(cmd *cobra.Command, name string, execute func(context.Context) command.Result) (command.Result, error) {
	if open == nil {
		return execute(cmd.Context()), nil
	}
	log, done, err := open(LogOptions(cmd))
	if err != nil {
		return command.Result{}, err
	}
	defer done()
	ctx := command.WithProgress(cmd.Context(), func(line fmt.Stringer) {
		if log.Enabled(cmd.Context(), slog.LevelDebug) {
			log.Debug(line.String(), "cmd", name)
		}
	})
	r := execute(ctx)
	log.Info("done", "cmd", name, "dst", r.Command.Target(), "took", r.Answered.Sub(r.Sent).Round(time.Microsecond), "err", r.Err)
	return r, nil
}
