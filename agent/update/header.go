package update

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/natrix-os/natrix/agent/medium"
)

// Header is what an update file begins with: lines of text, in this order and
// in no other form, of which the last signs those before it.
//
//	natrix-update 1
//	board amd64
//	version 0.2.0
//	built 1763683200
//	size 31457280
//	packed 29102233
//	sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
//	signature (ed25519 in base64)
//
// The slot's file system follows, compressed by zstd with a window of at most
// [Window].
type Header struct {
	Board   string // as the image is built for it
	Version string
	Built   time.Time // of the sources, in whole seconds
	Size    int64     // of the file system, in bytes
	Packed  int64     // of what follows the header, in bytes
	SHA256  [sha256.Size]byte
}

// Window is the most memory that unpacking may look back on, in bytes.
const Window = 1 << 20

const (
	mark         = "natrix-update 1"
	maxHeader    = 1024
	slotCapacity = medium.SlotSectors * medium.SectorSize
)

// Errors of a file that is no update for this terminal.
var (
	ErrHeader    = errors.New("not an update of natrix")
	ErrSignature = errors.New("no key that this terminal trusts has signed it")
)

func (h Header) text() []byte {
	return fmt.Appendf(nil, "%s\nboard %s\nversion %s\nbuilt %d\nsize %d\npacked %d\nsha256 %x\n",
		mark, h.Board, h.Version, h.Built.Unix(), h.Size, h.Packed, h.SHA256)
}

// Sign returns the header's bytes.
func (h Header) Sign(key ed25519.PrivateKey) []byte {
	text := h.text()
	return fmt.Appendf(text, "signature %s\n", base64.StdEncoding.EncodeToString(ed25519.Sign(key, text)))
}

// ReadHeader reads a header and not a byte more, if one of the keys has signed it.
func ReadHeader(r io.Reader, keys []ed25519.PublicKey) (Header, error) {
	file, err := headerBytes(r)
	if err != nil {
		return Header{}, err
	}
	at := bytes.LastIndex(file, []byte("\nsignature ")) + 1
	if at == 0 {
		return Header{}, fmt.Errorf("%w: it has no signature", ErrHeader)
	}
	signature, err := base64.StdEncoding.Strict().DecodeString(string(file[at+len("signature ") : len(file)-1]))
	if err != nil {
		return Header{}, fmt.Errorf("%w: its signature: %v", ErrHeader, err)
	}
	for _, key := range keys {
		if ed25519.Verify(key, file[:at], signature) { // before anything in it is believed
			return parseHeader(file[:at])
		}
	}
	return Header{}, ErrSignature
}

// headerBytes are those up to the end of the line of the signature. They are
// read one by one: what follows is for somebody else.
func headerBytes(r io.Reader) ([]byte, error) {
	var file []byte
	for b, line := make([]byte, 1), 0; len(file) < maxHeader; {
		if _, err := io.ReadFull(r, b); err != nil {
			if len(file) > 0 && errors.Is(err, io.EOF) {
				err = ErrHeader
			}
			return nil, fmt.Errorf("read the header: %w", err)
		}
		file = append(file, b[0])
		if n := min(len(file), len(mark)); string(file[:n]) != mark[:n] {
			return nil, ErrHeader // a large file of another kind is not read to its end
		}
		if b[0] == '\n' {
			if bytes.HasPrefix(file[line:], []byte("signature ")) {
				return file, nil
			}
			line = len(file)
		}
	}
	return nil, fmt.Errorf("%w: its header has no end", ErrHeader)
}

// parseHeader reads the lines that are signed.
func parseHeader(text []byte) (Header, error) {
	var h Header
	var built int64
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	fields := [...]struct {
		name string
		read func(string) error
	}{
		{"board", word(&h.Board)},
		{"version", word(&h.Version)},
		{"built", number(&built)},
		{"size", number(&h.Size)},
		{"packed", number(&h.Packed)},
		{"sha256", func(s string) error {
			b, err := hex.DecodeString(s)
			copy(h.SHA256[:], b)
			return err
		}},
	}
	if len(lines) != len(fields)+1 {
		return Header{}, fmt.Errorf("%w: its header has %d lines, want %d", ErrHeader, len(lines)+1, len(fields)+2)
	}
	for i, f := range fields {
		name, value, _ := strings.Cut(lines[i+1], " ")
		if name != f.name {
			return Header{}, fmt.Errorf("%w: line %d of its header is %q, want %s", ErrHeader, i+2, name, f.name)
		}
		if err := f.read(value); err != nil {
			return Header{}, fmt.Errorf("%w: %s: %v", ErrHeader, name, err)
		}
	}
	h.Built = time.Unix(built, 0)
	if !bytes.Equal(h.text(), text) {
		return Header{}, fmt.Errorf("%w: its header is written in another way", ErrHeader)
	}
	return h, h.check()
}

// check refuses what cannot be in a slot.
func (h Header) check() error {
	if h.Size < headSize || h.Size > slotCapacity {
		return fmt.Errorf("%w: a slot of %d bytes, want %d to %d", ErrHeader, h.Size, headSize, slotCapacity)
	}
	if h.Packed < 1 || h.Packed > slotCapacity+slotCapacity/64 {
		return fmt.Errorf("%w: %d bytes that are compressed", ErrHeader, h.Packed)
	}
	return nil
}

func word(p *string) func(string) error {
	return func(s string) error {
		if s == "" || len(s) > 40 || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return fmt.Errorf("%q is not a word", s)
		}
		*p = s
		return nil
	}
}

func number(p *int64) func(string) error {
	return func(s string) (err error) {
		*p, err = strconv.ParseInt(s, 10, 64)
		if err == nil && *p < 0 {
			err = errors.New("less than 0")
		}
		return err
	}
}
