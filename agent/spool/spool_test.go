package spool

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// put runs key to the given result.
func put(t *testing.T, s *Spool, key, body string) *Entry {
	t.Helper()
	e, mine := s.Claim(key)
	if !mine {
		t.Fatalf("%s is there already", key)
	}
	e.Finish([]byte(body))
	return e
}

func TestClaimOnce(t *testing.T) {
	s := New(DefaultLimits())
	first := put(t, s, "k", "result")
	for _, delivered := range []bool{false, true} {
		if delivered {
			first.Delivered()
		}
		e, mine := s.Claim("k")
		if mine {
			t.Fatalf("delivered %v: the run is there to be run again", delivered)
		}
		if got, err := e.Wait(t.Context()); string(got) != "result" || err != nil {
			t.Errorf("delivered %v: got %q, %v", delivered, got, err)
		}
	}
}

func TestWaitForTheRunUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(DefaultLimits())
		e, _ := s.Claim("k")
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				e, mine := s.Claim("k")
				if got, err := e.Wait(t.Context()); mine || string(got) != "slow" || err != nil {
					t.Errorf("got %q, %v, mine %v", got, err, mine)
				}
			})
		}
		time.Sleep(time.Second)
		e.Finish([]byte("slow"))
		wg.Wait()
	})
}

func TestWaitEndsWithItsContext(t *testing.T) {
	s := New(DefaultLimits())
	e, _ := s.Claim("k")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := e.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestRunCutShortLeavesNothing(t *testing.T) {
	s := New(DefaultLimits())
	e, _ := s.Claim("k")
	waiting, _ := s.Claim("k")
	e.Finish(nil)
	if got, err := waiting.Wait(t.Context()); got != nil || err != nil {
		t.Errorf("waiting: got %q, %v", got, err)
	}
	if _, mine := s.Claim("k"); !mine {
		t.Error("nobody may run it again")
	}
}

func TestPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(DefaultLimits())
		a := put(t, s, "a", "a")
		time.Sleep(time.Second)
		put(t, s, "b", "b")
		time.Sleep(time.Second)
		put(t, s, "c", "c")
		time.Sleep(time.Second)
		s.Claim("running")
		a.Delivered()
		got := s.Pending(2 * time.Second)
		if len(got) != 1 || got[0].Key != "b" {
			t.Errorf("got %v, want b alone: a is delivered, c has not waited", got)
		}
	})
}

func TestPut(t *testing.T) {
	s := New(DefaultLimits())
	s.Put("own", []byte("result"))
	s.Put("own", []byte("another"))
	select {
	case <-s.News():
	default:
		t.Error("no news")
	}
	got := s.Pending(time.Hour)
	if len(got) != 1 || string(got[0].body) != "result" {
		t.Errorf("%d results wait, want the first", len(got))
	}
}

func TestFullSpoolDropsDeliveredFirst(t *testing.T) {
	s := New(Limits{Bytes: 5 * (64 + 1 + 2), Delivered: time.Hour, Age: time.Hour})
	var entries []*Entry
	for i := range 5 {
		entries = append(entries, put(t, s, fmt.Sprint(i), "xx"))
	}
	entries[3].Delivered()
	put(t, s, "5", "xx")
	if s.State().Dropped != 0 || len(s.Pending(0)) != 5 {
		t.Errorf("dropped %d, pending %d: the delivered one should have gone", s.State().Dropped, len(s.Pending(0)))
	}
	put(t, s, "6", "xxxx")
	if got := s.Pending(0); s.State().Dropped != 2 || got[0].Key != "2" {
		t.Errorf("dropped %d, oldest is %s: want 0 and 1 gone", s.State().Dropped, got[0].Key)
	}
	put(t, s, "7", strings.Repeat("much too large to be kept", 100))
	if got := s.Pending(0); len(got) != 0 || s.bytes != 0 {
		t.Errorf("pending %v, %d bytes, want nothing", got, s.bytes)
	}
}

func TestDeliveredIsForgottenThoughNothingElseHappens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Limits{Bytes: 1000, Delivered: time.Minute, Age: time.Hour})
		put(t, s, "pending", "p")
		put(t, s, "a", "old").Delivered()
		time.Sleep(2 * time.Minute)
		if _, mine := s.Claim("a"); !mine {
			t.Error("an old result counts as an answer")
		}
		if _, mine := s.Claim("pending"); mine {
			t.Error("a result that is not delivered was forgotten")
		}
		if got, want := s.bytes, 64+len("pending")+1; got != want {
			t.Errorf("got %d bytes, want %d, those of the pending one", got, want)
		}
	})
}

func TestDeliveredIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Limits{Bytes: 1000, Delivered: time.Minute, Age: time.Hour})
		put(t, s, "a", "a").Delivered()
		time.Sleep(2 * time.Minute)
		put(t, s, "b", "b")
		if len(s.entries) != 1 || s.bytes != 64+1+1 {
			t.Errorf("entries %d, bytes %d: want b alone", len(s.entries), s.bytes)
		}
	})
}
