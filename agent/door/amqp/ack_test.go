package amqp

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// record keeps acknowledgements as the broker understands them.
type record struct {
	mu     sync.Mutex
	acked  map[uint64]int
	frames []string
}

func (r *record) ack(tag uint64, multiple bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.acked == nil {
		r.acked = make(map[uint64]int)
	}
	r.frames = append(r.frames, fmt.Sprint(tag, multiple))
	if !multiple {
		r.acked[tag]++
		return nil
	}
	for t := uint64(1); t <= tag; t++ {
		if r.acked[t] == 0 {
			r.acked[t] = 1
		}
	}
	return nil
}

func TestAcksInAnyOrder(t *testing.T) {
	var r record
	a := newAcks(r.ack)
	for _, tag := range []uint64{2, 4, 1, 3, 5} {
		if err := a.ack(tag); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"2 false", "4 false", "1 true", "3 true", "5 true"}
	if !slices.Equal(r.frames, want) {
		t.Errorf("got %v, want %v", r.frames, want)
	}
}

func TestAcksTogether(t *testing.T) {
	const deliveries, unfinished = 2000, 700
	var r record
	a := newAcks(r.ack)
	var all sync.WaitGroup
	for _, n := range rand.Perm(deliveries) {
		tag := uint64(n + 1)
		if tag == unfinished {
			continue
		}
		all.Go(func() {
			if err := a.ack(tag); err != nil {
				t.Error(err)
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.acked[tag] == 0 {
				t.Errorf("ack of %d returned before it was sent", tag)
			}
		})
	}
	all.Wait()
	for tag := uint64(1); tag <= deliveries; tag++ {
		want := 1
		if tag == unfinished {
			want = 0
		}
		if got := r.acked[tag]; got != want {
			t.Errorf("delivery %d was acknowledged %d times, want %d", tag, got, want)
		}
	}
}

func TestGatherWritesEverythingInOrder(t *testing.T) {
	near, far := net.Pipe()
	g := newGather(near)
	var want strings.Builder
	go func() {
		for n := range 5000 {
			fmt.Fprintf(g, "%d;", n)
		}
	}()
	for n := range 5000 {
		fmt.Fprintf(&want, "%d;", n)
	}
	got := make([]byte, want.Len())
	if _, err := io.ReadFull(far, got); err != nil {
		t.Fatal(err)
	}
	if string(got) != want.String() {
		t.Errorf("got %d bytes that differ from what was written", len(got))
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	if _, err := g.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write after close: got %v, want %v", err, net.ErrClosed)
	}
}

// TestGatherIsBounded has nobody read: writers wait in the end, and Close frees them.
func TestGatherIsBounded(t *testing.T) {
	near, _ := net.Pipe()
	g := newGather(near)
	written := make(chan int, 1)
	go func() {
		n := 0
		for {
			if _, err := g.Write(make([]byte, 4096)); err != nil {
				written <- n
				return
			}
			n += 4096
		}
	}()
	full := func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return len(g.waiting) > gathered
	}
	for end := time.Now().Add(time.Minute); !full() && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if !full() {
		t.Error("writers wait before much waits to be written")
	}
	g.Close()
	if n := <-written; n > 3*gathered {
		t.Errorf("%d bytes were taken from writers, want no more than some %d", n, gathered)
	}
}

func TestGatherTellsAnError(t *testing.T) {
	near, far := net.Pipe()
	g := newGather(near)
	defer g.Close()
	far.Close()
	for {
		if _, err := g.Write([]byte("x")); err != nil {
			if !errors.Is(err, io.ErrClosedPipe) {
				t.Errorf("got %v, want %v", err, io.ErrClosedPipe)
			}
			return
		}
		time.Sleep(time.Millisecond)
	}
}
