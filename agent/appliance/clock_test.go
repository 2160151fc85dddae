package appliance

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestStepBy(t *testing.T) {
	for offset, want := range map[time.Duration][2]int64{
		0:                        {0, 0},
		1500 * time.Millisecond:  {1, 500_000_000},
		-time.Millisecond:        {-1, 999_000_000},
		-1500 * time.Millisecond: {-2, 500_000_000},
		-3 * time.Second:         {-3, 0},
	} {
		got := stepBy(offset)
		if int64(got.Time.Sec) != want[0] || int64(got.Time.Usec) != want[1] {
			t.Errorf("%v: got %d s and %d ns, want %v", offset, got.Time.Sec, got.Time.Usec, want)
		}
	}
}

func TestSlewBy(t *testing.T) {
	got := slewBy(-20*time.Millisecond, 30*time.Millisecond, 64*time.Second)
	if got.Offset != -20_000_000 || got.Maxerror != 30_000 || got.Esterror != 20_000 || got.Constant != 6 {
		t.Errorf("got %+v", got)
	}
	if got.Status&unix.STA_UNSYNC != 0 {
		t.Error("the clock is said to be wrong")
	}
}
