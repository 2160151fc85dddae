package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

const (
	progressAfter = time.Second // what is done sooner shows none
	progressEvery = 250 * time.Millisecond
)

// progress shows on a terminal that something is under way, and what it says,
// on one line that is gone when it ends. On anything but a terminal there is
// none.
type progress struct {
	w    io.Writer
	wide int
	what string

	mu   sync.Mutex
	line string

	ending chan struct{}
	once   sync.Once
	ended  sync.WaitGroup
}

// newProgress begins at once. The caller calls end before it prints.
func newProgress(w io.Writer, what string) *progress {
	p := &progress{w: w, what: what, ending: make(chan struct{})}
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) || os.Getenv("TERM") == "dumb" {
		return p
	}
	p.wide = 80 // a serial line does not tell
	if columns, _, err := term.GetSize(int(f.Fd())); err == nil && columns > 0 {
		p.wide = columns
	}
	p.ended.Go(p.run)
	return p
}

// say replaces what is shown behind the time.
func (p *progress) say(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.line = line
}

// end takes the line away. It may be called again.
func (p *progress) end() {
	p.once.Do(func() { close(p.ending) })
	p.ended.Wait()
}

func (p *progress) run() {
	begin := time.Now()
	wait := time.NewTimer(progressAfter)
	defer wait.Stop()
	shown := false
	for {
		select {
		case <-wait.C:
			wait.Reset(progressEvery)
			shown = true
			io.WriteString(p.w, "\r"+p.text(time.Since(begin))+clearRight)
		case <-p.ending:
			if shown {
				io.WriteString(p.w, "\r"+clearRight)
			}
			return
		}
	}
}

func (p *progress) text(since time.Duration) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := fmt.Sprintf("%s, %d s", p.what, int(since.Seconds()))
	if line, _, _ := strings.Cut(p.line, "\n"); line != "" {
		s += ": " + line
	}
	if runes := []rune(s); len(runes) >= p.wide {
		s = string(runes[:p.wide-1])
	}
	return s
}
