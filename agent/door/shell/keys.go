package shell

import (
	"bytes"
	"context"
	"io"
	"sync"
)

const (
	ctrlC = 3
	ctrlD = 4

	// endKey is Ctrl-D on its way through the line editor, which would take
	// the plain one for the end of all input. It is of the private use area.
	endKey = '\uf004'

	// clearLine goes to the end of the line, deletes it and enters what is left.
	clearLine = "\x05\x15\r"

	maxAhead = 4096 // bytes typed ahead of a command's end
)

// keys reads the keyboard, all the time: Ctrl-C must be seen while a command
// runs. What else is typed meanwhile waits for the next prompt.
type keys struct {
	mu      sync.Mutex
	typed   *sync.Cond // signalled when pending or closed changes
	pending []byte
	closed  bool
	cancel  context.CancelFunc // of the running command; nil at the prompt
}

func newKeys() *keys {
	k := &keys{}
	k.typed = sync.NewCond(&k.mu)
	return k
}

// read takes keys from the terminal until it hangs up or its deadline passes.
func (k *keys) read(tty io.Reader) {
	buf := make([]byte, 256)
	for {
		n, err := tty.Read(buf)
		k.add(buf[:n])
		if err != nil {
			k.close()
			return
		}
	}
}

func (k *keys) add(b []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range b {
		switch {
		case c == ctrlC && k.cancel != nil:
			k.cancel()
			k.pending = nil
		case len(k.pending) > maxAhead:
		case c == ctrlC:
			k.pending = append(k.pending, clearLine...)
		case c == ctrlD:
			k.pending = append(k.pending, string(endKey)...)
		default:
			k.pending = append(k.pending, c)
		}
	}
	k.typed.Broadcast()
}

func (k *keys) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	k.typed.Broadcast()
	if k.cancel != nil {
		k.cancel() // nobody is there to see the outcome
	}
}

// interrupts says what Ctrl-C ends; nil is the line being typed.
func (k *keys) interrupts(cancel context.CancelFunc) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.cancel = cancel; cancel != nil && k.closed {
		cancel()
	}
}

// Read is the line editor's side. It blocks until there are keys. The editor
// runs out of space in the middle of an escape sequence that does not end,
// such as noise on the line, and would ask for ever.
func (k *keys) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, io.ErrShortBuffer
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for len(k.pending) == 0 {
		if k.closed {
			return 0, io.EOF
		}
		k.typed.Wait()
	}
	n := copy(p, k.pending)
	if i := bytes.IndexByte(k.pending[:n], '\r'); i >= 0 {
		n = i + 1 // one line at a time: what follows may be for the next prompt
	}
	k.pending = k.pending[n:]
	return n, nil
}

// history remembers lines, except empty ones and repetitions.
type history struct {
	lines []string // the newest last
}

const maxHistory = 500

func (h *history) Add(line string) {
	if line == "" || len(h.lines) > 0 && h.lines[len(h.lines)-1] == line {
		return
	}
	h.lines = append(h.lines, line)
	if len(h.lines) > maxHistory {
		h.lines = h.lines[1:]
	}
}

func (h *history) Len() int { return len(h.lines) }

// At counts from the newest.
func (h *history) At(i int) string { return h.lines[len(h.lines)-1-i] }
