package main

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/natrix-os/natrix/agent/appliance"
	"github.com/natrix-os/natrix/agent/config"
	"github.com/natrix-os/natrix/agent/logs"
)

// logger logs to standard error at a level named as in the configuration.
func logger(level string) *slog.Logger { return slog.New(standardError(levelOf(level))) }

func standardError(level slog.Level) slog.Handler {
	return slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})
}

func levelOf(name string) slog.Level {
	var l slog.Level
	if err := l.UnmarshalText([]byte(strings.ToUpper(name))); err != nil {
		return slog.LevelInfo
	}
	return l
}

// agentLog is the agent's: standard error, which a supervisor keeps, and on an
// ordinary machine what the configuration names besides. On an appliance PID 1
// keeps the log in memory, and the network's process sends it on. What cannot be
// opened is told in the log, and the agent runs without.
func agentLog(c config.Log, file string, ordinary bool) (log *slog.Logger, done func()) {
	level := levelOf(c.Level)
	handlers := []slog.Handler{standardError(level)}
	done = func() {}
	var failed []error
	if file == "" && ordinary && c.Directory != "" {
		file = filepath.Join(c.Directory, logs.Worker)
	}
	if file != "" {
		if f, err := logs.Open(file); err != nil {
			failed = append(failed, err)
		} else {
			handlers = append(handlers, f.Handler(level))
			done = func() { f.Close() }
		}
	}
	if ordinary && c.Syslog != "" {
		if s, err := logs.Dial(c.Syslog); err != nil {
			failed = append(failed, err)
		} else {
			handlers = append(handlers, s.Handler(level))
			rest := done
			done = func() { s.Close(); rest() }
		}
	}
	log = slog.New(slog.NewMultiHandler(handlers...))
	if err := errors.Join(failed...); err != nil {
		log.Warn("not all logs can be kept", "err", err)
	}
	return log, done
}

// consoleLog is that of a command line: a file, if root made a place for it and
// this user may write there, or if one is named.
func consoleLog(file string, debug bool) (log *slog.Logger, done func(), err error) {
	level, handlers, done := slog.LevelInfo, []slog.Handler{slog.DiscardHandler}, func() {}
	if debug {
		level = slog.LevelDebug
		handlers = append(handlers, standardError(level))
	}
	named := file != ""
	if !named {
		file = consoleFile()
	}
	if file != "" {
		f, err := logs.Open(file)
		if err == nil {
			handlers = append(handlers, f.Handler(level))
			done = func() { f.Close() }
		} else if named {
			return nil, nil, err
		}
	}
	return slog.New(slog.NewMultiHandler(handlers...)), done, nil
}

// consoleFile is "" where there is no directory for logs, as on an appliance.
func consoleFile() string {
	if (appliance.Client{Path: appliance.Socket}).Present() {
		return ""
	}
	c, err := config.Load(config.File, "")
	if errors.Is(err, fs.ErrPermission) {
		c = config.Default()
	}
	if info, err := os.Stat(c.Log.Directory); err != nil || !info.IsDir() {
		return ""
	}
	return filepath.Join(c.Log.Directory, logs.Console)
}
