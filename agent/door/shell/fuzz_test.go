package shell

import (
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/term"
)

// FuzzTyping types anything, as a serial line at the wrong speed does.
func FuzzTyping(f *testing.F) {
	f.Add([]byte("echo a\t\r\x04\x03"))
	f.Add([]byte("e\t\x1b[D\x1b[D\t\x1b[A\r"))
	f.Add([]byte("echo \"\xff\xc3\t\x04\x1b[D\x04"))
	f.Add([]byte("\x1b" + strings.Repeat("0", 300)))
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > maxAhead {
			return
		}
		k := newKeys()
		k.add(b)
		k.close()
		s := &session{Config: Config{Root: commands, TTY: null}, keys: k}
		s.screen = term.NewTerminal(struct {
			io.Reader
			io.Writer
		}{k, io.Discard}, prompt)
		s.screen.History = &history{}
		s.screen.AutoCompleteCallback = func(line string, pos int, key rune) (string, int, bool) {
			return s.key(t.Context(), line, pos, key)
		}
		for range len(b) + 2 {
			if _, err := s.screen.ReadLine(); err != nil {
				return
			}
		}
		t.Errorf("%q gave more lines than bytes", b)
	})
}
