package appliance

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/beevik/ntp"
)

// world records what a timekeeper does to the clock and whom it asks.
type world struct {
	mu           sync.Mutex
	offsets      map[string]time.Duration // of the servers that answer
	asked        []string
	steps, slews []time.Duration
}

func (w *world) step(offset time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.steps = append(w.steps, offset)
	return nil
}

func (w *world) slew(offset, _, _ time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.slews = append(w.slews, offset)
	return nil
}

func (w *world) query(_ context.Context, server string) (*ntp.Response, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = append(w.asked, server)
	offset, ok := w.offsets[server]
	if !ok {
		return nil, errors.New("no answer")
	}
	return &ntp.Response{ClockOffset: offset, Stratum: 2}, nil
}

// counts says how often servers were asked and the clock was steered.
func (w *world) counts() (asked, slewed int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.asked), len(w.slews)
}

func keeper(offsets map[string]time.Duration) (*timekeeper, *world) {
	w := &world{offsets: offsets}
	return &timekeeper{log: slog.New(slog.DiscardHandler), clock: w, query: w.query}, w
}

func TestClockIsSetOrSteered(t *testing.T) {
	for name, tt := range map[string]struct {
		offset       time.Duration
		steps, slews []time.Duration
	}{
		"near":       {20 * time.Millisecond, nil, []time.Duration{20 * time.Millisecond}},
		"far ahead":  {-time.Hour, []time.Duration{-time.Hour}, []time.Duration{0}},
		"far behind": {50 * 365 * 24 * time.Hour, []time.Duration{50 * 365 * 24 * time.Hour}, []time.Duration{0}},
	} {
		t.Run(name, func(t *testing.T) {
			k, clock := keeper(map[string]time.Duration{"a": tt.offset})
			if _, err := k.once(t.Context(), []string{"a"}, minPoll); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(clock.steps, tt.steps) || !slices.Equal(clock.slews, tt.slews) {
				t.Errorf("set by %v, steered by %v, want %v and %v", clock.steps, clock.slews, tt.steps, tt.slews)
			}
		})
	}
}

func TestClockIsNotSetBehindTheImage(t *testing.T) {
	k, clock := keeper(map[string]time.Duration{"a": -time.Hour})
	k.earliest = time.Now().Add(-time.Minute)
	if _, err := k.once(t.Context(), []string{"a"}, minPoll); err == nil {
		t.Error("got nil, want an error")
	}
	if len(clock.steps)+len(clock.slews) != 0 {
		t.Errorf("set by %v, steered by %v, want neither", clock.steps, clock.slews)
	}
}

func TestOneLiarAmongThree(t *testing.T) {
	k, _ := keeper(map[string]time.Duration{"a": time.Millisecond, "b": 10 * time.Hour, "c": 2 * time.Millisecond})
	m, err := k.measure(t.Context(), []string{"a", "b", "c", "silent"})
	if err != nil {
		t.Fatal(err)
	}
	if want := 2 * time.Millisecond; m.ClockOffset != want {
		t.Errorf("offset: got %v, want %v", m.ClockOffset, want)
	}
}

func TestWhichServersAreAsked(t *testing.T) {
	configured, offered := []string{"configured"}, []string{"1", "2", "3", "4", "5"}
	for _, tt := range []struct{ settings, offered, want []string }{
		{configured, offered, configured},
		{nil, offered, offered[:maxServers]},
		{nil, nil, pool},
	} {
		k := &timekeeper{settings: tt.settings}
		if got := k.servers(tt.offered); !slices.Equal(got, tt.want) {
			t.Errorf("configured %v, offered %v: got %v, want %v", tt.settings, tt.offered, got, tt.want)
		}
	}
}

func TestTimekeeperPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, w := keeper(map[string]time.Duration{})
		offers := make(chan []string)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); k.run(ctx, offers) }()
		lease := func() {
			offers <- []string{"lease"}
			synctest.Wait()
		}

		lease() // asked at once, without an answer
		if asked, _ := w.counts(); asked != 1 {
			t.Errorf("with the lease: asked %d times, want once", asked)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if asked, _ := w.counts(); asked < 7 || asked > 10 {
			t.Errorf("in ten minutes of silence: asked %d times, want 7 to 10", asked)
		}
		w.mu.Lock()
		w.offsets["lease"] = time.Millisecond
		w.mu.Unlock()
		lease() // a renewal, with the clock still wrong
		if _, slewed := w.counts(); slewed != 1 {
			t.Errorf("after a renewal: steered %d times, want once", slewed)
		}
		lease() // and with the clock right
		if _, slewed := w.counts(); slewed != 1 {
			t.Errorf("after another renewal: steered %d times, want once", slewed)
		}
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if _, slewed := w.counts(); slewed < 80 || slewed > 110 {
			t.Errorf("in a day: steered %d times, want about 86400/1024", slewed)
		}
		cancel()
		<-done
	})
}
