package contract

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/natrix-os/natrix/agent"
	"github.com/natrix-os/natrix/agent/config"
)

// unset is the variable that makes this program an agent whose clock counts as
// not set before the time in it: the machine's own clock is not for tests to turn.
const unset = "NATRIX_CONTRACT_UNSET"

func TestMain(m *testing.M) {
	if at, is := os.LookupEnv(unset); is {
		if err := runUnset(at); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func runUnset(at string) error {
	set, err := time.Parse(time.RFC3339Nano, at)
	if err != nil {
		return err
	}
	settings, err := config.Load(config.File, "")
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	a := agent.Agent{Config: settings, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)), ClockFloor: set}
	return a.Run(ctx)
}

// startUnset starts an agent whose clock counts as not set before a time.
func (l *lab) startUnset(t *testing.T, set time.Time) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(l.etc, "natrix/natrix.ini"), shipped)
	l.startProgram(t, nil, "env", unset+"="+set.Format(time.RFC3339Nano), self)
}
