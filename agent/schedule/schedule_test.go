package schedule

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/natrix-os/natrix/agent/command"
	"github.com/natrix-os/natrix/agent/config"
	"github.com/natrix-os/natrix/agent/spool"
)

// echo is a command that says what it was asked, after a while.
type params struct{ Count int }

func (p *params) Flags(f *command.Flags) { f.Int(&p.Count, "count", "c", "how often", 1, 100) }

type said string

func (said) WriteText(io.Writer) {}

func set(takes time.Duration) command.Set {
	run := func(ctx context.Context, destination string, p params) (said, error) {
		select {
		case <-time.After(takes):
		case <-ctx.Done():
		}
		return said(fmt.Sprint(destination, " ", p.Count)), ctx.Err()
	}
	return command.NewSet(command.Define(command.Info{Name: "echo"}, func() params { return params{Count: 3} }, run))
}

// run has a schedule run for a while of virtual time, and returns its results.
func run(t *testing.T, takes, lasts time.Duration, lines ...config.Scheduled) (results []map[string]any) {
	t.Helper()
	spooled := spool.New(spool.DefaultLimits())
	s := Schedule{Core: set(takes), Results: spooled, Terminal: func() string { return "020000000001" }, Log: slog.New(slog.DiscardHandler)}
	if err := s.Add(set(takes), lines); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), lasts)
	defer cancel()
	s.Run(ctx)
	for _, e := range spooled.Pending(time.Hour) {
		body, err := e.Wait(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var result map[string]any
		if err := json.Unmarshal(body, &result); err != nil {
			t.Fatal(err)
		}
		results = append(results, result)
	}
	return results
}

func TestRunsAtItsTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now() // synctest begins at midnight
		results := run(t, time.Second, 31*time.Minute,
			config.Scheduled{Name: "a", When: "*/10 * * * *", Command: []string{"echo", "host", "-c", "7"}})
		if len(results) != 3 {
			t.Fatalf("%d results in half an hour, want 3", len(results))
		}
		for n, r := range results {
			due := begin.Add(time.Duration(n+1) * 10 * time.Minute)
			stamp := r["stamp"].(map[string]any)
			if r["data"] != "host 7" || stamp["server_request_generate_time"] != float64(due.Unix()) {
				t.Errorf("result %d: %v, want that of %v", n, r, due)
			}
			if sent := stamp["terminal_request_send_time"].(float64); sent < float64(due.Unix()) {
				t.Errorf("result %d was sent at %v, before it was due at %v", n, sent, due.Unix())
			}
			if r["command"].(map[string]any)["uuid"] != results[0]["command"].(map[string]any)["uuid"] {
				t.Error("the uuid changes from run to run")
			}
		}
	})
}

func TestSlowCommandMissesItsNextTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		results := run(t, 90*time.Second, 11*time.Minute,
			config.Scheduled{Name: "slow", When: "@every 60s", Command: []string{"echo", "host"}})
		if len(results) != 4 {
			t.Errorf("%d results of 90 s each, 60 s apart, in eleven minutes; want 4", len(results))
		}
	})
}

func TestBadLinesAreNamed(t *testing.T) {
	var s Schedule
	err := s.Add(set(0), []config.Scheduled{
		{Name: "good", When: "@hourly", Command: []string{"echo", "host"}},
		{Name: "unknown", When: "@hourly", Command: []string{"format", "host"}},
		{Name: "never", When: "0 0 30 2 *", Command: []string{"echo", "host"}},
		{Name: "option", When: "@hourly", Command: []string{"echo", "--size", "1", "host"}},
	})
	if err == nil || len(s.jobs) != 1 {
		t.Fatalf("%d jobs, %v; want one, and an error", len(s.jobs), err)
	}
	for _, want := range []string{"unknown", "never", "option"} {
		if !strings.Contains(err.Error(), "[schedule] "+want) {
			t.Errorf("%s is not named in %v", want, err)
		}
	}
}
