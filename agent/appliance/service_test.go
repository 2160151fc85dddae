package appliance

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		start := time.Now()
		var starts []time.Duration
		runs := []time.Duration{0, 0, 0, 0, 10 * time.Second, 0, 0}
		pace{first: time.Second, most: 5 * time.Second, well: 10 * time.Second}.keep(ctx, func(context.Context) {
			starts = append(starts, time.Since(start))
			if len(starts) == len(runs) {
				cancel()
			}
			time.Sleep(runs[len(starts)-1])
		})
		// Pauses of 1, 2, 4, 5 s; then one that ran well: 1 and 2 s again.
		want := []time.Duration{0, 1, 3, 7, 12, 23, 25}
		for i := range want {
			want[i] *= time.Second
		}
		if !slices.Equal(starts, want) {
			t.Errorf("started at %v, want %v", starts, want)
		}
	})
}

func TestLastWords(t *testing.T) {
	for name, tt := range map[string]struct{ said, want string }{
		"the last line":              {"one\ntwo\n\n", "two"},
		"a panic, not its traceback": {"one\npanic: bug\n\ngoroutine 1 [running]:\nmain.main()\nexit status 2", "panic: bug"},
		"an error of the runtime":    {"fatal error: all goroutines are asleep\nx", "fatal error: all goroutines are asleep"},
		"nothing":                    {"", ""},
	} {
		var l lastWords
		for _, line := range strings.Split(tt.said, "\n") {
			l.hear(line)
		}
		if got := l.String(); got != tt.want {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
}

func TestDescribe(t *testing.T) {
	for status, want := range map[unix.WaitStatus]string{
		2 << 8:                        "exit status 2",
		unix.WaitStatus(unix.SIGKILL): "killed by SIGKILL",
	} {
		if got := describe(status); got != want {
			t.Errorf("status %#x: got %q, want %q", status, got, want)
		}
	}
}

func TestJournal(t *testing.T) {
	j := newJournal()
	log := slog.New(slog.NewTextHandler(j, nil))
	log.Info("first")
	j.copy(strings.NewReader("second\nthird, unfinished"), func(string) {})
	lines, next, lost, more := j.since(0)
	if len(lines) != 3 || lines[1] != "second" || lines[2] != "third, unfinished" || next != 3 || lost != 0 {
		t.Errorf("got %q, next %d, lost %d", lines, next, lost)
	}
	select {
	case <-more:
		t.Error("told of more lines, and there are none")
	default:
	}
	for i := range journalLines {
		fmt.Fprintln(j, i)
	}
	<-more
	lines, next, lost, _ = j.since(1)
	if len(lines) != journalLines || lines[0] != "0" || lost != 2 || next != journalLines+3 {
		t.Errorf("after it went round: got %d lines from %q, lost %d, next %d", len(lines), lines[0], lost, next)
	}
	if got := j.last(5); got != next-5 {
		t.Errorf("last 5 lines: from %d, want %d", got, next-5)
	}
	if got := j.last(1 << 40); got != next-journalLines {
		t.Errorf("more than there are: from %d, want %d", got, next-journalLines)
	}
}

func TestJournalSplitsEndlessLines(t *testing.T) {
	j := newJournal()
	j.copy(strings.NewReader(strings.Repeat("x", 3*maxLine)), func(string) {})
	lines, _, _, _ := j.since(0)
	if len(lines) != 3 {
		t.Errorf("got %d lines, want 3", len(lines))
	}
}
