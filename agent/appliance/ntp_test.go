package appliance

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/beevik/ntp"
)

// fakeClock records what is done to it.
type fakeClock struct {
	steps, slews []time.Duration
}

func (c *fakeClock) step(offset time.Duration) error { c.steps = append(c.steps, offset); return nil }

func (c *fakeClock) slew(offset, _, _ time.Duration) error {
	c.slews = append(c.slews, offset)
	return nil
}

// keeper has servers that are off by the given times; others do not answer.
func keeper(offsets map[string]time.Duration) (*timekeeper, *fakeClock, *[]string) {
	clock := new(fakeClock)
	asked := new([]string)
	return &timekeeper{
		log:   slog.New(slog.DiscardHandler),
		clock: clock,
		query: func(_ context.Context, server string) (*ntp.Response, error) {
			*asked = append(*asked, server)
			offset, ok := offsets[server]
			if !ok {
				return nil, errors.New("no answer")
			}
			return &ntp.Response{ClockOffset: offset, Stratum: 2}, nil
		},
	}, clock, asked
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
			k, clock, _ := keeper(map[string]time.Duration{"a": tt.offset})
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
	k, clock, _ := keeper(map[string]time.Duration{"a": -time.Hour})
	k.earliest = time.Now().Add(-time.Minute)
	if _, err := k.once(t.Context(), []string{"a"}, minPoll); err == nil {
		t.Error("got nil, want an error")
	}
	if len(clock.steps)+len(clock.slews) != 0 {
		t.Errorf("set by %v, steered by %v, want neither", clock.steps, clock.slews)
	}
}

func TestOneLiarAmongThree(t *testing.T) {
	k, _, _ := keeper(map[string]time.Duration{"a": time.Millisecond, "b": 10 * time.Hour, "c": 2 * time.Millisecond})
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
		offsets := map[string]time.Duration{}
		k, clock, asked := keeper(offsets)
		offers := make(chan []string)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); k.run(ctx, offers) }()

		offers <- []string{"lease"} // asked at once, without an answer
		synctest.Wait()
		if want := []string{"lease"}; !slices.Equal(*asked, want) {
			t.Errorf("with the lease: asked %v, want %v", *asked, want)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := len(*asked); n < 7 || n > 10 {
			t.Errorf("in ten minutes of silence: asked %d times, want 7 to 10", n)
		}
		offsets["lease"] = time.Millisecond
		offers <- []string{"lease"} // a renewal, with the clock still wrong
		synctest.Wait()
		if len(clock.slews) != 1 {
			t.Errorf("after a renewal: steered %d times, want once", len(clock.slews))
		}
		offers <- []string{"lease"} // and with the clock right
		synctest.Wait()
		if len(clock.slews) != 1 {
			t.Errorf("after another renewal: steered %d times, want once", len(clock.slews))
		}
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if n := len(clock.slews); n < 80 || n > 110 {
			t.Errorf("in a day: steered %d times, want about 86400/1024", n)
		}
		cancel()
		<-done
	})
}
