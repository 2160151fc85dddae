// Package execute runs commands that a server sends, as far as the terminal's
// own configuration lets it. A process of its own does, the executor, which is
// started before the agent gives up its privileges, holds the policy, and
// writes down what it runs. With the policy off there is no such process, and
// none is ever started.
package execute

import (
	"time"
)

// The steps of the policy ladder.
const (
	Off   = "off"   // nothing runs
	List  = "list"  // templates of the configuration, without a shell
	Shell = "shell" // a shell that can start listed commands only
	Full  = "full"  // anything
)

// The names under which this binary is one of the processes here.
const (
	executorName = "natrix-executor"
	shellName    = "natrix-command"
)

// DefaultUser runs what names no user, except under Full, where root does.
const DefaultUser = "natrix-cmd"

// Policy is what may run. It comes from the configuration alone.
type Policy struct {
	Level     string
	Commands  []string          // names that Shell may start
	Templates map[string]string // of List: argv with {name:type} parameters
	AllowRoot bool              // whether anything may run as uid 0
	Audit     string            // file that says what was run
}

// Request is one command.
type Request struct {
	ID      string // of the request; for the audit
	Session string // likewise
	Server  string // SHA-256 of the server's certificate
	Method  string
	Text    string // of the shell; under List a template and name=value words
	User    string // "" for the default
	Group   string // "" for the user's own
	Timeout time.Duration
	Split   bool // stderr apart
	Keep    int  // bytes of output that are kept
}

// Result is how a command ended.
type Result struct {
	Exit      int // status; 128+n after signal n
	Signal    int
	Code      int    // of a failure; 0 for none (package wire)
	Detail    string // of a failure
	Output    []byte
	Stderr    []byte
	Truncated bool
	Bytes     int64 // of output there was
	Took      time.Duration
}
