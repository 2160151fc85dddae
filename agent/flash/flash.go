// Package flash writes disk images to SD cards, USB sticks and disks: not to
// one that is in use, only what the image uses, and not without reading it back.
package flash

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// ErrDiffers is that a device does not give back what was written to it.
var ErrDiffers = errors.New("the device does not give back what was written: it is worn out, or not as large as it says")

// chunkSize is how much is written before waiting for the device, in bytes:
// less would be slow, and more make what is said of the progress untrue.
const chunkSize = 1 << 20

// Phase is what a Writer is at.
type Phase string

// The phases, in their order.
const (
	Writing   Phase = "write"
	Verifying Phase = "verify"
)

// Writer writes an image to a disk.
type Writer struct {
	Image *Image
	Disk  Disk

	// Config becomes natrix.ini on the disk; nil leaves that of the image.
	Config []byte

	// Progress, unless nil, is called from time to time with the bytes done
	// in a phase, of Image.Used.
	Progress func(phase Phase, done int64)
}

// written is a chunk that the disk has.
type written struct {
	at  int64
	len int
	sum [sha256.Size]byte
}

// Write writes the image, reads it back, puts the configuration in, and has
// the kernel read the new partition table. The disk's beginning comes last, so
// that one on which the writing was interrupted has no partitions rather than
// broken ones.
func (w Writer) Write(ctx context.Context) error {
	f, err := w.Disk.open()
	if err != nil {
		return err
	}
	defer f.Close()
	chunks, err := w.copy(ctx, f)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("stopped: %s is erased and has no partitions; write it again: %w", w.Disk.Path, ctx.Err())
	case err != nil:
		return fmt.Errorf("write %s: %w", w.Disk.Path, err)
	}
	err = w.verify(ctx, f, chunks)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("stopped: %s is written, but neither verified nor configured; write it again: %w", w.Disk.Path, ctx.Err())
	case err != nil:
		return fmt.Errorf("read %s back: %w", w.Disk.Path, err)
	}
	if w.Config != nil {
		if err := putConfig(f, w.Config); err != nil {
			return fmt.Errorf("put the configuration on %s: %w", w.Disk.Path, err)
		}
	}
	if err := w.Disk.reread(f); err != nil {
		return err
	}
	return f.Close()
}

// copy writes what the image uses, its first chunk last.
func (w Writer) copy(ctx context.Context, f *os.File) (chunks []written, err error) {
	if err := w.erase(f); err != nil {
		return nil, err
	}
	var done int64
	put := func(at int64, b []byte) error {
		if _, err := f.WriteAt(b, at); err != nil {
			return err
		}
		chunks = append(chunks, written{at, len(b), sha256.Sum256(b)})
		done += int64(len(b))
		w.progress(Writing, done)
		return unix.Fdatasync(int(f.Fd()))
	}
	var first []byte
	err = w.Image.each(ctx, func(at int64, b []byte) error {
		if at == 0 {
			first = bytes.Clone(b)
			return nil
		}
		return put(at, b)
	})
	if err != nil {
		return nil, err
	}
	return chunks, put(0, first)
}

// erase takes away what says where partitions are: in the first sectors, and
// the copy of a GPT in the last ones (UEFI specification, section 5.3.1),
// unless the image reaches there.
func (w Writer) erase(f *os.File) error {
	const table = 34 * 512
	zeros := make([]byte, table)
	if _, err := f.WriteAt(zeros, 0); err != nil {
		return err
	}
	if end := w.Disk.Size - table; end >= w.Image.Size {
		if _, err := f.WriteAt(zeros, end); err != nil {
			return err
		}
	}
	return unix.Fdatasync(int(f.Fd()))
}

// verify reads every chunk from the device itself.
func (w Writer) verify(ctx context.Context, f *os.File, chunks []written) error {
	if err := forget(f, w.Disk.Block); err != nil {
		return err
	}
	var done int64
	b := make([]byte, chunkSize)
	for _, c := range chunks {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if _, err := f.ReadAt(b[:c.len], c.at); err != nil {
			return err
		}
		if sha256.Sum256(b[:c.len]) != c.sum {
			return fmt.Errorf("bytes %d to %d: %w", c.at, c.at+int64(c.len)-1, ErrDiffers)
		}
		done += int64(c.len)
		w.progress(Verifying, done)
	}
	return nil
}

func (w Writer) progress(p Phase, done int64) {
	if w.Progress != nil {
		w.Progress(p, done)
	}
}

// forget has the kernel drop what it holds of a file or device in memory.
func forget(f *os.File, block bool) error {
	if err := f.Sync(); err != nil {
		return err
	}
	if block {
		if err := unix.IoctlSetInt(int(f.Fd()), unix.BLKFLSBUF, 0); err != nil {
			return fmt.Errorf("drop the cache: %w", err)
		}
	}
	return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}

// readFull is io.ReadFull for an image: one that ends early is damaged.
func readFull(r io.Reader, b []byte) error {
	_, err := io.ReadFull(r, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the image ends too early")
	}
	return err
}
