// Package logs takes log records to where they are kept: to rotated files as
// the original client wrote them, and to a syslog collector. Neither ever makes
// the program wait: what a disk or a network does not take in time is counted
// and left out.
package logs

import (
	"bytes"
	"context"
	"log/slog"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
)

// handler hands each record on in two parts: itself, and its attributes as
// text, each with a blank before it.
type handler struct {
	level slog.Leveler
	emit  func(r slog.Record, attrs string)
	attrs slog.Handler // writes to buf
	mu    *sync.Mutex
	buf   *bytes.Buffer
}

func newHandler(level slog.Leveler, emit func(slog.Record, string)) slog.Handler {
	h := &handler{level: level, emit: emit, mu: new(sync.Mutex), buf: new(bytes.Buffer)}
	h.attrs = slog.NewTextHandler(h.buf, &slog.HandlerOptions{Level: level, ReplaceAttr: dropHead})
	return h
}

// dropHead leaves out what a line has in another form.
func dropHead(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
		return slog.Attr{}
	}
	return a
}

func (h *handler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.buf.Reset()
	if err := h.attrs.Handle(ctx, r); err != nil {
		return err
	}
	attrs := strings.TrimSpace(h.buf.String())
	if attrs != "" {
		attrs = " " + attrs
	}
	h.emit(r, attrs)
	return nil
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	with.attrs = h.attrs.WithAttrs(attrs)
	return &with
}

func (h *handler) WithGroup(name string) slog.Handler {
	with := *h
	with.attrs = h.attrs.WithGroup(name)
	return &with
}

// oneLine keeps a message from looking like several.
func oneLine(message string) string {
	if strings.ContainsFunc(message, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return strconv.Quote(message)
	}
	return message
}

// source is where a record was logged, as the original had it.
func source(r slog.Record) string {
	frame, _ := runtime.CallersFrames([]uintptr{r.PC}).Next()
	if frame.File == "" {
		return "-[line:0]"
	}
	return filepath.Base(frame.File) + "[line:" + strconv.Itoa(frame.Line) + "]"
}

// levelName is a level as the original wrote it.
func levelName(l slog.Level) string {
	switch {
	case l >= slog.LevelError:
		return "ERROR"
	case l >= slog.LevelWarn:
		return "WARNING"
	case l >= slog.LevelInfo:
		return "INFO"
	}
	return "DEBUG"
}
