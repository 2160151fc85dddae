package probe

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"io"
	"mime"
	"net/http"
	"regexp"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/htmlindex"
)

const (
	maxBody = 64 << 20  // bytes read of one body: a test is not a download
	maxKept = 256 << 10 // bytes of a body that are kept in the result
)

// Body is what was kept of a response's body. The zero Body is nothing.
type Body struct {
	Bytes     []byte // as they came, at most 256 KiB
	CutOff    bool   // there was more
	MediaType string // field Content-Type; "" without
	Coding    string // field Content-Encoding; "" without
}

// readBody reads a response to its end or limit, and keeps the beginning if it is to.
func readBody(response *http.Response, keep bool) (Body, int64, error) {
	if !keep {
		n, err := io.Copy(new(limited), io.LimitReader(response.Body, maxBody))
		return Body{}, n, err
	}
	kept := &limited{room: maxKept}
	n, err := io.Copy(kept, io.LimitReader(response.Body, maxBody))
	return Body{
		Bytes: kept.buf.Bytes(), CutOff: n > maxKept,
		MediaType: response.Header.Get("Content-Type"), Coding: strings.ToLower(response.Header.Get("Content-Encoding")),
	}, n, err
}

// limited keeps what fits and takes everything. The buffer is a field with a
// name: its ReadFrom would have io.Copy go round Write.
type limited struct {
	buf  bytes.Buffer
	room int // bytes that still fit
}

func (l *limited) Write(b []byte) (int, error) {
	n, err := l.buf.Write(b[:min(len(b), l.room)])
	l.room -= n
	return len(b), err
}

// Text is the body as text, and the name of the character set in which it was
// written (WHATWG Encoding).
func (b Body) Text() (text, set string) {
	if len(b.Bytes) == 0 {
		return "", ""
	}
	plain := b.expanded()
	if b.CutOff || len(plain) == maxKept {
		plain = whole(plain)
	}
	set = b.charset(plain)
	if set == "utf-8" {
		text = strings.ToValidUTF8(string(plain), string(utf8.RuneError))
	} else if coding, err := htmlindex.Get(set); err == nil {
		decoded, _ := coding.NewDecoder().Bytes(plain) // what cannot be decoded becomes U+FFFD
		text = string(decoded)
	}
	return strings.TrimPrefix(text, "\ufeff"), set
}

// declared finds the character set that a document declares for itself, in HTML or XML.
var declared = regexp.MustCompile(`(?i)<(?:meta\s[^>]*charset|\?xml\s[^>]*encoding)\s*=\s*["']?\s*([\w.:-]+)`)

// byteOrder is what a text can begin with to say how it is written.
var byteOrder = [][2]string{{"\xef\xbb\xbf", "utf-8"}, {"\xfe\xff", "utf-16be"}, {"\xff\xfe", "utf-16le"}}

// charset is how a text is written: as its first bytes say, or the response, or
// the document; and else UTF-8 if it can be that.
func (b Body) charset(plain []byte) string {
	for _, o := range byteOrder {
		if bytes.HasPrefix(plain, []byte(o[0])) {
			return o[1]
		}
	}
	_, params, _ := mime.ParseMediaType(b.MediaType)
	said := []string{params["charset"]}
	if found := declared.FindSubmatch(plain[:min(len(plain), 1024)]); found != nil {
		said = append(said, string(found[1]))
	}
	for _, label := range said {
		if coding, err := htmlindex.Get(label); err == nil {
			name, _ := htmlindex.Name(coding)
			return name
		}
	}
	if utf8.Valid(plain) {
		return "utf-8"
	}
	return "windows-1252"
}

// whole is a text without the character that the limit cut in two.
func whole(b []byte) []byte {
	for n := 1; n < utf8.UTFMax && n <= len(b); n++ {
		if utf8.RuneStart(b[len(b)-n]) {
			if !utf8.FullRune(b[len(b)-n:]) {
				return b[:len(b)-n]
			}
			break
		}
	}
	return b
}

// expanded is the body without its content coding, if that is one of those that
// HTTP began with (RFC 9110, section 8.4.1), and as far as it was kept.
func (b Body) expanded() []byte {
	var r io.Reader
	var err error
	switch b.Coding {
	case "gzip", "x-gzip":
		r, err = gzip.NewReader(bytes.NewReader(b.Bytes))
	case "deflate":
		if r, err = zlib.NewReader(bytes.NewReader(b.Bytes)); err != nil {
			r, err = flate.NewReader(bytes.NewReader(b.Bytes)), nil // many servers forgot the frame
		}
	default:
		return b.Bytes
	}
	if err != nil {
		return b.Bytes
	}
	plain, _ := io.ReadAll(io.LimitReader(r, maxKept)) // what was cut off cannot be read to its end
	return plain
}
