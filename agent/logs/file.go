package logs

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// The names of the files, as the original's documentation has them.
const (
	Console = "console.log"  // what was run on the command line
	Worker  = "rabbitmq.log" // of the agent
)

// The original's rotation.
const (
	fileSize  = 10 << 20 // bytes, at which a file is rotated
	fileCount = 10       // files that are kept besides: name.1, the newest, to name.10
)

// File is a rotated log file. Any number of processes may write to it.
type File struct {
	queue *queue
	path  string
	size  int64 // at which it is rotated
	file  *os.File
}

// Open opens the file, and its directory if that alone is missing. Close it.
func Open(path string) (*File, error) {
	if err := os.Mkdir(filepath.Dir(path), 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make the directory of the log: %w", err)
	}
	f := &File{queue: newQueue(), path: path, size: fileSize}
	if err := f.open(); err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	go f.run()
	return f, nil
}

// Handler writes records in the original's form:
//
//	2026/11/21 07:30:12 worker.go[line:205] INFO done cmd=ping dst=www.example.com
func (f *File) Handler(level slog.Leveler) slog.Handler {
	return newHandler(level, func(r slog.Record, attrs string) {
		f.queue.put(r.Time.Format("2006/01/02 15:04:05 ") + source(r) + " " + levelName(r.Level) + " " + oneLine(r.Message) + attrs + "\n")
	})
}

// Close writes what waits, for a second at most.
func (f *File) Close() error {
	if !f.queue.close(time.Second) {
		return fmt.Errorf("%s: not all of the log could be written", f.path)
	}
	return nil
}

// run writes until the queue is closed. A disk that is full today may not be
// tomorrow, so that no error ends it.
func (f *File) run() {
	defer close(f.queue.done)
	for {
		line, ok := f.queue.next()
		if !ok {
			f.file.Close()
			return
		}
		if n := f.queue.lost.Swap(0); n > 0 {
			line = fmt.Sprintf("(%d lines lost)\n", n) + line
		}
		if err := f.write(line); err != nil {
			f.queue.lost.Add(1)
		}
	}
}

func (f *File) write(line string) error {
	if err := f.follow(); err != nil {
		return err
	}
	info, err := f.file.Stat()
	if err != nil {
		return err
	}
	if info.Size() > 0 && info.Size()+int64(len(line)) > f.size {
		if err := f.rotate(); err != nil {
			return err
		}
	}
	_, err = f.file.WriteString(line)
	return err
}

func (f *File) open() (err error) {
	f.file, err = os.OpenFile(f.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	return err
}

// follow opens the file anew if another process has rotated it, or somebody
// removed it.
func (f *File) follow() error {
	if f.current() {
		return nil
	}
	f.file.Close()
	return f.open()
}

// current reports whether the open file is still the one of that name.
func (f *File) current() bool {
	now, err := os.Stat(f.path)
	if err != nil {
		return false
	}
	mine, err := f.file.Stat()
	return err == nil && os.SameFile(now, mine)
}

// rotate renames the files, unless another process does so meanwhile, and
// begins a new one.
func (f *File) rotate() error {
	if err := unix.Flock(int(f.file.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	if f.current() { // and nobody else renames it as long as this one is locked
		for i := fileCount; i > 1; i-- {
			if err := os.Rename(numbered(f.path, i-1), numbered(f.path, i)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		if err := os.Rename(f.path, numbered(f.path, 1)); err != nil {
			return err
		}
	}
	f.file.Close() // and gives the lock up
	return f.open()
}

func numbered(path string, i int) string { return fmt.Sprintf("%s.%d", path, i) }
