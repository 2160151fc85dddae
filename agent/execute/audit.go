package execute

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"
)

const auditMost = 4 << 20 // bytes of the file before it is put aside, once

// audit writes a line before a command and one after it.
type audit struct {
	file string
	mu   sync.Mutex
}

// entry is a line of the audit.
type entry struct {
	Time     time.Time `json:"time"`
	Event    string    `json:"event"` // asked or ended
	ID       string    `json:"id"`
	Session  string    `json:"session,omitempty"`
	Server   string    `json:"server,omitempty"`
	Method   string    `json:"method"`
	User     string    `json:"user,omitempty"`
	UID      *uint32   `json:"uid,omitempty"`
	GID      *uint32   `json:"gid,omitempty"`
	Policy   string    `json:"policy"`
	Decision string    `json:"decision,omitempty"`
	Command  string    `json:"command"`
	SHA256   string    `json:"sha256"`
	Exit     *int      `json:"exit,omitempty"`
	Code     int       `json:"retcode,omitempty"`
	Bytes    int64     `json:"bytes,omitempty"`
	MS       int64     `json:"ms,omitempty"`
}

// secret finds what a command line should not show.
var secret = regexp.MustCompile(`(?i)((?:pass(?:word|wd|phrase)?|secret|token|api[-_]?key|authorization|credential)["']?(?:\s*[=:]\s*|\s+)(?:bearer\s+|basic\s+)?)("[^"]*"|'[^']*'|[^\s"';&|]+)|(://[^\s/:@]*:)([^\s/@]+)(@)`)

// mask is a command without its secrets.
func mask(command string) string {
	return secret.ReplaceAllString(command, "${1}${3}***${5}")
}

func describe(r Request, id identity, level string, decision error) entry {
	sum := sha256.Sum256([]byte(r.Text))
	e := entry{
		ID: r.ID, Session: r.Session, Server: r.Server, Method: r.Method, Policy: level,
		Command: mask(r.Text), SHA256: hex.EncodeToString(sum[:]), Decision: "allowed",
	}
	if decision != nil {
		e.Decision = decision.Error()
	} else {
		e.User, e.UID, e.GID = id.name, &id.uid, &id.gid
	}
	return e
}

// write appends a line and has it on the disk. Nothing may run that cannot be
// written down.
func (a *audit) write(event string, e entry) error {
	e.Event, e.Time = event, time.Now().UTC()
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if info, err := os.Stat(a.file); err == nil && info.Size() > auditMost {
		if err := os.Rename(a.file, a.file+".1"); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Dir(a.file), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(a.file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	return nil
}
