package amqp

import (
	"testing"
	"time"
)

// A fleet that reports together once does not do so again: of a thousand
// terminals none of the sixty seconds of a minute sees more than a few.
func TestReportsOfAFleetAreSpread(t *testing.T) {
	r := Report{Every: time.Minute}
	const fleet = 1000
	at := make([]time.Duration, fleet)
	for n := range 5 {
		seconds := make(map[int]int)
		crowd := 0
		for i := range at {
			pause := r.pause(n == 0)
			if pause < 0 || pause > 54*time.Second || n > 0 && pause < 48*time.Second {
				t.Fatalf("pause %d is %v", n+1, pause)
			}
			at[i] += pause
			seconds[int(at[i].Seconds())]++
			crowd = max(crowd, seconds[int(at[i].Seconds())])
		}
		if crowd > fleet/20 {
			t.Errorf("after %d pauses %d of %d terminals report in the same second", n+1, crowd, fleet)
		}
	}
}
