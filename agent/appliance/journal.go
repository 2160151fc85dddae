package appliance

import (
	"bufio"
	"bytes"
	"io"
	"sync"
)

const (
	journalLines = 2000 // kept in memory
	maxLine      = 4096 // bytes; a longer line is split
)

// journal keeps the last lines that PID 1 and its services have logged. A
// writer never waits for a reader: a console is slow.
type journal struct {
	mu      sync.Mutex
	lines   [journalLines]string // line n is at n modulo journalLines
	end     int64                // number of the next line
	changed chan struct{}        // closed and replaced by each line
}

func newJournal() *journal { return &journal{changed: make(chan struct{})} }

// Write adds lines. PID 1's logger writes whole ones.
func (j *journal) Write(p []byte) (int, error) {
	for line := range bytes.Lines(p) {
		j.add(string(bytes.TrimSuffix(line, []byte("\n"))))
	}
	return len(p), nil
}

func (j *journal) add(line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines[j.end%journalLines] = line
	j.end++
	close(j.changed)
	j.changed = make(chan struct{})
}

// since returns the lines from number n on, the number of the line after them,
// and a channel that is closed when there are more. Lines that are no longer
// kept are left out; lost is how many.
func (j *journal) since(n int64) (lines []string, next, lost int64, more <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if oldest := j.end - journalLines; n < oldest {
		lost, n = oldest-n, oldest
	}
	for ; n < j.end; n++ {
		lines = append(lines, j.lines[n%journalLines])
	}
	return lines, j.end, lost, j.changed
}

// last returns the number of the line that the last n lines start with.
func (j *journal) last(n int64) int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return max(j.end-max(n, 0), j.end-journalLines, 0)
}

// copy adds the lines that come from a process until it closes its end, and
// tells each of them to seen.
func (j *journal) copy(from io.Reader, seen func(line string)) {
	r := bufio.NewReaderSize(from, maxLine)
	for {
		line, _, err := r.ReadLine()
		if err != nil {
			return
		}
		j.add(string(line))
		seen(string(line))
	}
}
