package probe

import (
	"math"
	"slices"
	"time"
)

// Spread is the distribution of some durations.
type Spread struct {
	Min, Avg, Max      time.Duration
	Deviation          time.Duration // standard deviation
	Jitter             time.Duration // mean difference between one and the next
	P50, P90, P95, P99 time.Duration // percentiles, by nearest rank
}

// SpreadOf computes the distribution; of nothing it is zero.
func SpreadOf(values []time.Duration) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	var sum, squares, steps float64
	for i, v := range values {
		sum += float64(v)
		squares += float64(v) * float64(v)
		if i > 0 {
			steps += math.Abs(float64(v - values[i-1]))
		}
	}
	n := float64(len(values))
	sorted := slices.Sorted(slices.Values(values))
	rank := func(p float64) time.Duration { return sorted[max(int(math.Ceil(p*n)), 1)-1] }
	return Spread{
		Min: sorted[0], Avg: time.Duration(sum / n), Max: sorted[len(sorted)-1],
		Deviation: time.Duration(math.Sqrt(max(squares/n-sum/n*sum/n, 0))),
		Jitter:    time.Duration(steps / max(n-1, 1)),
		P50:       rank(0.5), P90: rank(0.9), P95: rank(0.95), P99: rank(0.99),
	}
}
