package flash

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/natrix-os/natrix/agent/medium"
)

// Image is an image of a whole disk in a file: as it is, or compressed by gzip
// or zstd. It is read from its beginning to its end, and never whole.
type Image struct {
	Name   string
	Size   int64 // of the disk
	Used   int64 // what is written of it: all, unless a block map beside the file says less
	Natrix bool  // it is one of natrix, which has a place for a configuration

	spans []span
}

// span is a part of an image that is written.
type span struct {
	at, len int64
	sum     []byte // SHA-256; nil if unknown
}

// OpenImage reads what there is to know about an image. With a block map
// beside it (natrix-rpi3.img.bmap, also for natrix-rpi3.img.gz) only what the
// map lists is written; without one all of it, since a hole in a file may
// stand for zeros that matter.
func OpenImage(name string) (*Image, error) {
	i := &Image{Name: name}
	mapName := strings.TrimSuffix(strings.TrimSuffix(name, ".gz"), ".zst") + ".bmap"
	text, err := os.ReadFile(mapName)
	switch {
	case err == nil:
		if i.Size, i.spans, err = parseMap(text); err != nil {
			return nil, fmt.Errorf("%s: %w", mapName, err)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	if err := i.look(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	for _, s := range i.spans {
		i.Used += s.len
	}
	return i, nil
}

// look reads the first sector of the image, and its size if that is unknown.
func (i *Image) look() error {
	r, err := i.open()
	if err != nil {
		return err
	}
	defer r.Close()
	var mbr [medium.SectorSize]byte
	if err := readFull(r, mbr[:]); err != nil {
		return err
	}
	i.Natrix = binary.LittleEndian.Uint32(mbr[440:]) == medium.DiskID
	if i.spans != nil {
		return nil
	}
	rest, err := io.Copy(io.Discard, r)
	if err != nil {
		return err
	}
	i.Size = int64(len(mbr)) + rest
	if i.Size%medium.SectorSize != 0 {
		return fmt.Errorf("%d bytes are no whole sectors: not the image of a disk", i.Size)
	}
	i.spans = []span{{0, i.Size, nil}}
	return nil
}

// stream is the content of an image, uncompressed.
type stream struct {
	io.Reader
	close func()
}

func (s stream) Close() error { s.close(); return nil }

// open starts to read, from what the file begins with rather than by its name.
func (i *Image) open() (io.ReadCloser, error) {
	f, err := os.Open(i.Name)
	if err != nil {
		return nil, err
	}
	buffered := bufio.NewReaderSize(f, 1<<17)
	magic, _ := buffered.Peek(6) // a short file fails below
	switch {
	case bytes.HasPrefix(magic, []byte("\x1f\x8b")):
		z, err := gzip.NewReader(buffered)
		if err != nil {
			f.Close()
			return nil, err
		}
		return stream{z, func() { f.Close() }}, nil
	case bytes.HasPrefix(magic, []byte("\x28\xb5\x2f\xfd")):
		z, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			f.Close()
			return nil, err
		}
		return stream{z, func() { z.Close(); f.Close() }}, nil
	case bytes.HasPrefix(magic, []byte("\xfd7zXZ\x00")), bytes.HasPrefix(magic, []byte("PK\x03\x04")):
		f.Close()
		return nil, errors.New("unpack it first: of compressed images, those by gzip and zstd are read")
	}
	return f, rewind(f)
}

func rewind(f *os.File) error {
	_, err := f.Seek(0, io.SeekStart)
	return err
}

// each calls put with every part of the image that is used, in its order, in
// pieces of chunkSize at most that are good until put returns.
func (i *Image) each(ctx context.Context, put func(at int64, b []byte) error) error {
	r, err := i.open()
	if err != nil {
		return err
	}
	defer r.Close()
	var at int64
	for _, s := range i.spans {
		if err := skip(r, s.at-at); err != nil {
			return fmt.Errorf("%s: %w", i.Name, err)
		}
		if err := i.span(ctx, r, s, put); err != nil {
			return err
		}
		at = s.at + s.len
	}
	return nil
}

// span reads one span, and compares its sum with that of the map.
func (i *Image) span(ctx context.Context, r io.Reader, s span, put func(at int64, b []byte) error) error {
	var sum hash.Hash = sha256.New()
	b := make([]byte, chunkSize)
	for at := s.at; at < s.at+s.len; at += int64(len(b)) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		b = b[:min(s.at+s.len-at, chunkSize)]
		if err := readFull(r, b); err != nil {
			return fmt.Errorf("%s: %w", i.Name, err)
		}
		sum.Write(b)
		if err := put(at, b); err != nil {
			return err
		}
	}
	if s.sum != nil && !bytes.Equal(sum.Sum(nil), s.sum) {
		return fmt.Errorf("%s is damaged: bytes %d to %d are not what its block map says", i.Name, s.at, s.at+s.len-1)
	}
	return nil
}

// skip goes on by n bytes.
func skip(r io.Reader, n int64) error {
	if f, ok := r.(*os.File); ok {
		_, err := f.Seek(n, io.SeekCurrent)
		return err
	}
	if _, err := io.CopyN(io.Discard, r, n); err != nil {
		return readFull(r, make([]byte, 1))
	}
	return nil
}
