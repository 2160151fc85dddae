package mtr

import (
	"bytes"
	"io"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/natrix-os/natrix/agent/packet"
)

// Whatever comes in, each line gets one reply that mtr can read, and it does
// not matter in which pieces it comes.
func FuzzSession(f *testing.F) {
	f.Add([]byte("1 send-probe ip-4 127.0.0.1\n"))
	f.Add([]byte("-5 check-support feature version\r\n\n 7 x\n\x00\n"))
	f.Add([]byte(strings.Repeat("x", 4095) + "1 send-probe ip-6 ::1 protocol udp size 9040\n"))
	for _, list := range [][]statement{syntax(), features(), arguments(), outcomes()} {
		for _, s := range list {
			f.Add([]byte(s.in + "\n"))
		}
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		whole := talk(t, bytes.NewReader(in))
		if pieces := talk(t, iotest.OneByteReader(bytes.NewReader(in))); normal(pieces) != normal(whole) {
			t.Errorf("byte by byte got %q, want %q", pieces, whole)
		}
		if got, want := strings.Count(whole, "\n"), countLines(in); got != want {
			t.Errorf("%d lines were answered by %d: %q", want, got, whole)
		}
		for _, line := range strings.SplitAfter(whole, "\n") {
			checkReply(t, line)
		}
	})
}

func talk(t *testing.T, in io.Reader) string {
	var out bytes.Buffer
	if err := serve(t.Context(), Config{RawSCTP: true}, newEngine(echo), in, &out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// countLines counts as mtr-packet with its buffer of 4096 bytes does.
func countLines(in []byte) int {
	n := 0
	for buffered := 0; len(in) > 0; in = in[1:] {
		buffered++
		if in[0] == '\n' || buffered == 4095 {
			n, buffered = n+1, 0
		}
	}
	return n
}

func checkReply(t *testing.T, line string) {
	if line == "" {
		return
	}
	fields := strings.Split(strings.TrimSuffix(line, "\n"), " ")
	if _, err := strconv.ParseInt(fields[0], 10, 32); err != nil || len(fields) < 2 || len(fields)%2 != 0 || !strings.HasSuffix(line, "\n") {
		t.Errorf("not a reply: %q", line)
	}
}

// Taking a line apart agrees with the obvious way to do it.
func FuzzParse(f *testing.F) {
	for _, s := range syntax() {
		f.Add([]byte(s.in))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var c command
		ok := c.parse(line)
		words := strings.FieldsFunc(string(line), func(r rune) bool { return r < 0x80 && isSpace(byte(r)) })
		fits := len(words) >= 2 && len(words)%2 == 0 && len(words) <= 34 && !bytes.Contains(line, []byte{0})
		if ok && !fits || fits && !ok && len(words[0]) < 19 {
			t.Fatalf("%q: got %v, want %v", line, ok, fits)
		}
		if !ok {
			return
		}
		got := []string{string(c.name)}
		for _, p := range c.pairs[:c.n] {
			got = append(got, string(p.name), string(p.value))
		}
		if strings.Join(got, " ") != strings.Join(words[1:], " ") {
			t.Errorf("%q: got %q, want %q", line, got, words[1:])
		}
		if n, err := strconv.ParseInt(words[0], 10, 64); err == nil && c.token != int32(n) {
			t.Errorf("%q: got token %d, want %d", line, c.token, int32(n))
		}
	})
}

// FuzzProbe sees what becomes a packet: never anything that the engine would
// take for "the engine's choice" or refuse.
func FuzzProbe(f *testing.F) {
	for _, s := range arguments() {
		f.Add([]byte(s.in))
	}
	d := newDialect(Config{RawSCTP: true})
	f.Fuzz(func(t *testing.T, line []byte) {
		var c command
		var p probe
		if !c.parse(line) || bytes.Contains(line, []byte("local-device")) || p.read(&c, &d) != "" {
			return
		}
		r := p.request
		stream := r.Protocol == packet.TCP || r.Protocol == packet.SCTP
		if !r.Dst.IsValid() || r.Dst.Zone() != "" || r.Src.IsValid() && r.Src.Is4() != r.Dst.Is4() ||
			r.TTL < 1 || r.TTL > 255 || r.TOS < 0 || r.TOS > 255 || r.Timeout < leastTimeout ||
			!stream && (r.Size < 1 || r.Size > maxSize6) {
			t.Errorf("%q: got %+v", line, r)
		}
	})
}
