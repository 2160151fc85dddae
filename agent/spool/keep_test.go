package spool

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// open is a spool in the given places, let go of when the test ends.
func open(t *testing.T, places Places) *Spool {
	t.Helper()
	s, err := Open(DefaultLimits(), places)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// answer is the result that a key has: "" if it would have to be run.
func answer(t *testing.T, s *Spool, key string) string {
	t.Helper()
	e, mine := s.Claim(key)
	if mine {
		e.Finish(nil)
		return ""
	}
	body, err := e.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestSurvivesTheProcess(t *testing.T) {
	places := Places{RAM: t.TempDir()}
	s := open(t, places)
	put(t, s, "waits", "one")
	put(t, s, "delivered", "two").Delivered()
	cut, _ := s.Claim("cut short")
	cut.Finish(nil)

	s = open(t, places) // the first was never closed: it was killed
	for key, want := range map[string]string{"waits": "one", "delivered": "two", "cut short": ""} {
		if got := answer(t, s, key); got != want {
			t.Errorf("%s: got %q, want %q", key, got, want)
		}
	}
	if got := s.Pending(0); len(got) != 1 || got[0].Key != "waits" {
		t.Errorf("%d results wait, want the one", len(got))
	}
}

func TestAttemptsAreCounted(t *testing.T) {
	places := Places{RAM: t.TempDir()}
	for want := 1; want <= 3; want++ {
		s := open(t, places)
		e, mine := s.Claim("crashes")
		if !mine || e.Attempt != want {
			t.Fatalf("attempt %d, mine %v; want attempt %d", e.Attempt, mine, want)
		}
		put(t, s, fmt.Sprint("other ", want), "works")
	}
	s := open(t, places)
	e, _ := s.Claim("crashes")
	e.Finish([]byte("works at last"))
	s.write(step{kind: forgotten, at: time.Now(), key: "crashes"})
	if e, _ := open(t, places).Claim("crashes"); e.Attempt != 1 {
		t.Errorf("attempt %d after it worked, want 1", e.Attempt)
	}
}

func TestRAMStaysSmall(t *testing.T) {
	dir := t.TempDir()
	limits := Limits{Bytes: 100 << 10, Delivered: time.Hour, Age: time.Hour}
	s, err := Open(limits, Places{RAM: dir})
	if err != nil {
		t.Fatal(err)
	}
	running, _ := s.Claim("running")
	for n := range 20_000 {
		put(t, s, fmt.Sprint("key ", n), strings.Repeat("x", 300)).Delivered()
	}
	info, err := os.Stat(filepath.Join(dir, "results"))
	if err != nil {
		t.Fatal(err)
	}
	if most := int64(2*limits.Bytes + slack + 1000); info.Size() > most {
		t.Errorf("%d bytes on the RAM disk, want %d at most", info.Size(), most)
	}
	s = open(t, Places{RAM: dir})
	if got := answer(t, s, "key 19999"); got != strings.Repeat("x", 300) {
		t.Errorf("the last result is %q", got)
	}
	if e, _ := s.Claim(running.Key); e.Attempt != 2 {
		t.Errorf("attempt %d of what was running, want 2", e.Attempt)
	}
}

func TestMedium(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		places := Places{Medium: t.TempDir()}
		file := filepath.Join(places.Medium, "results")
		size := func() int64 {
			info, err := os.Stat(file)
			if err != nil {
				t.Fatal(err)
			}
			return info.Size()
		}
		s := open(t, places)
		ctx, stop := context.WithCancel(t.Context())
		go s.Run(ctx)
		defer func() { stop(); synctest.Wait() }()

		put(t, s, "at once", "delivered").Delivered()
		time.Sleep(time.Minute)
		if size() != 0 {
			t.Errorf("%d bytes were written though nothing waited", size())
		}
		a, b := put(t, s, "a", "first"), put(t, s, "b", "second")
		time.Sleep(2 * patience)
		if got := s.State().Waiting; got != 2 || size() == 0 {
			t.Errorf("%d wait, %d bytes written", got, size())
		}
		again := open(t, places) // after a power cut
		if got := answer(t, again, "a") + " " + answer(t, again, "b"); got != "first second" {
			t.Errorf("after a power cut there is %q", got)
		}
		a.Delivered()
		time.Sleep(2 * patience)
		again = open(t, places)
		if got := answer(t, again, "a") + "|" + answer(t, again, "b"); got != "|second" {
			t.Errorf("after a was delivered there is %q", got)
		}
		b.Delivered()
		time.Sleep(2 * patience)
		if size() != 0 {
			t.Errorf("%d bytes are left though all is delivered", size())
		}
	})
}

func TestMediumIsWrittenAtTheEnd(t *testing.T) {
	places := Places{RAM: t.TempDir(), Medium: t.TempDir()}
	s := open(t, places)
	put(t, s, "a", "result")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := answer(t, open(t, Places{Medium: places.Medium}), "a"); got != "result" {
		t.Errorf("got %q", got)
	}
	s = open(t, places)
	s.entries["a"].Delivered() // by a process that died before it told the medium
	open(t, places).save(0)
	if got := open(t, Places{Medium: places.Medium}).State().Waiting; got != 0 {
		t.Errorf("%d results wait on the medium, want none: the RAM disk knew better", got)
	}
}

func TestFullMedium(t *testing.T) {
	s := open(t, Places{Medium: t.TempDir()})
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Skip(err) // every Linux has it, some sandboxes do not
	}
	s.medium.file.Close()
	s.medium.file = full
	put(t, s, "a", "result")
	s.save(0)
	if state := s.State(); state.Err == nil || state.Waiting != 1 {
		t.Errorf("got %+v, want the error, and the result still there", state)
	}
}

func TestUnusablePlaces(t *testing.T) {
	s, err := Open(DefaultLimits(), Places{RAM: "/dev/null/ram", Medium: "/dev/null/medium"})
	if err == nil || !strings.Contains(err.Error(), "ram") || !strings.Contains(err.Error(), "medium") {
		t.Errorf("got %v, want both named", err)
	}
	put(t, s, "a", "result")
	if got := answer(t, s, "a"); got != "result" {
		t.Errorf("got %q: the spool should do without its places", got)
	}
}

func TestTooOldIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Limits{Bytes: 1000, Delivered: time.Minute, Age: time.Hour})
		put(t, s, "a", "a")
		time.Sleep(2 * time.Hour)
		put(t, s, "b", "b")
		if state := s.State(); state.Waiting != 1 || state.Dropped != 1 {
			t.Errorf("got %+v, want one waiting and one dropped", state)
		}
	})
}

// TestPowerCut cuts the journal at every byte: what was whole before the cut is
// there, and what is written after it too.
func TestPowerCut(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "results")
	var whole []byte
	var ends []int
	for n := range 5 {
		whole = appendRecord(whole, step{kind: finished, at: time.Now(), key: fmt.Sprint(n), body: []byte("body of " + fmt.Sprint(n))}.encode(nil))
		ends = append(ends, len(whole))
	}
	for cut := range len(whole) {
		if err := os.WriteFile(path, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		s := open(t, Places{RAM: dir})
		put(t, s, "after", "the cut")
		s = open(t, Places{RAM: dir})
		for n, end := range ends {
			want := ""
			if end <= cut {
				want = "body of " + fmt.Sprint(n)
			}
			if got := answer(t, s, fmt.Sprint(n)); got != want {
				t.Fatalf("cut at %d: record %d is %q, want %q", cut, n, got, want)
			}
		}
		if got := answer(t, s, "after"); got != "the cut" {
			t.Fatalf("cut at %d: what was written after it is %q", cut, got)
		}
		s.Close()
	}
}

// TestSpoiltRecord flips every byte of the middle record: the others stay.
func TestSpoiltRecord(t *testing.T) {
	var whole []byte
	var begin, end int
	for n := range 3 {
		if n == 1 {
			begin = len(whole)
		}
		whole = appendRecord(whole, step{kind: finished, at: time.Now(), key: fmt.Sprint(n), body: []byte("body")}.encode(nil))
		if n == 1 {
			end = len(whole)
		}
	}
	for at := begin; at < end; at++ {
		spoilt := bytes.Clone(whole)
		spoilt[at] ^= 0x40
		var keys []string
		readRecords(spoilt, func(payload []byte) {
			if s, err := decodeStep(payload); err == nil {
				keys = append(keys, s.key)
			}
		})
		if got := strings.Join(keys, " "); got != "0 2" {
			t.Fatalf("byte %d flipped: got records %q, want 0 and 2", at, got)
		}
	}
}

func FuzzJournal(f *testing.F) {
	f.Add(appendRecord(nil, step{kind: finished, at: time.Unix(1, 2), key: "k", body: []byte("b")}.encode(nil)))
	f.Add(appendRecord([]byte("torn NxJ1"), step{kind: began, at: time.Unix(1, 2), key: "k", n: 3}.encode(nil)))
	f.Add(appendRecord(nil, nil))
	f.Add([]byte("NxJ1\xff\xff\xff\xff\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := New(DefaultLimits())
		end := readRecords(data, func(payload []byte) {
			if st, err := decodeStep(payload); err == nil {
				if again, err := decodeStep(st.encode(nil)); err != nil || again.key != st.key || !again.at.Equal(st.at) || !bytes.Equal(again.body, st.body) || again.n != st.n {
					t.Errorf("%+v comes back as %+v, %v", st, again, err)
				}
			}
			s.replay(payload, false)
		})
		if end > len(data) {
			t.Errorf("records end at %d of %d", end, len(data))
		}
	})
}

// BenchmarkDurable is one run: claimed, finished, delivered.
func BenchmarkDurable(b *testing.B) {
	body := bytes.Repeat([]byte("x"), 600)
	for name, places := range map[string]Places{"memory": {}, "ram": {RAM: b.TempDir()}} {
		b.Run(name, func(b *testing.B) {
			s, err := Open(DefaultLimits(), places)
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			for n := 0; b.Loop(); n++ {
				e, _ := s.Claim(fmt.Sprint(n))
				e.Finish(body)
				e.Delivered()
			}
		})
	}
}
