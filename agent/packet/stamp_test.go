package packet

import (
	"testing"
	"time"
)

func TestRTT(t *testing.T) {
	before := offset{ns: 1e18, slop: 300}
	slewed := offset{ns: 1e18 + 200, slop: 300}  // within what the readings can tell
	forward := offset{ns: 1e18 + 1e9, slop: 300} // somebody set the clock
	back := offset{ns: 1e18 - 10_000, slop: 300}
	for _, c := range []struct {
		name   string
		sent   stamps
		got    stamps
		offset offset
		want   time.Duration
		clock  Clock
	}{
		{"both stamped", stamps{software: 1000}, stamps{software: 5000}, before, 4000, Kernel},
		{"a reading's blur", stamps{software: 1000}, stamps{software: 5000}, slewed, 4000, Kernel},
		{"clock set forward", stamps{software: 1000}, stamps{software: 1e9 + 5000}, forward, 9000, Monotonic},
		{"clock set back", stamps{software: 20_000}, stamps{software: 24_000}, back, 9000, Monotonic},
		{"departure unknown", stamps{}, stamps{software: 5000}, before, 9000, Monotonic},
		{"arrival unknown", stamps{software: 1000}, stamps{}, before, 9000, Monotonic},
		{"network card", stamps{software: 1000, hardware: 70}, stamps{software: 5000, hardware: 370}, forward, 300, Hardware},
		{"network card's clock set back", stamps{software: 1000, hardware: 370}, stamps{software: 5000, hardware: 70}, before, 4000, Kernel},
		{"network card's clock set forward", stamps{software: 1000, hardware: 70}, stamps{software: 5000, hardware: 1e9}, before, 4000, Kernel},
		{"card stamps one way", stamps{software: 1000}, stamps{software: 5000, hardware: 370}, before, 4000, Kernel},
	} {
		f := &flight{sent: 1000, offset: before, stamps: c.sent}
		rtt, clock := f.rtt(c.got, moment{now: 10_000, offset: c.offset})
		if rtt != c.want || clock != c.clock {
			t.Errorf("%s: got %s by %s, want %s by %s", c.name, rtt, clock, c.want, c.clock)
		}
	}
}

func TestOffsetIsSteady(t *testing.T) {
	c := newClock()
	_, first := c.offset()
	for range 1000 {
		if _, o := c.offset(); o.stepped(first) {
			t.Fatalf("got %+v, then %+v: taken for a step", first, o)
		}
	}
}
