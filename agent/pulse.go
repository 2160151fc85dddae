package agent

import (
	"context"
	"log/slog"
	"time"
)

// pulseEvery is well below the patience of supervisors, which is a minute.
const pulseEvery = 10 * time.Second

// Pulse calls beat every now and then until ctx ends, as long as nothing is
// stuck: PID 1 and systemd restart an agent that they do not hear of, and PID 1
// the machine if that does not help. stuck says what makes no progress, or "".
func Pulse(ctx context.Context, log *slog.Logger, beat func(), stuck func() string) {
	ticker := time.NewTicker(pulseEvery)
	defer ticker.Stop()
	for {
		if what := stuck(); what == "" {
			beat()
		} else {
			log.Error("no progress", "what", what)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}
