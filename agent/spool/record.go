package spool

import (
	"encoding/binary"
	"errors"
	"time"
)

// step is what happened to a run, as a journal keeps it.
type step struct {
	kind kind
	at   time.Time
	key  string
	n    int    // began: which attempt it is, from 1
	body []byte // finished: the result
}

type kind byte

const (
	began     kind = 'b'
	finished  kind = 'f'
	delivered kind = 'd'
	forgotten kind = 'x' // cut short, or dropped
)

// encode appends the payload of a step to b:
// kind, nanoseconds since 1970, attempt, length of the key, key, body.
func (s step) encode(b []byte) []byte {
	b = append(b, byte(s.kind))
	b = binary.AppendVarint(b, s.at.UnixNano())
	b = binary.AppendUvarint(b, uint64(s.n))
	b = binary.AppendUvarint(b, uint64(len(s.key)))
	b = append(b, s.key...)
	return append(b, s.body...)
}

// decodeStep reads a payload. The body shares its memory.
func decodeStep(b []byte) (s step, err error) {
	spoilt := errors.New("spoilt record")
	if len(b) == 0 {
		return s, spoilt
	}
	s.kind, b = kind(b[0]), b[1:]
	at, n := binary.Varint(b)
	if n <= 0 {
		return s, spoilt
	}
	s.at, b = time.Unix(0, at), b[n:]
	attempt, n := binary.Uvarint(b)
	if n <= 0 || attempt > 1<<20 {
		return s, spoilt
	}
	s.n, b = int(attempt), b[n:]
	length, n := binary.Uvarint(b)
	if n <= 0 || length > uint64(len(b)-n) {
		return s, spoilt
	}
	s.key, s.body = string(b[n:n+int(length)]), b[n+int(length):]
	return s, nil
}
