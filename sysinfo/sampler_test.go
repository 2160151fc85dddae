package sysinfo

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// tree is a writable root directory with a /proc/stat of one processor.
type tree string

func newTree(t *testing.T) tree {
	root := t.TempDir()
	if err := os.CopyFS(root, os.DirFS("testdata/rpi3")); err != nil {
		t.Fatal(err)
	}
	return tree(root)
}

func (r tree) stat(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(string(r), "proc/stat"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestSamplerMeasuresOneSecondAtFirst(t *testing.T) {
	root := newTree(t)
	synctest.Test(t, func(t *testing.T) {
		root.stat(t, "cpu 0 0 0 0\nbtime 1\n")
		s := NewSampler(Machine{Root: string(root)}, time.Second/4)
		start := time.Now()
		go func() {
			time.Sleep(time.Second / 2)
			root.stat(t, "cpu 25 0 0 75\nbtime 1\n")
		}()
		got, err := s.Sample(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != window || got.Over != window || got.Usage.Busy != .25 {
			t.Errorf("got %v busy over %v after %v, want 0.25 over %v", got.Usage.Busy, got.Over, took, window)
		}
		if got.Memory.Total == 0 || got.Load.One != .08 || len(got.Temperatures) != 1 || got.Frequency != 600e6 {
			t.Errorf("got %+v, want the rest of the tree too", got)
		}
	})
}

func TestSamplerSharesFreshSamplesAndMeasuresSinceTheLast(t *testing.T) {
	root := newTree(t)
	synctest.Test(t, func(t *testing.T) {
		root.stat(t, "cpu 0 0 0 0\nbtime 1\n")
		s := NewSampler(Machine{Root: string(root)}, time.Second/4)
		first, err := s.Sample(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second / 5)
		if again, _ := s.Sample(t.Context()); again.Time != first.Time {
			t.Errorf("got a sample of %v, want that of %v again", again.Time, first.Time)
		}
		time.Sleep(time.Minute)
		root.stat(t, "cpu 10 0 0 90\nbtime 1\n")
		later, err := s.Sample(t.Context())
		if err != nil || later.Usage.Busy != .1 || later.Over < time.Minute {
			t.Errorf("got %v busy over %v, %v, want 0.1 over a minute", later.Usage.Busy, later.Over, err)
		}
		time.Sleep(time.Second / 2) // too short to measure: the last usage stands
		root.stat(t, "cpu 60 0 0 90\nbtime 1\n")
		if soon, _ := s.Sample(t.Context()); soon.Usage != later.Usage || soon.Stat.Total.User != 60*tick {
			t.Errorf("got usage %v and user time %v, want %v and 600ms", soon.Usage, soon.Stat.Total.User, later.Usage)
		}
	})
}

func TestSamplerEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSampler(Machine{Root: "testdata/rpi3"}, time.Second/4)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		if _, err := s.Sample(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the deadline of half a second", err)
		}
		if _, err := s.Sample(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the deadline again", err)
		}
		if _, err := s.Sample(t.Context()); err != nil {
			t.Errorf("got %v after one that gave up, want a sample", err)
		}
	})
}

func TestSamplesComeEveryInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSampler(Machine{Root: "testdata/rpi3"}, time.Second/4)
		ctx, cancel := context.WithTimeout(t.Context(), 5500*time.Millisecond)
		defer cancel()
		n := 0
		for sample, err := range s.Samples(ctx, time.Second) {
			if err != nil {
				t.Fatal(err)
			}
			if sample.Usage.Busy != 0 {
				t.Errorf("got %v busy of a tree that stands still, want 0", sample.Usage.Busy)
			}
			n++
		}
		if n != 5 {
			t.Errorf("got %d samples in 5.5 s, want 5", n)
		}
	})
}

func TestProcessesAreScannedOnceASecond(t *testing.T) {
	root := newTree(t)
	add := func(pid, stat string) {
		dir := filepath.Join(string(root), "proc", pid)
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "stat"), []byte(stat), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		s := NewSampler(Machine{Root: string(root)}, time.Second)
		add("7", "7 (a ) R (b) Z 1")
		for _, tt := range []struct{ pause, total time.Duration }{{0, 1}, {999 * time.Millisecond, 1}, {time.Millisecond, 2}} {
			time.Sleep(tt.pause)
			p, err := s.Processes(t.Context())
			if err != nil || p.Total != int(tt.total) || p.Zombie != 1 {
				t.Errorf("got %+v, %v, want %d processes, one a zombie", p, err, tt.total)
			}
			add("8", "8 (b) D 1")
		}
	})
}

// The bar for one sample is a millisecond of processor time.
func BenchmarkSample(b *testing.B) {
	var m Machine
	for b.Loop() {
		if _, err := m.sample(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkProcesses(b *testing.B) {
	var m Machine
	for b.Loop() {
		if _, err := m.Processes(); err != nil {
			b.Fatal(err)
		}
	}
}
