package update

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/mod/semver"

	"github.com/natrix-os/natrix/agent/medium"
)

// Running is the version that runs, and that an update is compared with.
type Running struct {
	Board   string
	Version string
	Built   time.Time // of its sources
}

// Order is an update that was asked for.
type Order struct {
	Running Running
	Keys    []ed25519.PublicKey
	Force   bool     // take an older version, the same one, and a loader that cannot try
	Tries   bool     // whether the machine can restart for a trial
	Needs   []string // what works now, and is to work on trial

	Progress func(h Header, done int64) // called now and then with the bytes of h.Packed that have been read; may be nil
}

// headSize is how much of a slot is written last. No loader makes anything of a
// FAT file system without it.
const headSize = 4096

// chunk is how much is written and read at once, in bytes, and flushEvery how
// much may wait in memory for the medium.
const (
	chunk      = 64 << 10
	flushEvery = 4 << 20
)

// ErrOld is that the update is not later than what runs.
var ErrOld = errors.New("not later than what runs")

// Install puts an update into the slot that does not run, and has the loader
// try it at the next boot. If it fails, the loader has been told nothing, and
// what became of it is on record.
func Install(ctx context.Context, m Medium, file io.Reader, o Order) (Header, error) {
	h, err := m.install(ctx, file, o)
	if err != nil {
		err = errors.Join(err, m.note(Record{State: Refused, From: o.Running.Version, To: h.Version, Reason: err.Error()}))
	}
	return h, err
}

func (m Medium) install(ctx context.Context, file io.Reader, o Order) (Header, error) {
	if !o.Tries && !o.Force {
		return Header{}, errors.New("this machine cannot start a slot on trial: its kernel does not pass the flag on to the firmware. With --force the new version is started for good, and is left again if it does not get on; not if its kernel does not start")
	}
	h, err := ReadHeader(file, o.Keys)
	if err != nil {
		return h, err
	}
	if err := o.accept(h); err != nil {
		return h, err
	}
	c, err := m.choice()
	if err != nil {
		return h, err
	}
	if c.Slot != m.Booted {
		return h, fmt.Errorf("slot %s runs and the loader's ordinary one is %s: restart first", m.Booted, c.Slot)
	}
	if err := m.fill(ctx, m.Booted.Other(), h, file, o.Progress); err != nil {
		return h, err
	}
	return h, m.try(h, o)
}

// accept compares an update with what runs.
func (o Order) accept(h Header) error {
	r := o.Running
	if h.Board != r.Board {
		return fmt.Errorf("it is for the board %s, this is %s", h.Board, r.Board)
	}
	if o.Force {
		return nil
	}
	versions := semver.Compare("v"+h.Version, "v"+r.Version)
	if versions < 0 || h.Built.Before(r.Built) || versions == 0 && h.Built.Equal(r.Built) {
		return fmt.Errorf("%w: it is %s of %s, and %s of %s runs", ErrOld, h.Version, day(h.Built), r.Version, day(r.Built))
	}
	return nil
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// try has the loader take the other slot.
func (m Medium) try(h Header, o Order) error {
	slot := m.Booted.Other()
	err := m.note(Record{State: Trial, Slot: slot, From: o.Running.Version, To: h.Version, Needs: o.Needs, Straight: !o.Tries})
	switch {
	case err != nil:
		return err
	case !o.Tries:
		return m.choose(medium.Choice{Slot: slot})
	case m.Loader.InFile:
		return m.choose(medium.Choice{Slot: m.Booted, Trial: slot})
	}
	return nil
}

// fill writes a file system to a slot and verifies it.
func (m Medium) fill(ctx context.Context, slot medium.Slot, h Header, packed io.Reader, progress func(Header, int64)) error {
	d, err := m.Slot(slot)
	if err != nil {
		return err
	}
	defer d.Close()
	if _, err := d.WriteAt(make([]byte, headSize), 0); err != nil {
		return fmt.Errorf("wipe slot %s: %w", slot, err)
	}
	if err := d.Sync(); err != nil {
		return fmt.Errorf("wipe slot %s: %w", slot, err)
	}
	head, err := unpack(ctx, d, h, packed, progress)
	if err != nil {
		return err
	}
	if err := verify(ctx, d, h, head); err != nil { // before there is anything to start
		return fmt.Errorf("verify slot %s: %w", slot, err)
	}
	if _, err := d.WriteAt(head, 0); err != nil {
		return fmt.Errorf("write slot %s: %w", slot, err)
	}
	if err := d.Sync(); err != nil {
		return fmt.Errorf("write slot %s: %w", slot, err)
	}
	written := make([]byte, headSize)
	if _, err := d.ReadAt(written, 0); err != nil {
		return fmt.Errorf("verify slot %s: %w", slot, err)
	}
	if !bytes.Equal(written, head) {
		return fmt.Errorf("verify slot %s: %w", slot, errSpoilt)
	}
	return nil
}

// unpack writes all but the head, which it returns.
func unpack(ctx context.Context, d Device, h Header, packed io.Reader, progress func(Header, int64)) (head []byte, err error) {
	counted := &counter{r: io.LimitReader(packed, h.Packed)}
	z, err := zstd.NewReader(counted, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(Window))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	head = make([]byte, headSize)
	sum := sha256.New()
	content := io.TeeReader(io.LimitReader(z, h.Size+1), sum)
	if _, err := io.ReadFull(content, head); err != nil {
		return nil, fmt.Errorf("unpack: %w", err)
	}
	if err := copyTo(ctx, d, headSize, content, func() {
		if progress != nil {
			progress(h, counted.n)
		}
	}); err != nil {
		return nil, err
	}
	if [sha256.Size]byte(sum.Sum(nil)) != h.SHA256 {
		return nil, errors.New("what was downloaded is not what was signed: its hash differs")
	}
	return head, nil
}

// copyTo writes content from the byte at on. It waits for the medium now and
// then: a small machine has no memory for all of it.
func copyTo(ctx context.Context, d Device, at int64, content io.Reader, written func()) error {
	buf := make([]byte, chunk)
	for flushed := at; ; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := io.ReadFull(content, buf)
		if _, err := d.WriteAt(buf[:n], at); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		at += int64(n)
		written()
		last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			return fmt.Errorf("unpack: %w", err)
		}
		if last || at-flushed >= flushEvery {
			flushed = at
			if err := d.Sync(); err != nil {
				return fmt.Errorf("write: %w", err)
			}
		}
		if last {
			return nil
		}
	}
}

var errSpoilt = errors.New("the medium holds something else than what was written: it is worn out")

// verify reads back what is behind the head.
func verify(ctx context.Context, d Device, h Header, head []byte) error {
	sum := sha256.New()
	sum.Write(head)
	rest := io.NewSectionReader(d, headSize, h.Size-headSize)
	if _, err := io.CopyBuffer(sum, cancelled{ctx, rest}, make([]byte, chunk)); err != nil {
		return err
	}
	if [sha256.Size]byte(sum.Sum(nil)) != h.SHA256 {
		return errSpoilt
	}
	return nil
}

// cancelled reads until ctx ends.
type cancelled struct {
	ctx context.Context
	r   io.Reader
}

func (c cancelled) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}

// counter counts what was read.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
