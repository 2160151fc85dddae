package spool

import (
	"context"
	"errors"
	"slices"
	"time"
)

const (
	patience = 2 * time.Second // how long a result may wait before it is written to the medium
	slack    = 1 << 20         // bytes that a journal may hold beyond twice what it must
)

// Run keeps the medium until ctx ends.
func (s *Spool) Run(ctx context.Context) {
	ticker := time.NewTicker(patience / 2)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.save(patience)
		case <-ctx.Done():
			return
		}
	}
}

// Close writes to the medium what waits, and lets go of the places. Nothing
// else may be called after it.
func (s *Spool) Close() error {
	s.save(0)
	s.saving.Lock()
	defer s.saving.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	errs := []error{s.mediumErr}
	for _, j := range []*journal{s.ram, s.medium} {
		if j != nil {
			errs = append(errs, j.close())
		}
	}
	s.ram, s.medium = nil, nil
	return errors.Join(errs...)
}

// write notes a step on the RAM disk, and makes the journal small again when
// most of it is history. What cannot be written is kept in memory all the same.
// s.mu is held.
func (s *Spool) write(st step) {
	if s.ram == nil {
		return
	}
	s.payload = st.encode(s.payload[:0])
	s.records = appendRecord(s.records[:0], s.payload)
	s.ramErr = s.ram.append(s.records)
	if s.ramErr == nil && s.ram.size > int64(2*s.bytes+slack) {
		s.ramErr = s.ram.replace(s.snapshot())
	}
	if cap(s.records) > slack {
		s.payload, s.records = nil, nil
	}
}

// snapshot are the records that say where everything stands. s.mu is held.
func (s *Spool) snapshot() []byte {
	b := make([]byte, 0, s.bytes+len(s.order)*100)
	put := func(st step) { b = appendRecord(b, st.encode(nil)) }
	for _, crash := range s.crashed {
		if time.Since(crash.at) < s.limits.Delivered {
			put(crash)
		}
	}
	for _, e := range s.order {
		if e.body == nil {
			put(step{kind: began, at: time.Now(), key: e.Key, n: e.Attempt})
			continue
		}
		put(step{kind: finished, at: e.finished, key: e.Key, body: e.body})
		if e.delivered {
			put(step{kind: delivered, at: e.finished, key: e.Key})
		}
	}
	return b
}

// save writes to the medium what has waited for the given time and is not
// there yet, and what need not be there any longer.
func (s *Spool) save(waited time.Duration) {
	s.saving.Lock()
	defer s.saving.Unlock()
	if s.medium == nil {
		return
	}
	entries, gone, live := s.unsaved(waited)
	if len(entries) == 0 && len(gone) == 0 {
		return
	}
	fresh := records(entries)
	var err error
	switch {
	case live == 0 && len(entries) == 0:
		err = s.medium.replace(nil)
	case s.medium.size > int64(2*live+slack):
		err = s.medium.replace(append(records(s.onMedium()), fresh...))
	default:
		for _, key := range gone {
			fresh = appendRecord(fresh, step{kind: forgotten, at: time.Now(), key: key}.encode(nil))
		}
		if err = s.medium.append(fresh); err == nil {
			err = s.medium.sync()
		}
	}
	s.saved(entries, gone, err)
}

// unsaved are the entries that the medium lacks, the keys of those that it need
// not have any longer, and the bytes of those that it has and that still wait.
func (s *Spool) unsaved(waited time.Duration) (entries []*Entry, gone []string, live int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shrink()
	for _, e := range s.order {
		switch {
		case !e.waits():
		case e.saved:
			live += len(e.body)
		case time.Since(e.finished) >= waited:
			entries = append(entries, e)
		}
	}
	gone, s.gone = s.gone, nil
	return entries, gone, live
}

// onMedium are the entries that the medium has and that still wait.
func (s *Spool) onMedium() []*Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.order), func(e *Entry) bool { return !e.saved || !e.waits() })
}

// records are those of entries that are finished, and so change no more.
func records(entries []*Entry) []byte {
	var b []byte
	for _, e := range entries {
		b = appendRecord(b, step{kind: finished, at: e.finished, key: e.Key, body: e.body}.encode(nil))
	}
	return b
}

// saved notes what an attempt to write to the medium came to.
func (s *Spool) saved(entries []*Entry, gone []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mediumErr = err
	if err != nil {
		s.gone = append(s.gone, gone...)
		return
	}
	for _, e := range entries {
		e.saved = true
		if s.entries[e.Key] != e || e.delivered { // it went meanwhile
			s.leave(e)
		}
	}
}
