package appliance

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// notifySocket is where the agent says that it makes progress, as services of
// systemd do (sd_notify(3)).
const notifySocket = "/run/natrix/notify"

// silences are the patience with an agent that runs and says nothing.
type silences struct {
	look   time.Duration // how often it is looked at
	abort  time.Duration // then it is made to end, and started again
	reboot time.Duration // then that did not help, and the machine is restarted
}

func defaultSilences() silences {
	return silences{look: 5 * time.Second, abort: time.Minute, reboot: 5 * time.Minute}
}

// hear takes the agent's signs of life until the machine stops.
func (m *machine) hear(path string) error {
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	if err := errors.Join(os.Chmod(path, 0o600), os.Setenv("NOTIFY_SOCKET", path)); err != nil {
		conn.Close()
		return err
	}
	context.AfterFunc(m.ctx, func() { conn.Close() })
	m.wait.Go(func() {
		buf := make([]byte, 256)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			if strings.Contains(string(buf[:n]), "WATCHDOG=1") {
				m.watched().beat()
			}
		}
	})
	return nil
}

// watched is the service whose silence is fatal: the agent, or nil before it is kept.
func (m *machine) watched() *service {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.services {
		if s.name == "agent" {
			return s
		}
	}
	return nil
}

// guard ends an agent that runs but has fallen silent, and the machine if it
// stays so. Its last words, where each of its goroutines hangs, are in the log.
func (m *machine) guard() {
	ticker := time.NewTicker(m.silences.look)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-m.ctx.Done():
			return
		}
		s := m.watched()
		pid, silence := s.silence()
		switch {
		case silence >= m.silences.reboot:
			m.log.Error("the agent is wedged and cannot be ended: reboot", "silent", silence.Round(time.Second))
			select {
			case m.orders <- reboot:
			default: // ordered already
			}
		case silence >= m.silences.abort && s.abort():
			m.log.Error("the agent makes no progress: ended", "silent", silence.Round(time.Second))
			unix.Kill(pid, unix.SIGABRT)
		}
	}
}

// beat notes a sign of life.
func (s *service) beat() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard = sinceBoot()
}

// silence is how long the service has run without a sign of life: 0 while it
// does not run, which has its own remedy.
func (s *service) silence() (pid int, silent time.Duration) {
	if s == nil {
		return 0, 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pid == 0 {
		return 0, 0
	}
	return s.pid, sinceBoot() - max(s.heard, s.since)
}

// abort reports whether the service is to be ended now: it was not before.
func (s *service) abort() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := s.aborted != s.pid
	s.aborted = s.pid
	return first
}
