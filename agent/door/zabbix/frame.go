package zabbix

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// A frame is one message of Zabbix's protocol ("Header", Zabbix manual,
// appendix protocols). Numbers are little-endian:
//
//	0        4       5              9 (13)               13 (21)
//	| "ZBXD" | flags | length       | length inflated   | payload ...
//
// The two lengths have 8 bytes each with flagLarge. The second is 0 without
// flagZlib.
const (
	flagZabbix = 0x01 // always set
	flagZlib   = 0x02 // payload is a zlib stream (RFC 1950)
	flagLarge  = 0x04 // lengths have 8 bytes
)

// limit bounds a frame that is received, in bytes.
type limit struct {
	sent     uint64 // as transmitted
	inflated uint64 // after decompression
}

// Far below what the protocol allows, which is more than a terminal's memory.
var (
	replyLimit  = limit{1 << 20, 4 << 20}
	configLimit = limit{8 << 20, 16 << 20}
)

// writeFrame sends a payload, compressed as real proxies send everything, or
// plain to whoever asked plainly.
func writeFrame(w io.Writer, payload []byte, compress bool) error {
	frame := bytes.NewBuffer(make([]byte, 0, 13+len(payload)/4))
	frame.WriteString("ZBXD")
	if !compress {
		frame.WriteByte(flagZabbix)
		frame.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(payload))))
		frame.Write(make([]byte, 4))
		frame.Write(payload)
		_, err := w.Write(frame.Bytes())
		return err
	}
	frame.WriteByte(flagZabbix | flagZlib)
	frame.Write(make([]byte, 8))
	z, err := zlib.NewWriterLevel(frame, zlib.BestSpeed)
	if err != nil {
		return err
	}
	if _, err := z.Write(payload); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	b := frame.Bytes()
	binary.LittleEndian.PutUint32(b[5:], uint32(len(b)-13))
	binary.LittleEndian.PutUint32(b[9:], uint32(len(payload)))
	_, err = w.Write(b)
	return err
}

// readFrame receives a payload, and says whether it was compressed. Memory is
// taken as bytes come in, not as the header promises them. io.EOF says that the
// peer closed without a word, which is how a server refuses.
func readFrame(r io.Reader, l limit) (payload []byte, compressed bool, err error) {
	var fixed [21]byte
	head := fixed[:13]
	if _, err := io.ReadFull(r, head[:5]); err != nil {
		return nil, false, err
	}
	if string(head[:4]) != "ZBXD" {
		return nil, false, fmt.Errorf("read frame: begins with %q, not ZBXD", head[:4])
	}
	flags := head[4]
	if flags&flagZabbix == 0 || flags&^(flagZabbix|flagZlib|flagLarge) != 0 {
		return nil, false, fmt.Errorf("read frame: unknown flags %#02x", flags)
	}
	if flags&flagLarge != 0 {
		head = fixed[:21]
	}
	if _, err := io.ReadFull(r, head[5:]); err != nil {
		return nil, false, fmt.Errorf("read frame: header: %w", err)
	}
	length, inflated := lengths(head[5:])
	compressed = flags&flagZlib != 0
	if length > l.sent || compressed && inflated > l.inflated {
		return nil, false, fmt.Errorf("read frame: %d bytes, %d decompressed: more than the %d and %d that are taken", length, inflated, l.sent, l.inflated)
	}
	body := io.LimitReader(r, int64(length))
	if !compressed {
		payload, err = readExactly(body, length)
	} else {
		payload, err = inflate(body, inflated)
	}
	if err != nil {
		return nil, false, fmt.Errorf("read frame: %w", err)
	}
	return bytes.TrimRight(payload, "\x00"), compressed, nil
}

func lengths(b []byte) (sent, inflated uint64) {
	if len(b) == 8 {
		return uint64(binary.LittleEndian.Uint32(b)), uint64(binary.LittleEndian.Uint32(b[4:]))
	}
	return binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
}

// inflate decompresses a stream that must come to the given length exactly, and
// reads it to its end.
func inflate(r io.Reader, length uint64) ([]byte, error) {
	z, err := zlib.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	defer z.Close()
	payload, err := readExactly(z, length)
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	if n, err := z.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		return nil, fmt.Errorf("decompress: more than the %d bytes that were announced, or spoilt: %v", length, err)
	}
	return payload, nil
}

// readExactly reads so many bytes, in steps that do not run far ahead of what
// has really come.
func readExactly(r io.Reader, length uint64) ([]byte, error) {
	var b bytes.Buffer
	n, err := io.Copy(&b, io.LimitReader(r, int64(length)))
	if err == nil && uint64(n) < length {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, fmt.Errorf("%d of %d bytes: %w", n, length, err)
	}
	return b.Bytes(), nil
}

// depthMost is how deep JSON may be nested: what Zabbix 7.0 takes.
const depthMost = 64

var errDepth = errors.New("JSON is nested deeper than 64")

// checkDepth refuses JSON whose decoding would need more stack or memory than
// its length lets one expect.
func checkDepth(b []byte) error {
	depth, quoted := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > depthMost {
				return errDepth
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}
