package wire

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// FuzzParseRequest wants an error or a request that can be answered, of any
// line.
func FuzzParseRequest(f *testing.F) {
	for _, seed := range []string{
		`{"id":"x","method":"sync.bash","cmd":"ls","timeout":10}`, `{"id":"x","method":"sync.bash","arguments":{"cmd":"ls"}}`,
		`{"id":"x","method":"a","a":1,"a":2}`, `{"id":"\ud800"}`, `[[[[[[[[[[[[[[[[[[`, "\xef\xbb\xbf{}", `{"id":null}`, `{} {}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := ParseRequest(line)
		var failure *Failure
		if err != nil && !errors.As(err, &failure) {
			t.Errorf("%q: got %v, want a failure with a code", line, err)
		}
		if err == nil && (r.ID == "" || len(r.ID) > 127 || r.Method == "") {
			t.Errorf("%q: got %+v", line, r)
		}
		a := Success(nil)
		if err != nil {
			a = Failed(err)
		}
		a.ID = r.ID
		if body := a.Encode(FromAgent); !json.Valid(body) {
			t.Errorf("%q: got the answer %s", line, body)
		}
	})
}

// FuzzReadLine wants every line of a stream to be within its limit and without
// its end.
func FuzzReadLine(f *testing.F) {
	f.Add([]byte("{}\n\r\n\n{\"a\":1}\r\nrest"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		ours, theirs := net.Pipe()
		defer ours.Close()
		go func() {
			theirs.Write(stream) // ends with the reader at the latest
			theirs.Close()
		}()
		c := NewConn(ours, 64, DefaultTiming())
		for {
			line, err := c.ReadLine(10 * time.Second)
			if err != nil {
				if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrClosedPipe) && !errors.Is(err, ErrTooLong) { // a pipe takes no deadline once its other end is closed
					t.Errorf("got %v", err)
				}
				return
			}
			if len(line) == 0 || len(line) > 64 || line[len(line)-1] == '\n' {
				t.Errorf("got the line %q", line)
			}
		}
	})
}
