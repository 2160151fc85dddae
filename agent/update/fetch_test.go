package update

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// impatient has a download give up soon.
var impatient = patience{stall: 10 * time.Second, pause: time.Millisecond, most: 10 * time.Millisecond, giveUp: 100 * time.Millisecond}

func fetch(t *testing.T, url string) ([]byte, error) {
	t.Helper()
	r, err := Open(t.Context(), url, "")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	r.(*download).patience = impatient
	return io.ReadAll(r)
}

// TestDownloadGoesOn is served by a server that breaks every connection after
// some bytes, and answers some with 503.
func TestDownloadGoesOn(t *testing.T) {
	file := bytes.Repeat([]byte("0123456789abcdef"), 10_000)
	var requests atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := requests.Add(1)
		if n%3 == 0 {
			http.Error(w, "busy", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("ETag", `"1"`)
		http.ServeContent(&breaking{w, 30_000}, r, "", time.Time{}, bytes.NewReader(file))
	}))
	defer s.Close()
	got, err := fetch(t, s.URL)
	if err != nil || !bytes.Equal(got, file) {
		t.Errorf("%d bytes, %v, want the %d of the file", len(got), err, len(file))
	}
	if n := requests.Load(); n < 6 {
		t.Errorf("%d requests, want one for each piece", n)
	}
}

// breaking ends the connection after left bytes.
type breaking struct {
	http.ResponseWriter
	left int
}

func (b *breaking) Write(p []byte) (int, error) {
	n, err := b.ResponseWriter.Write(p[:min(len(p), b.left)])
	if b.left -= n; b.left == 0 {
		b.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, err
}

func TestDownloadThatCannotGoOn(t *testing.T) {
	file := bytes.Repeat([]byte("x"), 100_000)
	for _, test := range []struct {
		name, want string
		answer     func(w http.ResponseWriter, r *http.Request, n int)
	}{
		{"another file by now", "the file has changed", func(w http.ResponseWriter, r *http.Request, n int) {
			w.Header().Set("ETag", fmt.Sprintf(`"%d"`, n))
			http.ServeContent(&breaking{w, 30_000}, r, "", time.Time{}, bytes.NewReader(file))
		}},
		{"no such file", "404", func(w http.ResponseWriter, r *http.Request, n int) { http.NotFound(w, r) }},
		{"broken for good", "503", func(w http.ResponseWriter, r *http.Request, n int) { http.Error(w, "", 503) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := 0
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { n++; test.answer(w, r, n) }))
			defer s.Close()
			if _, err := fetch(t, s.URL); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, source := range []string{"ftp://192.0.2.1/x", "/none/such"} {
		if r, err := Open(t.Context(), source, ""); err == nil {
			r.Close()
			t.Errorf("%s is opened, want an error", source)
		}
	}
}
