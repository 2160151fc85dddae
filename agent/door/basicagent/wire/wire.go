// Package wire is how a BasicAgent terminal and its gateway talk: one JSON
// object a line over TLS 1.3, in the protocol version BA/1.
package wire

import (
	"encoding/base64"
	"encoding/json"
	"time"
	"unicode/utf8"
)

// What both sides hold to.
const (
	Proto      = 1
	ALPN       = "basicagent/1"
	Port       = 5443      // unless configured
	ToAgent    = 256 << 10 // bytes of a line to the terminal
	FromAgent  = 1 << 20   // bytes of a line from it
	Depth      = 16        // of nested values
	OutputKept = 64 << 10  // bytes of a command's output that an answer holds
)

// Timing are the waits of a connection.
type Timing struct {
	Line    time.Duration // to finish a line that was begun; default 30s
	Quiet   time.Duration // of silence before a ping; default 30s
	Silence time.Duration // without input that closes; default 90s
	Init    time.Duration // for the answer to init, and for a TLS handshake; default 10s
	Write   time.Duration // for the peer to take a line; default 60s
}

// DefaultTiming is what BA/1 says.
func DefaultTiming() Timing {
	return Timing{Line: 30 * time.Second, Quiet: 30 * time.Second, Silence: 90 * time.Second, Init: 10 * time.Second, Write: 60 * time.Second}
}

// Init is the first line of a terminal.
type Init struct {
	Method   string   `json:"method"`
	Hostname string   `json:"hostname"` // the terminal's id, a UUID
	Proto    int      `json:"proto,omitempty"`
	Agent    string   `json:"agent,omitempty"`
	OS       string   `json:"os,omitempty"`
	Arch     string   `json:"arch,omitempty"`
	BootID   string   `json:"boot_id,omitempty"`
	Features []string `json:"features,omitempty"`
}

// Greeting is the answer to Init: accept, redirect, or a failure.
type Greeting struct {
	Method     string `json:"method,omitempty"`
	Server     string `json:"server,omitempty"` // of a redirect: addresses, separated by commas
	Proto      int    `json:"proto,omitempty"`
	Session    string `json:"session,omitempty"`
	Time       int64  `json:"time,omitempty"` // s since 1970
	Resp       string `json:"resp,omitempty"`
	Retcode    int    `json:"retcode,omitempty"`
	Message    string `json:"message,omitempty"`
	RetryAfter int    `json:"retry_after,omitempty"` // s
}

// Answer is what comes back for a request.
type Answer struct {
	Host      string `json:"host,omitempty"` // of a gateway's answer
	ID        string `json:"id,omitempty"`
	Resp      string `json:"resp"` // success or failed
	Retcode   int    `json:"retcode"`
	Message   string `json:"message"`
	Detail    string `json:"detail,omitempty"` // what exactly is wrong, for people
	Duplicate bool   `json:"duplicate,omitempty"`

	Data           any    `json:"data,omitempty"`
	Encoding       string `json:"encoding,omitempty"` // base64 where data is not UTF-8
	Stderr         string `json:"stderr,omitempty"`
	StderrEncoding string `json:"stderr_encoding,omitempty"`
	ExitCode       *int   `json:"exit_code,omitempty"`
	Signal         int    `json:"signal,omitempty"`
	Truncated      bool   `json:"truncated,omitempty"`
	Bytes          *int64 `json:"bytes,omitempty"` // of output there was
	Duration       *int64 `json:"duration_ms,omitempty"`

	Task  string `json:"task,omitempty"`
	State string `json:"state,omitempty"`
}

// Success is an answer with data.
func Success(data any) Answer {
	return Answer{Resp: "success", Message: "Normal termination", Data: data}
}

// Failed is the answer that an error is.
func Failed(err error) Answer {
	f := AsFailure(err)
	return Answer{Resp: "failed", Retcode: int(f.Code), Message: f.Code.String(), Detail: f.Detail}
}

// Text is bytes as a JSON string can hold them, and the encoding: "" for UTF-8.
func Text(b []byte) (text, encoding string) {
	if utf8.Valid(b) {
		return string(b), ""
	}
	return base64.StdEncoding.EncodeToString(b), "base64"
}

// Encode writes a message without a newline. An answer that is longer than most
// bytes, or cannot be written, becomes a failed one.
func (a Answer) Encode(most int) []byte {
	body, err := json.Marshal(a)
	if err == nil && len(body) < most {
		return body
	}
	fail := Failed(Fail(TooLarge, "the answer"))
	if err != nil {
		fail = Failed(Fail(CollectorFailed, "%v", err))
	}
	fail.ID, fail.Host = a.ID, a.Host
	body, _ = json.Marshal(fail) // cannot fail: strings and numbers
	return body
}
