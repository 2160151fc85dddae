package shell

import (
	"bytes"
	"context"
	"io"
	"os"
	"sync"
	"time"
)

// past is a deadline that ends the reading at once.
var past = time.Unix(1, 0)

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
	live    chan byte          // gets every key instead; nil without a live display
	lent    bool               // the terminal is another program's

	stopped, resumed chan struct{} // that nothing is read from a terminal that is lent, and that it is again
	ended            chan struct{} // closed with the last key
}

func newKeys() *keys {
	k := &keys{stopped: make(chan struct{}), resumed: make(chan struct{}), ended: make(chan struct{})}
	k.typed = sync.NewCond(&k.mu)
	return k
}

// read takes keys from the terminal until it hangs up or its deadline passes.
func (k *keys) read(tty io.Reader) {
	buf := make([]byte, 256)
	for {
		n, err := tty.Read(buf)
		k.add(buf[:n])
		if err != nil && k.away() {
			k.stopped <- struct{}{}
			<-k.resumed
		} else if err != nil {
			k.close()
			return
		}
	}
}

func (k *keys) away() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.lent
}

// lend leaves the terminal to another program until back is called.
func (k *keys) lend(tty *os.File) (back func()) {
	lend := func(lent bool) {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.lent = lent
	}
	lend(true)
	tty.SetReadDeadline(past)
	select {
	case <-k.stopped:
	case <-k.ended:
		return func() {}
	}
	return func() {
		lend(false)
		tty.SetReadDeadline(time.Time{})
		k.resumed <- struct{}{}
	}
}

// watch hands every key to a live display until stop is called, Ctrl-C too.
// Keys that it does not take are lost.
func (k *keys) watch() (live <-chan byte, stop func()) {
	set := func(c chan byte) {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.live = c
	}
	c := make(chan byte, 16)
	set(c)
	return c, func() { set(nil) }
}

func (k *keys) add(b []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range b {
		switch {
		case k.live != nil:
			select {
			case k.live <- c:
			default:
			}
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
	close(k.ended)
	k.typed.Broadcast()
	if k.cancel != nil {
		k.cancel() // nobody is there to see the outcome
	}
}

// forget drops what was typed ahead.
func (k *keys) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.pending = nil
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
