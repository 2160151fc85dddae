package spool

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func body(s string) func() []byte { return func() []byte { return []byte(s) } }

func never(t *testing.T) func() []byte {
	return func() []byte { t.Error("run again"); return []byte("second") }
}

func TestOnceRunsOnce(t *testing.T) {
	s := New(DefaultLimits())
	got, first, err := s.Once(t.Context(), "k", body("result"))
	if string(got) != "result" || !first || err != nil {
		t.Fatalf("first: got %q, %v, %v", got, first, err)
	}
	for _, delivered := range []bool{false, true} {
		if delivered {
			s.Delivered("k")
		}
		got, first, err = s.Once(t.Context(), "k", never(t))
		if string(got) != "result" || first || err != nil {
			t.Errorf("delivered %v: got %q, %v, %v", delivered, got, first, err)
		}
	}
}

func TestOnceJoinsTheRunUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(DefaultLimits())
		var wg sync.WaitGroup
		wg.Go(func() {
			s.Once(t.Context(), "k", func() []byte { time.Sleep(time.Second); return []byte("slow") })
		})
		synctest.Wait()
		for range 3 {
			wg.Go(func() {
				if got, _, _ := s.Once(t.Context(), "k", never(t)); string(got) != "slow" {
					t.Errorf("got %q", got)
				}
			})
		}
		wg.Wait()
	})
}

func TestOnceGivesUpWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(DefaultLimits())
		go s.Once(t.Context(), "k", func() []byte { time.Sleep(time.Hour); return []byte("late") })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := s.Once(ctx, "k", never(t)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		time.Sleep(time.Hour)
	})
}

func TestRunCutShortLeavesNothing(t *testing.T) {
	s := New(DefaultLimits())
	s.Once(t.Context(), "k", func() []byte { return nil })
	if got, first, _ := s.Once(t.Context(), "k", body("again")); string(got) != "again" || !first {
		t.Errorf("got %q, %v", got, first)
	}
}

func TestRunThatPanicsLeavesNothing(t *testing.T) {
	s := New(DefaultLimits())
	func() {
		defer func() { recover() }()
		s.Once(t.Context(), "k", func() []byte { panic("tripped") })
	}()
	if got, first, _ := s.Once(t.Context(), "k", body("again")); string(got) != "again" || !first {
		t.Errorf("got %q, %v", got, first)
	}
}

func TestPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(DefaultLimits())
		for _, key := range []string{"a", "b", "c"} {
			s.Once(t.Context(), key, body(key))
			time.Sleep(time.Second)
		}
		s.Delivered("a")
		got := s.Pending(2 * time.Second)
		if len(got) != 1 || got[0].Key != "b" || string(got[0].Body) != "b" {
			t.Errorf("got %q, want b alone: a is delivered, c has not waited", got)
		}
	})
}

func TestFullSpoolDropsDeliveredFirst(t *testing.T) {
	s := New(Limits{Bytes: 10, Delivered: time.Hour})
	for i := range 5 {
		s.Once(t.Context(), fmt.Sprint(i), body("xx"))
	}
	s.Delivered("3")
	s.Once(t.Context(), "5", body("xx"))
	if s.Dropped() != 0 || len(s.Pending(0)) != 5 {
		t.Errorf("dropped %d, pending %d: the delivered one should have gone", s.Dropped(), len(s.Pending(0)))
	}
	s.Once(t.Context(), "6", body("xxxx"))
	if got := s.Pending(0); s.Dropped() != 2 || got[0].Key != "2" {
		t.Errorf("dropped %d, oldest is %s: want 0 and 1 gone", s.Dropped(), got[0].Key)
	}
	s.Once(t.Context(), "7", body("much too large to be kept"))
	if got := s.Pending(0); len(got) != 0 {
		t.Errorf("pending %q, want nothing", got)
	}
}

func TestDeliveredIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Limits{Bytes: 1000, Delivered: time.Minute})
		s.Once(t.Context(), "a", body("a"))
		s.Delivered("a")
		time.Sleep(2 * time.Minute)
		s.Once(t.Context(), "b", body("b"))
		if len(s.entries) != 1 || s.bytes != 1 {
			t.Errorf("entries %d, bytes %d: want b alone", len(s.entries), s.bytes)
		}
	})
}
