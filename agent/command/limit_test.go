package command

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// took is a set of a light command, which takes a second, and a heavy one,
// which takes a minute, under limits.
func took(l Limits, weight int) Set {
	lasting := func(d time.Duration) func(context.Context, string, echoParams) (echoed, error) {
		return func(ctx context.Context, _ string, _ echoParams) (echoed, error) {
			select {
			case <-time.After(d):
				return echoed{}, nil
			case <-ctx.Done():
				return echoed{}, ctx.Err()
			}
		}
	}
	return NewSet(
		Define(Info{Name: "ping"}, defaultEcho, lasting(time.Second)),
		Define(Info{Name: "page", Weight: weight}, defaultEcho, lasting(time.Minute)),
	).Limited(l)
}

// start runs n commands at once and returns a function that waits for them.
func start(ctx context.Context, s Set, name string, n int) func() []Result {
	results := make([]Result, n)
	var running sync.WaitGroup
	for i := range n {
		running.Go(func() {
			results[i] = s.Execute(ctx, Command{Name: name, Destination: "x", Received: time.Now()})
		})
	}
	return func() []Result { running.Wait(); return results }
}

func TestHeavyCommandsLeaveRoomForLightOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		s := took(Limits{Capacity: 32, Heavy: 16}, 8)
		pages := start(ctx, s, "page", 100)
		synctest.Wait()
		for range 3 {
			for _, r := range start(ctx, s, "ping", 16)() {
				if waited := r.Sent.Sub(r.Command.Received); r.Err != nil || waited != 0 {
					t.Fatalf("a ping among a hundred page loads: waited %v, %v", waited, r.Err)
				}
			}
		}
		stop()
		pages()
	})
}

func TestLightCommandsLetHeavyOnesThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		s := took(Limits{Capacity: 8, Heavy: 4}, 4)
		pings := start(ctx, s, "ping", 800) // a hundred seconds of them
		synctest.Wait()
		page := start(ctx, s, "page", 1)
		later := start(ctx, s, "ping", 100)
		if r := page()[0]; r.Err != nil || r.Sent.Sub(r.Command.Received) > 101*time.Second {
			t.Errorf("a page load behind pings: waited %v, %v", r.Sent.Sub(r.Command.Received), r.Err)
		}
		for _, r := range later() {
			if r.Err != nil {
				t.Errorf("a ping behind a page load: %v", r.Err)
			}
		}
		stop()
		pings()
	})
}

func TestTooHeavyRunsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := took(Limits{Capacity: 4, Heavy: 2}, 100)
		begin := time.Now()
		for _, r := range start(t.Context(), s, "page", 2)() {
			if r.Err != nil {
				t.Errorf("got %v", r.Err)
			}
		}
		if got := time.Since(begin); got != 2*time.Minute {
			t.Errorf("two took %v, want them one after the other", got)
		}
	})
}

func TestTurnThatDoesNotCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		results := start(t.Context(), took(Limits{Capacity: 4, Heavy: 2}, 2), "page", 10)()
		var refused int
		for _, r := range results {
			if r.Err == nil {
				continue
			}
			refused++
			if !errors.Is(r.Err, ErrTimeout) || !strings.Contains(r.Err.Error(), "too many others") && !strings.Contains(r.Err.Error(), "cut off") {
				t.Errorf("got %v", r.Err)
			}
		}
		if took := time.Since(begin); refused != 6 || took != answerWithin {
			t.Errorf("%d of 10 were refused in %v, want 6 in %v", refused, took, answerWithin)
		}
		// What did not get its turn has left the queue: another one runs at once.
		s := took(Limits{Capacity: 4, Heavy: 2}, 2)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start(ctx, s, "page", 10)()
		if r := start(t.Context(), s, "page", 1)()[0]; r.Err != nil || r.Sent != r.Command.Received {
			t.Errorf("after others gave up: waited %v, %v", r.Sent.Sub(r.Command.Received), r.Err)
		}
	})
}

func TestLimitsHoldForAllParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := took(Limits{Capacity: 1, Heavy: 1}, 1)
		begin := time.Now()
		one, other := start(t.Context(), s.Only("ping"), "ping", 1), start(t.Context(), s.Only("ping"), "ping", 1)
		one()
		other()
		if got := time.Since(begin); got != 2*time.Second {
			t.Errorf("took %v, want one after the other", got)
		}
	})
}

func TestDefaultLimits(t *testing.T) {
	const MiB = 1 << 20
	for _, test := range []struct {
		processors int
		memory     uint64
		want       Limits
	}{
		{1, 0, Limits{16, 8}},
		{1, 256 * MiB, Limits{64, 32}},
		{4, 64 * MiB, Limits{32, 16}},
		{4, 1024 * MiB, Limits{256, 128}},
		{1 << 30, 1 << 62, Limits{1 << 16, 1 << 15}},
	} {
		if got := DefaultLimits(test.processors, test.memory); got != test.want {
			t.Errorf("%d processors, %d MiB: got %+v, want %+v", test.processors, test.memory/MiB, got, test.want)
		}
	}
}
