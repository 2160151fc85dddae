package logs

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

func open(t *testing.T, path string, size int64) *File {
	t.Helper()
	f := &File{queue: newQueue(), path: path, size: size}
	if err := f.open(); err != nil {
		t.Fatal(err)
	}
	go f.run()
	t.Cleanup(func() { f.Close() })
	return f
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestLineIsTheOriginals(t *testing.T) {
	path := filepath.Join(t.TempDir(), "natrix", Worker)
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(f.Handler(slog.LevelInfo)).With("door", "amqp")
	log.Debug("not at this level")
	log.Info("done", "cmd", "ping", "took", 1500*time.Microsecond, "err", errors.New("no route"))
	log.Warn("two\nlines", "dst", "a b")
	log.WithGroup("g").Error("grouped", "level", 1)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	got := regexp.MustCompile(`(?m)^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d file_test.go\[line:\d+\] `).ReplaceAllString(read(t, path), "HEAD ")
	want := `HEAD INFO done door=amqp cmd=ping took=1.5ms err="no route"
HEAD WARNING "two\nlines" door=amqp dst="a b"
HEAD ERROR grouped door=amqp g.level=1
`
	if got != want {
		t.Errorf(" got %s\nwant %s", got, want)
	}
}

func TestRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "console.log")
	f := open(t, path, 100)
	for i := range 30 {
		f.queue.put(fmt.Sprintf("%049d\n", i)) // two to a file
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) != 1+fileCount {
		t.Errorf("got %q, %v, want the file and %d more", files, err, fileCount)
	}
	for name, want := range map[string]string{path: "29", path + ".1": "27", path + ".10": "09"} {
		if got := strings.TrimSpace(read(t, name)); !strings.HasSuffix(got, want) || len(got) != 99 {
			t.Errorf("%s: got %q, want it to end with %s", name, got, want)
		}
	}
}

func TestRotationByManyProcesses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "console.log")
	var running sync.WaitGroup
	for i := range 4 {
		f := open(t, path, 1000) // an open file of its own, as in a process of its own
		running.Go(func() {
			for j := range 25 {
				f.queue.put(fmt.Sprintf("%d %046d\n", i, j))
			}
			f.Close()
		})
	}
	running.Wait()
	files, err := filepath.Glob(path + "*")
	if err != nil {
		t.Fatal(err)
	}
	lines := make(map[string]bool)
	for _, name := range files {
		for line := range strings.Lines(read(t, name)) {
			lines[line] = true
		}
	}
	if len(lines) != 100 {
		t.Errorf("%d of 100 lines are in %q", len(lines), files)
	}
}

func TestRemovedFileComesBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "console.log")
	f := open(t, path, 1000)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	f.queue.put("after\n")
	f.Close()
	if got := read(t, path); got != "after\n" {
		t.Errorf("got %q", got)
	}
}

func TestFullQueueDoesNotWait(t *testing.T) {
	q := newQueue()
	for range queued + 5 {
		q.put("x") // nobody reads
	}
	if got := q.lost.Load(); got != 5 {
		t.Errorf("%d lines lost, want 5", got)
	}
}

func TestOpenFails(t *testing.T) {
	if _, err := Open(filepath.Join(t.TempDir(), "not", "there", "console.log")); err == nil {
		t.Error("a directory was made in one that is not there")
	}
}
