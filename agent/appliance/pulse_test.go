package appliance

import (
	"context"
	"log/slog"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// TestSilentAgent has an agent that says for a while that it is alive, and then
// nothing. It is ended, and as it then still runs, the machine is restarted.
func TestSilentAgent(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "") // which the machine sets
	stubborn := exec.Command("sh", "-c", `trap "" ABRT; echo ready; while :; do sleep 1; done`)
	stubborn.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := stubborn.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := stubborn.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { unix.Kill(-stubborn.Process.Pid, unix.SIGKILL); stubborn.Wait() }()
	if _, err := out.Read(make([]byte, 16)); err != nil { // the trap is set
		t.Fatal(err)
	}

	m := &machine{ // without its children, who would wait for this test's processes
		log:      slog.New(slog.NewTextHandler(t.Output(), nil)),
		orders:   make(chan order, 1),
		silences: silences{look: 10 * time.Millisecond, abort: time.Second, reboot: 3 * time.Second},
	}
	m.ctx, m.stop = context.WithCancel(t.Context())
	if err := m.hear(filepath.Join(t.TempDir(), "notify")); err != nil {
		t.Fatal(err)
	}
	s := &service{name: "agent", log: m.log, pid: stubborn.Process.Pid, since: sinceBoot()}
	m.services = append(m.services, s)
	m.wait.Go(m.guard)
	defer func() { m.stop(); m.wait.Wait() }()

	for begin := time.Now(); time.Since(begin) < 2*time.Second; time.Sleep(100 * time.Millisecond) {
		if sent, err := daemon.SdNotify(false, daemon.SdNotifyWatchdog); !sent || err != nil {
			t.Fatalf("sign of life: sent %v, %v", sent, err)
		}
	}
	select {
	case o := <-m.orders:
		if o != reboot {
			t.Errorf("ordered %q, want a reboot", o)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the machine is not restarted")
	}
	if _, silent := s.silence(); silent < m.silences.reboot {
		t.Errorf("restarted after %v of silence", silent)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.aborted != s.pid {
		t.Error("it was not told to end first")
	}
}

func TestServiceThatDoesNotRunIsNotSilent(t *testing.T) {
	s := &service{name: "agent"}
	if _, silent := s.silence(); silent != 0 {
		t.Errorf("silent for %v", silent)
	}
}
