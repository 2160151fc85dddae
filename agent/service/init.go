package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"github.com/natrix-os/natrix/agent/config"
)

// Init makes natrix a service of the machine: the program, its configuration,
// the directory of its log and the unit. What is there and right stays; a
// configuration stays whatever it says, unless fresh asks for the template. A
// file that is replaced keeps its content under its name and the time, as
// natrix.ini.20190516093000.
func (m Manager) Init(ctx context.Context, fresh bool) error {
	if err := m.applies(); err != nil {
		return err
	}
	if m.Root == "" && os.Geteuid() != 0 {
		return ErrNotRoot
	}
	target := m.installed()
	steps := []struct {
		what string
		do   func() (string, error)
	}{
		{target, func() (string, error) { return m.install(target) }},
		{filepath.Dir(config.File) + "/", func() (string, error) { return m.directory(filepath.Dir(config.File), 0o755) }},
		{config.File, func() (string, error) { return m.configure(fresh) }},
		{logs + "/", func() (string, error) { return m.directory(logs, 0o750) }},
		{m.unitFile(), func() (string, error) {
			return m.write(m.unitFile(), []byte(strings.ReplaceAll(unitText, "@program@", target)), 0o644)
		}},
		{"crontab of root", func() (string, error) { return m.retireCron(ctx) }},
		{"systemctl daemon-reload", func() (string, error) { return m.reload(ctx) }},
	}
	for i, step := range steps {
		said, err := step.do()
		if err != nil {
			return fmt.Errorf("step %d, %s: %w", i+1, step.what, err)
		}
		if _, err := fmt.Fprintf(m.Out, "%d. %s: %s\n", i+1, step.what, said); err != nil {
			return err
		}
	}
	return nil
}

// installed is where the unit finds the program: where it is, if that is a
// place for programs, which the service sees too.
func (m Manager) installed() string {
	if m.Root != "" {
		return program
	}
	for _, dir := range []string{"/usr/", "/opt/", "/bin/", "/sbin/"} {
		if strings.HasPrefix(m.Program, dir) {
			return m.Program
		}
	}
	return program
}

// install copies the program to where the unit finds it.
func (m Manager) install(target string) (string, error) {
	if m.path(target) == m.Program {
		return "there already", nil
	}
	body, err := os.ReadFile(m.Program)
	if err != nil {
		return "", err
	}
	if now, err := os.ReadFile(m.path(target)); err == nil && bytes.Equal(now, body) {
		return "there already", nil
	}
	if err := os.MkdirAll(m.path(filepath.Dir(target)), 0o755); err != nil {
		return "", err
	}
	return "copied from " + m.Program, renameio.WriteFile(m.path(target), body, 0o755, renameio.IgnoreUmask())
}

func (m Manager) directory(name string, mode fs.FileMode) (string, error) {
	if info, err := os.Stat(m.path(name)); err == nil && info.IsDir() {
		return "there already", nil
	}
	return "made", os.MkdirAll(m.path(name), mode)
}

// configure writes the template where there is no configuration. It is root's
// alone: it is going to hold a password.
func (m Manager) configure(fresh bool) (string, error) {
	if _, err := os.Stat(m.path(config.File)); err == nil && !fresh {
		if _, err := config.Load(m.path(config.File), ""); err != nil {
			return fmt.Sprintf("kept, with mistakes:\n%v", err), nil
		}
		return "kept as it is", nil
	}
	return m.write(config.File, []byte(config.Template()), 0o600)
}

// write writes a file. Another one of that name is renamed.
func (m Manager) write(name string, body []byte, mode fs.FileMode) (string, error) {
	path, said := m.path(name), "written"
	now, err := os.ReadFile(path)
	switch {
	case err == nil && bytes.Equal(now, body):
		return "there already", nil
	case err == nil:
		old := path + time.Now().Format(".20060102150405")
		if err := os.Rename(path, old); err != nil {
			return "", err
		}
		said = "written; the one before is " + old
	case !errors.Is(err, fs.ErrNotExist):
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	return said, renameio.WriteFile(path, body, mode, renameio.IgnoreUmask())
}

// reload has systemd read the unit, if it runs the machine that the unit is for.
func (m Manager) reload(ctx context.Context) (string, error) {
	if m.Root != "" && !m.booted() {
		return "left to the machine", nil
	}
	return "done", m.run(ctx, m.Out, "daemon-reload")
}
