package probe

import (
	"testing"
	"time"
)

func TestSpreadOf(t *testing.T) {
	values := make([]time.Duration, 100)
	for i := range values {
		values[i] = time.Duration(i+1) * time.Millisecond
	}
	got := SpreadOf(values)
	want := Spread{
		Min: time.Millisecond, Avg: 50500 * time.Microsecond, Max: 100 * time.Millisecond, Deviation: 28866070, Jitter: time.Millisecond,
		P50: 50 * time.Millisecond, P90: 90 * time.Millisecond, P95: 95 * time.Millisecond, P99: 99 * time.Millisecond,
	}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if (SpreadOf(nil) != Spread{}) {
		t.Error("of nothing: not zero")
	}
}
