// Package service makes natrix a service of an ordinary machine, one that
// systemd runs: it writes the unit and the configuration, and asks systemctl
// for the rest. The names are the original client's, whose place natrix takes.
package service

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/natrix-os/natrix/agent/config"
)

const (
	unit    = "natrixclient" // as the original's, so that there are never two
	unitDir = "/etc/systemd/system"
	program = "/usr/local/bin/natrix"
	logs    = "/var/log/natrix"
)

// The failures that callers tell apart.
var (
	ErrNotRoot    = errors.New("only root can do that")
	ErrNoUnit     = errors.New("natrix is not a service of this machine yet: natrix service init makes it one")
	ErrNoProgram  = errors.New("the program that the unit starts is not there: natrix service init puts it there")
	ErrAppliance  = errors.New("this machine runs natrix and nothing else: its PID 1 keeps the agent running and there is nothing to set up; status at the natrix prompt shows it, and the configuration is in the image or on the kernel command line")
	ErrNoSystemd  = errors.New("systemd does not run this machine: have its own supervisor run natrix agent --config " + config.File)
	ErrNotRunning = errors.New("the service does not run")
)

//go:embed natrixclient.service
var unitText string

// Manager sets natrix up and asks systemd about it. It tells its steps to Out.
type Manager struct {
	Root      string    // directory that stands for /, such as a mounted image; "" is this machine
	Program   string    // the file of this program
	Appliance bool      // natrix is PID 1 here
	Out       io.Writer // lines for a person
}

// applies says why nothing can be done here, if so.
func (m Manager) applies() error {
	switch {
	case m.Appliance:
		return ErrAppliance
	case m.Root != "":
		return nil
	case !m.booted():
		return ErrNoSystemd
	}
	return nil
}

// booted reports whether systemd runs the machine (sd_booted(3)).
func (m Manager) booted() bool {
	_, err := os.Stat(m.path("/run/systemd/system"))
	return err == nil
}

func (m Manager) path(p string) string { return filepath.Join(m.Root, p) }

func (m Manager) unitFile() string { return filepath.Join(unitDir, unit+".service") }

// Start starts the service. What is missing for it is ErrNoUnit or
// ErrNoProgram; a configuration without a broker is an error as well.
func (m Manager) Start(ctx context.Context) error {
	if err := m.ready(); err != nil {
		return err
	}
	if err := m.configured(); err != nil {
		return err
	}
	return m.systemctl(ctx, "start")
}

// Enable has the service started with the machine. See Start.
func (m Manager) Enable(ctx context.Context) error {
	if err := m.ready(); err != nil {
		return err
	}
	return m.systemctl(ctx, "enable")
}

// Stop stops the service. One that does not run is stopped already.
func (m Manager) Stop(ctx context.Context) error { return m.undo(ctx, "stop") }

// Disable has the service not started with the machine any more.
func (m Manager) Disable(ctx context.Context) error { return m.undo(ctx, "disable") }

func (m Manager) undo(ctx context.Context, verb string) error {
	if err := m.applies(); err != nil {
		return err
	}
	if _, err := m.unitProgram(); err != nil {
		return err
	}
	return m.systemctl(ctx, verb)
}

// Status prints what systemd knows about the service. One that does not run is
// ErrNotRunning.
func (m Manager) Status(ctx context.Context) error {
	if err := m.applies(); err != nil {
		return err
	}
	if _, err := m.unitProgram(); err != nil {
		return err
	}
	err := m.run(ctx, m.Out, "status", "--no-pager", "--full", unit)
	if exit := new(exec.ExitError); errors.As(err, &exit) && exit.ExitCode() == 3 { // systemctl(1), EXIT STATUS
		return ErrNotRunning
	}
	return err
}

// ready reports whether there is something to start.
func (m Manager) ready() error {
	if err := m.applies(); err != nil {
		return err
	}
	p, err := m.unitProgram()
	if err != nil {
		return err
	}
	if _, err := os.Stat(m.path(p)); err != nil {
		return fmt.Errorf("%w: %w", ErrNoProgram, err)
	}
	return nil
}

// unitProgram is what the unit starts.
func (m Manager) unitProgram() (string, error) {
	text, err := os.ReadFile(m.path(m.unitFile()))
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%w (no %s)", ErrNoUnit, m.unitFile())
	}
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if command, found := strings.CutPrefix(strings.TrimSpace(line), "ExecStart="); found {
			if words := strings.Fields(command); len(words) > 0 {
				return strings.TrimLeft(words[0], "-@:+!"), nil // systemd.service(5), special executable prefixes
			}
		}
	}
	return "", fmt.Errorf("%w: %s has no ExecStart=", ErrNoProgram, m.unitFile())
}

// configured reports whether the agent has a broker to go to. Other mistakes in
// the configuration do not keep it from starting.
func (m Manager) configured() error {
	c, err := config.Load(m.path(config.File), "")
	if len(c.AMQP.URLs) > 0 {
		return nil
	}
	return errors.Join(fmt.Errorf("no broker is configured: set host, username and password under [RABBITMQ] in %s", config.File), err)
}

// systemctl has systemd do something to the unit, and says so.
func (m Manager) systemctl(ctx context.Context, verb string) error {
	var said bytes.Buffer
	if err := m.run(ctx, &said, verb, unit); err != nil {
		return fmt.Errorf("%w\n%s", err, strings.TrimSpace(said.String()))
	}
	_, err := fmt.Fprintf(m.Out, "systemctl %s %s: done\n", verb, unit)
	return err
}

func (m Manager) run(ctx context.Context, out io.Writer, args ...string) error {
	cmd := exec.CommandContext(ctx, "systemctl", args...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("systemctl %s: %w", strings.Join(args, " "), err)
	}
	return nil
}
