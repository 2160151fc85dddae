package shell

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// toolsShell is the shell of the field tools of an image.
const toolsShell = "/bin/sh"

// tools is the command that opens it, where there is one.
func (s *session) tools() *cobra.Command {
	return &cobra.Command{
		Use: "shell [COMMAND...]", Short: "A shell with the field tools: ls, ps, ip, dmesg, ...; exit comes back here", DisableFlagParsing: true,
		RunE: func(c *cobra.Command, args []string) error {
			if !s.Settings.load().Appliance.Tools {
				return errors.New("the settings do not allow it: appliance.tools is off")
			}
			if len(args) > 0 {
				args = []string{"-c", joined(args)}
			}
			return s.handOver(c.Context(), exec.Command(toolsShell, args...))
		},
	}
}

// joined quotes words for a shell.
func joined(words []string) string {
	var quoted []string
	for _, w := range words {
		quoted = append(quoted, "'"+strings.ReplaceAll(w, "'", `'\''`)+"'")
	}
	return strings.Join(quoted, " ")
}

// handOver runs a program that has the terminal to itself, until it or ctx
// ends. The log waits meanwhile.
func (s *session) handOver(ctx context.Context, cmd *exec.Cmd) error {
	s.log.Lock()
	defer s.log.Unlock()
	defer func() {
		if ctx.Err() != nil { // Run has set this deadline before back took it away
			s.TTY.SetReadDeadline(past)
		}
	}()
	defer s.keys.lend(s.TTY)()
	s.restore()
	defer raw(s.TTY)
	// A file of its own: starting a program with it would end the deadlines of ours.
	tty, err := os.OpenFile(s.TTY.Name(), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	defer tty.Close()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.Env = append(os.Environ(), "HOME=/root", "TERM=vt100")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if controls(tty) {
		cmd.SysProcAttr = &syscall.SysProcAttr{Foreground: true}
		defer foreground(tty)
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { unix.Kill(-cmd.Process.Pid, unix.SIGKILL) })()
	var status *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &status) {
		return err
	}
	return nil
}

// controls reports whether tty is the controlling terminal of this process.
func controls(tty *os.File) bool {
	session, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGSID)
	own, _ := unix.Getsid(0)
	return err == nil && session == own
}

// foreground makes this process the one that the terminal's signals go to. The
// kernel stops who asks for that from the background (tcsetpgrp(3)).
func foreground(tty *os.File) {
	signal.Ignore(unix.SIGTTOU)
	defer signal.Reset(unix.SIGTTOU)
	unix.IoctlSetPointerInt(int(tty.Fd()), unix.TIOCSPGRP, unix.Getpgrp())
}
