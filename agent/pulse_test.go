package agent

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

func TestPulseStopsWhenSomethingIsStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		begin, last, beats := time.Now(), time.Time{}, 0
		Pulse(ctx, slog.New(slog.DiscardHandler), func() { beats, last = beats+1, time.Now() }, func() string {
			if time.Since(begin) > time.Minute {
				return "the worker"
			}
			return ""
		})
		if beats != 7 || last.Sub(begin) != time.Minute {
			t.Errorf("%d beats, the last after %v; want 7, the last after a minute", beats, last.Sub(begin))
		}
	})
}
