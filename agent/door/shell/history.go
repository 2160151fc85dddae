package shell

import (
	"os"
	"strings"

	"github.com/google/renameio/v2"
)

const maxHistory = 500

// history remembers lines, except empty ones and repetitions. With a file it
// does so over a reboot; a file that cannot be written is done without.
type history struct {
	file  string   // "" for none
	lines []string // the newest last
}

// openHistory reads the file, and shortens it if it has grown long.
func openHistory(file string) *history {
	h := &history{file: file}
	if file == "" {
		return h
	}
	body, _ := os.ReadFile(file)
	h.lines = strings.FieldsFunc(string(body), func(r rune) bool { return r == '\n' })
	if extra := len(h.lines) - maxHistory; extra > 0 {
		h.lines = h.lines[extra:]
		renameio.WriteFile(file, []byte(strings.Join(h.lines, "\n")+"\n"), 0o600)
	}
	return h
}

func (h *history) Add(line string) {
	if line == "" || len(h.lines) > 0 && h.lines[len(h.lines)-1] == line {
		return
	}
	h.lines = append(h.lines, line)
	if len(h.lines) > maxHistory {
		h.lines = h.lines[1:]
	}
	if h.file != "" && !secret(line) {
		h.keep(line)
	}
}

func (h *history) keep(line string) {
	f, err := os.OpenFile(h.file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	defer f.Close()
	f.WriteString(line + "\n")
}

// secret reports whether there is a password in the line, as in a URL: it stays
// out of files.
func secret(line string) bool {
	return strings.Contains(line, "://") && strings.Contains(line, "@") || strings.Contains(line, "password")
}

func (h *history) Len() int { return len(h.lines) }

// At counts from the newest.
func (h *history) At(i int) string { return h.lines[len(h.lines)-1-i] }
