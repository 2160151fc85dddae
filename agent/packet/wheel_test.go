package packet

import (
	"math/rand/v2"
	"testing"
)

// The wheel against a plain set of deadlines: nothing comes early, and nothing
// later than the moment that next has promised.
func TestWheel(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var w wheel
	waiting := make(map[*flight]bool)
	now := int64(0)
	for range 20_000 {
		for range random.IntN(4) {
			f := &flight{slot: -1, deadline: now + random.Int64N(1<<random.IntN(36))}
			w.add(f)
			waiting[f] = true
		}
		for f := range waiting { // some are answered
			if random.IntN(4) == 0 {
				w.remove(f)
				delete(waiting, f)
			}
			break
		}
		next := w.next(now)
		for f := range waiting {
			if f.deadline+2*tickSize < next && f.deadline > now {
				t.Fatalf("at %d: next is %d, after a deadline at %d", now, next, f.deadline)
			}
		}
		if now += random.Int64N(40 * tickSize); random.IntN(100) == 0 {
			now = max(now, min(next, now+3600e9))
		}
		for f := w.pop(now); f != nil; f = w.pop(now) {
			if !waiting[f] || f.deadline > now {
				t.Fatalf("at %d: got deadline %d, waiting %t", now, f.deadline, waiting[f])
			}
			delete(waiting, f)
		}
		for f := range waiting {
			if f.deadline <= now {
				t.Fatalf("at %d: deadline %d has not come out", now, f.deadline)
			}
		}
	}
	if w.count != len(waiting) {
		t.Errorf("got %d left, want %d", w.count, len(waiting))
	}
}

func BenchmarkWheel(b *testing.B) {
	var w wheel
	flights := make([]flight, 10_000)
	for i := range flights {
		flights[i] = flight{slot: -1, deadline: int64(i) * tickSize / 10}
		w.add(&flights[i])
	}
	for i := 0; b.Loop(); i++ {
		f := &flights[i%len(flights)]
		w.remove(f)
		f.deadline += 1e9
		w.add(f)
	}
}
