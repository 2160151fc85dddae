package mtr

import (
	"context"
	"io"
	"sync"

	"github.com/natrix-os/natrix/agent/packet"
)

// portion is how many probes are sent before replies are written, so that a
// client with many in flight reads these while the next are sent.
const portion = 128

// batch is how many results are answered by one write.
const batch = 512

// door is one client's session. One goroutine asks, another answers.
type door struct {
	dialect dialect
	stream  stream

	submitted chan struct{} // holds one token after a Submit; closed when there will be none

	// The asking goroutine's.
	requests []packet.Request
	replies  []byte

	waiting sync.Mutex      // held by the goroutine that waits for results
	results []packet.Result // under waiting

	mu  sync.Mutex
	out io.Writer // under mu
}

// ask reads commands until the input ends. What one Read brings is sent
// together, in portions.
func (d *door) ask(in io.Reader) error {
	var lines splitter
	for {
		err := lines.read(in)
		for lines.next() {
			d.command(lines.line)
			if len(d.requests) == portion {
				if err := d.flush(); err != nil {
					return err
				}
			}
		}
		if err := d.flush(); err != nil {
			return err
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// command deals with one line; nil is one that was too long.
func (d *door) command(line []byte) {
	if line == nil {
		d.reply(0, "command-buffer-overflow")
		return
	}
	var c command
	if !c.parse(line) {
		d.reply(0, "command-parse-error")
		return
	}
	switch string(c.name) {
	case "send-probe":
		var p probe
		if complaint := p.read(&c, &d.dialect); complaint != "" {
			d.reply(c.token, complaint)
			return
		}
		d.requests = append(d.requests, p.request)
	case "check-support":
		d.replies = d.dialect.appendSupport(d.replies, &c)
	default:
		d.reply(c.token, "unknown-command")
	}
}

func (d *door) reply(token int32, words string) {
	d.replies = appendReply(d.replies, token, words)
}

// flush sends the probes and the replies that have come together.
func (d *door) flush() error {
	if len(d.requests) > 0 {
		d.submit()
	}
	err := d.write(d.replies)
	d.replies = d.replies[:0]
	return err
}

// submit sends the probes, and has the other goroutine wait for their results
// unless they are there already. On a machine that answers itself they are,
// and waking somebody for them would cost more than the probe.
func (d *door) submit() {
	n := d.stream.Submit(d.requests)
	for _, r := range d.requests[n:] {
		d.reply(tokenOf(r.Tag), "probes-exhausted")
	}
	d.requests = d.requests[:0]
	if d.collect() {
		return
	}
	select {
	case d.submitted <- struct{}{}:
	default: // the token of the last time has not been taken
	}
}

// collect takes the results that are there, if nobody waits for them, and
// says whether there will be no more.
func (d *door) collect() (all bool) {
	if !d.waiting.TryLock() {
		return false
	}
	defer d.waiting.Unlock()
	for {
		all := d.stream.Pending() == 0
		n, _ := d.stream.Wait(noWait, d.results) // it is no error that it did not wait
		d.replies = d.dialect.appendResults(d.replies, d.results[:n])
		if n < len(d.results) {
			return all
		}
	}
}

// noWait makes a Wait return at once: it has ended.
var noWait = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// answer writes replies until there will be no more.
func (d *door) answer(ctx context.Context) error {
	var buf []byte
	for {
		var n int
		var err error
		buf, n, err = d.await(ctx, buf[:0])
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if n == 0 {
			select {
			case _, more := <-d.submitted:
				if !more {
					return nil
				}
			case <-ctx.Done():
				return nil
			}
		}
		if err := d.write(buf); err != nil {
			return err
		}
	}
}

// await waits for results and appends the replies to them.
func (d *door) await(ctx context.Context, buf []byte) ([]byte, int, error) {
	d.waiting.Lock()
	defer d.waiting.Unlock()
	n, err := d.stream.Wait(ctx, d.results)
	return d.dialect.appendResults(buf, d.results[:n]), n, err
}

func (d *door) write(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	_, err := d.out.Write(b)
	return err
}
