package mtr

import (
	"bytes"
	"io"
	"math"
)

const (
	longestLine = 4094 // bytes without the newline
	maxPairs    = 16   // of name and value
)

// splitter cuts input into lines. A line that has no end within longestLine
// bytes is cut off there with one byte more, as mtr-packet's buffer does it:
// the rest counts as a line of its own.
type splitter struct {
	line []byte // the current line without its end; nil if it was too long

	buf        [1 << 16]byte
	start, end int // of what has not been cut yet
}

// read makes one Read. The current line is no longer valid after it.
func (s *splitter) read(r io.Reader) error {
	s.end = copy(s.buf[:], s.buf[s.start:s.end])
	s.start = 0
	n, err := r.Read(s.buf[s.end:])
	s.end += n
	return err
}

// next moves on to the next complete line.
func (s *splitter) next() bool {
	rest := s.buf[s.start:s.end]
	head := rest[:min(len(rest), longestLine+1)]
	switch n := bytes.IndexByte(head, '\n'); {
	case n >= 0:
		s.line = head[:n]
		s.start += n + 1
	case len(head) > longestLine:
		s.line = nil
		s.start += len(head)
	default:
		return false
	}
	return true
}

// command is a line taken apart. It refers to the bytes of the line.
type command struct {
	token int32
	name  []byte
	pairs [maxPairs]pair
	n     int // pairs in use
}

type pair struct{ name, value []byte }

// parse takes a line apart. It reports false for anything that is not
// "TOKEN COMMAND [NAME VALUE]..." with at most maxPairs pairs.
func (c *command) parse(line []byte) bool {
	if bytes.IndexByte(line, 0) >= 0 {
		return false
	}
	token, line := word(line)
	c.name, line = word(line)
	if len(c.name) == 0 {
		return false
	}
	for c.n = 0; ; c.n++ {
		var p pair
		p.name, line = word(line)
		if len(p.name) == 0 {
			break
		}
		p.value, line = word(line)
		if len(p.value) == 0 || c.n == maxPairs {
			return false
		}
		c.pairs[c.n] = p
	}
	n, _, ok := strtol(token)
	c.token = n
	return ok
}

// word returns the first word of b and what is behind it.
func word(b []byte) (first, rest []byte) {
	for len(b) > 0 && isSpace(b[0]) {
		b = b[1:]
	}
	n := 0
	for n < len(b) && !isSpace(b[n]) {
		n++
	}
	return b[:n], b[n:]
}

// isSpace is that of C: blank, \t, \n, \v, \f, \r.
func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

// strtol reads the number at the start of a word as mtr-packet does: into a
// 64-bit long, of which it keeps the low 32 bits. It returns what is behind
// the number, which is the whole word if there is none, and whether the
// number fitted the long.
func strtol(b []byte) (n int32, rest []byte, ok bool) {
	digits := b
	negative := false
	if len(digits) > 0 && (digits[0] == '-' || digits[0] == '+') {
		negative = digits[0] == '-'
		digits = digits[1:]
	}
	long, rest, ok := decimal(digits, negative)
	if len(rest) == len(digits) {
		return 0, b, true
	}
	return int32(long), rest, ok
}

// decimal reads digits and stops at the bounds of an int64. It counts
// downwards if the number is negative, because that side reaches farther.
func decimal(b []byte, negative bool) (n int64, rest []byte, ok bool) {
	ok = true
	for ; len(b) > 0 && '0' <= b[0] && b[0] <= '9'; b = b[1:] {
		digit := int64(b[0] - '0')
		switch {
		case negative && n < (math.MinInt64+digit)/10:
			n, ok = math.MinInt64, false
		case negative && ok:
			n = n*10 - digit
		case !negative && n > (math.MaxInt64-digit)/10:
			n, ok = math.MaxInt64, false
		case ok:
			n = n*10 + digit
		}
	}
	return n, b, ok
}

// integer reads a word that must be a number altogether.
func integer(b []byte) (int32, bool) {
	n, rest, _ := strtol(b)
	return n, len(rest) == 0
}
