package packet

import "testing"

// Idents wrap around three times while some flights stay up: none of these is
// given out again, ident 0 never is, and each round has another identifier.
func TestLaneWrapsAround(t *testing.T) {
	l := &lane{blocks: []block{{index: 40}}, last: 65000}
	up := make(map[*flight]bool)
	numbers := make(map[uint16]bool)
	for i := range 3 << 16 {
		f := l.take()
		numbers[l.number()] = true
		switch {
		case f.ident == 0:
			t.Fatal("got ident 0")
		case up[f]:
			t.Fatalf("got ident %d again while it is in flight", f.ident)
		case l.flight(f.ident) != f:
			t.Fatalf("ident %d does not lead back to its flight", f.ident)
		}
		if i%100 == 0 {
			f.state = flying
			up[f] = true
		} else {
			f.state = answered
			l.aloft--
		}
	}
	if l.aloft != len(up) {
		t.Errorf("got %d in flight, want %d", l.aloft, len(up))
	}
	if rounds := int(l.round) + 1; rounds < 4 || len(numbers) != rounds {
		t.Errorf("got %d identifiers in %d rounds", len(numbers), rounds)
	}
}

// An answer from before the idents wrapped around is not taken for one of now.
func TestStaleAnswer(t *testing.T) {
	l := &lane{blocks: []block{{index: 40}}}
	old := l.take()
	old.sport = l.number()
	stale := sighting{protocol: ICMP, number: old.sport, idents: [2]uint16{old.ident}}
	for l.last != laneSize {
		l.take().state = answered
	}
	old.state = answered
	now := l.take()
	now.sport, now.state = l.number(), flying
	if now != old {
		t.Fatalf("got ident %d, want %d again", now.ident, old.ident)
	}
	if now.is(&stale) {
		t.Errorf("%+v is taken for an answer to %+v", stale, now)
	}
}
