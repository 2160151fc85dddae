package qemu

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// shown is how many of the last lines a failure shows.
const shown = 20

// console is the text that came over a serial line. It hands out lines in
// order, each at most once.
type console struct {
	copy io.Writer // may be nil

	mu      sync.Mutex
	lines   []string      // complete lines, without control sequences
	partial string        // the last line, as far as it has come, as it came
	ended   error         // why no more will come
	changed chan struct{} // closed and replaced by each change above

	next     int // the first line that was not yet waited past
	prompted int // the line of the last prompt; -1 before the first
}

func newConsole(copy io.Writer) *console {
	return &console{copy: copy, changed: make(chan struct{}), prompted: -1}
}

// WaitLine returns the first line that matches, and its submatches, among
// those after the last line that was waited for. It fails when ctx ends or
// the machine does; the error then shows the last lines of the console.
func (c *console) WaitLine(ctx context.Context, line *regexp.Regexp) ([]string, error) {
	var match []string
	err := c.wait(ctx, fmt.Sprintf("no line like %q", line), func() bool {
		for c.next < len(c.lines) {
			c.next++
			if match = line.FindStringSubmatch(c.lines[c.next-1]); match != nil {
				return true
			}
		}
		return false
	})
	return match, err
}

// WaitPrompt waits until the console stands behind prompt, with no newline yet,
// and on another line than at the last prompt: what was typed there has been
// taken. All lines before count as waited for.
func (c *console) WaitPrompt(ctx context.Context, prompt string) error {
	return c.wait(ctx, fmt.Sprintf("no prompt %q", prompt), func() bool {
		if len(c.lines) == c.prompted || !strings.HasSuffix(plain(c.partial), prompt) {
			return false
		}
		c.next, c.prompted = len(c.lines), len(c.lines)
		return true
	})
}

// wait returns nil once found says so. It calls found with c.mu held.
func (c *console) wait(ctx context.Context, missing string, found func() bool) error {
	for {
		c.mu.Lock()
		ok, ended, changed := found(), c.ended, c.changed
		c.mu.Unlock()
		switch {
		case ok:
			return nil
		case ended != nil:
			return c.failure(missing, ended)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return c.failure(missing, ctx.Err())
		}
	}
}

// failure says what is missing, why, and what the console shows.
func (c *console) failure(missing string, cause error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := append(c.lines[max(0, len(c.lines)-shown):len(c.lines):len(c.lines)], plain(c.partial))
	return fmt.Errorf("%s: %w; the console ends with:\n%s", missing, cause, strings.Join(last, "\n"))
}

// read takes output until there is no more.
func (c *console) read(output io.Reader) {
	buf := make([]byte, 4096)
	for {
		n, err := output.Read(buf)
		c.add(string(buf[:n]))
		if err != nil {
			return
		}
	}
}

// add takes a piece of output of any size.
func (c *console) add(output string) {
	if c.copy != nil {
		io.WriteString(c.copy, output) // a copy that fails must not stop the machine
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	lines := strings.Split(c.partial+output, "\n")
	for _, line := range lines[:len(lines)-1] {
		c.lines = append(c.lines, plain(line))
	}
	c.partial = lines[len(lines)-1]
	c.change()
}

// end says that no more output will come, and so that the last line is whole.
func (c *console) end(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.partial != "" {
		c.lines, c.partial = append(c.lines, plain(c.partial)), ""
	}
	c.ended = cause
	c.change()
}

// change wakes whoever waits. The caller holds c.mu.
func (c *console) change() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// control matches the sequences that move a terminal's cursor, colour its text
// or erase it (ECMA-48, section 5.4). The number and the letter of each are
// its submatches.
var control = regexp.MustCompile("\x1b\\[([0-?]*)[ -/]*([@-~])")

// plain is what a line looks like on a terminal, as far as line editors go:
// they redraw a prompt after a carriage return, and go back to rub text out.
func plain(line string) string {
	line = strings.TrimRight(line, "\r")
	line = line[strings.LastIndexByte(line, '\r')+1:]
	text := ""
	for {
		at := control.FindStringSubmatchIndex(line)
		if at == nil {
			return text + line
		}
		text += line[:at[0]]
		if back, err := strconv.Atoi(line[at[2]:at[3]]); err == nil && line[at[4]:at[5]] == "D" {
			text = text[:max(0, len(text)-back)]
		}
		line = line[at[1]:]
	}
}
