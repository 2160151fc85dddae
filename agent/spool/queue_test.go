package spool

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func openQueue(t *testing.T, dir string, most int64) *Queue {
	t.Helper()
	q, err := OpenQueue(dir, most)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	return q
}

// drain takes everything out, and returns the bodies and that ids only grow.
func drain(t *testing.T, q *Queue, at int) (bodies []string, last uint64) {
	t.Helper()
	for {
		waiting, more, err := q.Waiting(at, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range waiting {
			if r.ID <= last {
				t.Fatalf("record %d after %d", r.ID, last)
			}
			last = r.ID
			bodies = append(bodies, string(r.Body))
		}
		if len(waiting) > 0 {
			if err := q.Done(last); err != nil {
				t.Fatal(err)
			}
		}
		if !more {
			return bodies, last
		}
	}
}

func TestQueueKeepsOrder(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		q := openQueue(t, dir, 1<<30)
		const n = 40_000 // several segments
		for i := range n {
			if err := q.Append(fmt.Appendf(nil, "record number %60d", i)); err != nil {
				t.Fatal(err)
			}
		}
		bodies, last := drain(t, q, 999)
		if len(bodies) != n || last != n || !q.Empty() {
			t.Fatalf("dir %q: got %d records, last %d, empty %v, want %d", dir, len(bodies), last, q.Empty(), n)
		}
		for i, b := range bodies {
			if want := fmt.Sprintf("record number %60d", i); b != want {
				t.Fatalf("record %d: got %q, want %q", i, b, want)
			}
		}
		if err := q.Append([]byte("after")); err != nil {
			t.Fatal(err)
		}
		if bodies, _ := drain(t, q, 10); len(bodies) != 1 || bodies[0] != "after" {
			t.Errorf("got %q, want the one after", bodies)
		}
	}
}

func TestQueueSurvivesTheProcess(t *testing.T) {
	dir := t.TempDir()
	q := openQueue(t, dir, 1<<30)
	token := func() string { return "first" }
	if got, err := q.Token(token); got != "first" || err != nil {
		t.Fatalf("token: got %q, %v", got, err)
	}
	q.Append([]byte("a"), []byte("b"), []byte("c"))
	q.Done(1)

	q = openQueue(t, dir, 1<<30) // the first was never closed: it was killed
	if got, _ := q.Token(func() string { return "second" }); got != "first" {
		t.Errorf("token: got %q, want the first, because the numbers go on", got)
	}
	q.Append([]byte("d"))
	waiting, _, err := q.Waiting(10, 1<<20)
	if err != nil || len(waiting) != 3 || string(waiting[0].Body) != "b" || waiting[0].ID != 2 || waiting[2].ID <= 3 {
		t.Errorf("got %v, %v, want b and c under their numbers and d after them", waiting, err)
	}
	drain(t, q, 10)
	q = openQueue(t, dir, 1<<30)
	if !q.Empty() {
		t.Error("something waits after all was done")
	}
	q.Append([]byte("e"))
	if _, last := drain(t, q, 10); last <= waiting[2].ID {
		t.Errorf("number %d was given before", last)
	}
}

func TestQueueDropsTheOldest(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		q := openQueue(t, dir, 3<<20)
		body := make([]byte, 1000)
		const n = 10_000
		for range n {
			if err := q.Append(body); err != nil {
				t.Fatal(err)
			}
		}
		bodies, last := drain(t, q, 1000)
		if last != n || uint64(len(bodies))+q.Dropped() != n || len(bodies) < 1000 {
			t.Errorf("dir %q: %d kept, %d dropped, last %d", dir, len(bodies), q.Dropped(), last)
		}
	}
}

// TestQueueTorn cuts the last segment: what was whole is there.
func TestQueueTorn(t *testing.T) {
	dir := t.TempDir()
	q := openQueue(t, dir, 1<<30)
	q.Append([]byte("whole"), []byte("torn"))
	paths, _ := filepath.Glob(filepath.Join(dir, "*.seg"))
	info, err := os.Stat(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(paths[0], info.Size()-1); err != nil {
		t.Fatal(err)
	}
	q = openQueue(t, dir, 1<<30)
	if bodies, _ := drain(t, q, 10); len(bodies) != 1 || bodies[0] != "whole" {
		t.Errorf("got %q, want the whole one", bodies)
	}
}
