package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/google/renameio/v2"
)

// Queue is a durable line of small records, each with a number that never
// changes. Records go in at one end and are dropped at the other, when the
// receiver has them or when there are too many. It is safe for concurrent use.
//
// With a directory, a record is in a file when Append returns, and so survives
// the process; after Sync it survives a power cut as well. It is in segments of
// some 1 MiB, of which only those that are read are in memory.
type Queue struct {
	dir  string // "" keeps all in memory
	most int64  // bytes

	mu       sync.Mutex
	segments []*segment // oldest first; the last is written to
	next     uint64     // number of the next record
	done     uint64     // number of the last record that is dropped
	bytes    int64
	dropped  uint64
	cursor   *os.File // holds done; nil without a directory
	payload  []byte   // scratch
	records  []byte   // scratch
}

// segment is a run of records whose numbers follow each other.
type segment struct {
	first, next uint64   // number of the first record, and after the last
	journal     *journal // of the last segment of a directory; else nil
	path        string   // "" in memory
	data        []byte   // records: in memory, or of the segment that is being read
	size        int64
	at          int // where in data the first record begins that is not done
}

const (
	segmentSize = 1 << 20
	// leap is what numbers go ahead by when a queue is opened: more than could be
	// lost of it by a power cut, so that no number is given twice.
	leap = 1 << 24
)

// Record is one record of a Queue.
type Record struct {
	ID   uint64
	Body []byte // not to be changed
}

// OpenQueue returns the queue that is kept in a directory, or an empty one in
// memory if dir is "". It holds at most the given number of bytes: beyond it,
// the oldest go.
func OpenQueue(dir string, most int64) (*Queue, error) {
	q := &Queue{dir: dir, most: max(most, 2*segmentSize), next: 1}
	if dir == "" {
		return q, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open queue: %w", err)
	}
	cursor, err := os.OpenFile(filepath.Join(dir, "cursor"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open queue: %w", err)
	}
	q.cursor = cursor
	var b [8]byte
	if n, _ := cursor.ReadAt(b[:], 0); n == len(b) { // a new one is empty
		q.done = binary.LittleEndian.Uint64(b[:])
	}
	if err := q.load(); err != nil {
		cursor.Close()
		return nil, err
	}
	return q, nil
}

// load finds the segments that an earlier process left.
func (q *Queue) load() error {
	paths, err := filepath.Glob(filepath.Join(q.dir, "*.seg"))
	if err != nil {
		return err
	}
	slices.Sort(paths)
	last := q.done
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("open queue: %w", err)
		}
		s := &segment{path: path}
		readRecords(data, func(payload []byte) {
			if id, n := binary.Uvarint(payload); n > 0 && id > last {
				if s.first == 0 {
					s.first = id
				}
				last, s.next = id, id+1
			}
		})
		if s.first == 0 { // all of it is dropped, or spoilt
			os.Remove(path)
			continue
		}
		s.size = int64(len(data))
		q.segments = append(q.segments, s)
		q.bytes += s.size
	}
	if last > 0 {
		q.next = last + leap
	}
	return nil
}

// Append adds records in their order. What cannot be written to the directory
// is not in the queue.
func (q *Queue) Append(bodies ...[]byte) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(bodies) == 0 {
		return nil
	}
	s, err := q.last()
	if err != nil {
		return err
	}
	q.records = q.records[:0]
	for i, body := range bodies {
		q.payload = binary.AppendUvarint(q.payload[:0], q.next+uint64(i))
		q.payload = append(q.payload, body...)
		q.records = appendRecord(q.records, q.payload)
	}
	if s.journal != nil {
		if err := s.journal.append(q.records); err != nil {
			return err
		}
	}
	if s.journal == nil || s.data != nil {
		s.data = append(s.data, q.records...)
	}
	q.next += uint64(len(bodies))
	s.next = q.next
	s.size += int64(len(q.records))
	q.bytes += int64(len(q.records))
	if cap(q.records) > segmentSize {
		q.records = nil
	}
	for q.bytes > q.most && len(q.segments) > 1 {
		q.dropOldest()
	}
	return nil
}

// last is the segment to write to. q.mu is held.
func (q *Queue) last() (*segment, error) {
	if n := len(q.segments); n > 0 {
		s := q.segments[n-1]
		if s.size < segmentSize && (s.journal != nil || q.dir == "") {
			return s, nil
		}
		if s.journal != nil {
			if err := errors.Join(s.journal.sync(), s.journal.close()); err != nil {
				return nil, err
			}
			s.journal = nil
			if n > 1 { // the segment that is read stays in memory
				s.data = nil
			}
		}
	}
	s := &segment{first: q.next, next: q.next}
	if q.dir != "" {
		s.path = filepath.Join(q.dir, fmt.Sprintf("%020d.seg", q.next))
		j, err := openJournal(s.path, func([]byte) {})
		if err != nil {
			return nil, err
		}
		s.journal = j
		s.data = []byte{} // what is read soon need not be read from the file
	}
	q.segments = append(q.segments, s)
	return s, nil
}

// Dropped counts the records that were dropped for want of room.
func (q *Queue) Dropped() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.dropped
}

func (q *Queue) dropOldest() {
	s := q.segments[0]
	q.dropped += s.next - max(s.first, q.done+1)
	q.remove(s)
	q.done = max(q.done, s.next-1)
}

// remove takes the oldest segment away. q.mu is held.
func (q *Queue) remove(s *segment) {
	if s.journal != nil {
		s.journal.close()
	}
	if s.path != "" {
		os.Remove(s.path) // one that stays is below the cursor, and removed at the next start
	}
	q.bytes -= s.size
	q.segments[0] = nil
	q.segments = q.segments[1:]
}

// Waiting returns the oldest records, up to a number of records and about a
// number of bytes, and whether there are more behind them.
func (q *Queue) Waiting(records, bytes int) (waiting []Record, more bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, s := range q.segments {
		if s.data == nil && s.path != "" {
			if s.data, err = os.ReadFile(s.path); err != nil {
				return nil, false, fmt.Errorf("read queue: %w", err)
			}
		}
		s.seek(q.done)
		for rest := s.data[s.at:]; !more; {
			payload, ok := record(rest)
			if !ok {
				break // the end; what is spoilt in the middle hides the rest of its segment
			}
			rest = rest[recordHeader+len(payload):]
			id, n := binary.Uvarint(payload)
			if more = len(waiting) == records || bytes <= 0; !more && n > 0 && id > q.done {
				bytes -= len(payload)
				waiting = append(waiting, Record{id, payload[n:]})
			}
		}
		if more {
			break
		}
	}
	return waiting, more, nil
}

// seek moves at behind the records that are done.
func (s *segment) seek(done uint64) {
	for s.at < len(s.data) {
		payload, ok := record(s.data[s.at:])
		if !ok {
			return
		}
		if id, n := binary.Uvarint(payload); n <= 0 || id > done {
			return
		}
		s.at += recordHeader + len(payload)
	}
}

// Done drops all records up to a number: the receiver has them.
func (q *Queue) Done(id uint64) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if id <= q.done {
		return nil
	}
	q.done = id
	for len(q.segments) > 0 && q.segments[0].next <= id+1 {
		if len(q.segments) == 1 && q.segments[0].size < segmentSize {
			break // it is still written to
		}
		q.remove(q.segments[0])
	}
	if q.cursor == nil {
		return nil
	}
	if _, err := q.cursor.WriteAt(binary.LittleEndian.AppendUint64(nil, id), 0); err != nil {
		return fmt.Errorf("write queue: %w", err)
	}
	return nil
}

// Empty reports whether nothing waits.
func (q *Queue) Empty() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.segments) == 0 || q.segments[len(q.segments)-1].next <= q.done+1
}

// Sync returns once what was appended is safe from a power cut.
func (q *Queue) Sync() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n := len(q.segments); n > 0 && q.segments[n-1].journal != nil {
		return q.segments[n-1].journal.sync()
	}
	return nil
}

// Close lets go of the files.
func (q *Queue) Close() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	var errs []error
	for _, s := range q.segments {
		if s.journal != nil {
			errs = append(errs, s.journal.sync(), s.journal.close())
			s.journal = nil
		}
	}
	if q.cursor != nil {
		errs = append(errs, q.cursor.Close())
	}
	return errors.Join(errs...)
}

// Token is a word that belongs to the numbers of the queue: it is made by the
// given function once, and is another one when the numbers begin anew.
func (q *Queue) Token(make func() string) (string, error) {
	if q.dir == "" {
		return make(), nil
	}
	path := filepath.Join(q.dir, "token")
	q.mu.Lock()
	defer q.mu.Unlock()
	if b, err := os.ReadFile(path); err == nil && len(b) > 0 && q.next > 1 {
		return string(b), nil
	}
	token := make()
	if err := renameio.WriteFile(path, []byte(token), 0o600); err != nil {
		return token, fmt.Errorf("write queue: %w", err)
	}
	return token, nil
}
