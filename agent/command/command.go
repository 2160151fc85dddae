// Package command is the language of the core: a Command asks for one
// measurement, a Result is its outcome, and a Set is what this terminal can do.
// Doors translate bytes to a Command and a Result to bytes; probes supply the
// methods behind the set. The wire document of the Natrix server lives here
// too, because it is the shape in which results are kept and printed.
package command

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// answerWithin is how long after its generation a command may still be
// answered: the server gives a command up 300 s after generate_timestamp, and
// the answer needs time to travel.
const answerWithin = 290 * time.Second

// queuedMost is how long the server's queue holds a command before the server
// books it as never taken. plausible is the age up to which the server's clock
// and this one are believed: a stored example says anything.
const (
	queuedMost = 120 * time.Second
	plausible  = 24 * time.Hour
)

// Command is one request, from whichever door.
type Command struct {
	Name        string            // lower case: "ping", "traceroute", "dns", "http", ...
	Destination string            // as typed: a name, an address, host:port or a URL
	Params      map[string]string // values by wire name, as text; what is absent has its default
	Link        string            // link whose queue the command came in on; "" if none
	Echo        *Echo             // what the server wants back; nil for commands that no server sent
	Received    time.Time         // when it reached this terminal
}

// Echo holds what a server sent to recognise its command by, as the raw JSON
// in which it came: the server compares it byte for byte.
type Echo struct {
	UUID      json.RawMessage
	Terminal  json.RawMessage
	Generated json.RawMessage // generate_timestamp: seconds since the epoch, a number or a string
}

// Key identifies one run of a command: the server re-uses a uuid, so the
// terminal and the time of generation belong to it, and what is asked does too,
// because scripts re-use all three. It is "" for a command that no server sent.
func (c Command) Key() string {
	if c.Echo == nil {
		return ""
	}
	asked := sha256.Sum256(fmt.Appendf(nil, "%q %q %q", c.Name, c.Destination, c.Params)) // maps print in the order of their keys
	return fmt.Sprintf("%s %s %s %x", c.Echo.UUID, c.Echo.Terminal, c.Echo.Generated, asked[:8])
}

// Target is the destination as it may be logged: without a password, also where
// it is no URL that could be understood.
func (c Command) Target() string {
	u, err := url.Parse(c.Destination)
	if err == nil && u.User != nil {
		return u.Redacted()
	}
	scheme, rest, found := strings.Cut(c.Destination, "://")
	if found {
		scheme += "://"
	} else {
		scheme, rest = "", c.Destination
	}
	at := strings.LastIndex(rest, "@")
	if at < 0 || found && err == nil { // an @ elsewhere in a URL
		return c.Destination
	}
	return scheme + "xxxxx" + rest[at:]
}

// Deadline is the time by which the command has to be answered: counted from
// its generation when that lies within the last minutes, else (a wrong clock,
// a stored example) from when it was received.
func (c Command) Deadline() time.Time {
	if c.Echo != nil {
		generated, ok := epoch(c.Echo.Generated)
		age := c.Received.Sub(generated)
		if ok && age > 0 && age < answerWithin {
			return c.Received.Add(answerWithin - age)
		}
	}
	return c.Received.Add(answerWithin)
}

// Expired reports whether the server has given the command up, as far as a time
// of generation can tell: it also makes a command of today out of a server whose
// clock is slow, and is no reason to refuse one that was not delivered before.
func (c Command) Expired() bool {
	if c.Echo == nil {
		return false
	}
	generated, ok := epoch(c.Echo.Generated)
	age := c.Received.Sub(generated)
	return ok && age > queuedMost && age < plausible
}

// epoch reads seconds since 1970 written as a JSON number or numeric string.
func epoch(raw json.RawMessage) (time.Time, bool) {
	seconds, err := strconv.ParseFloat(strings.Trim(string(raw), `"`), 64)
	if err != nil || math.Abs(seconds) > 1e11 || math.IsNaN(seconds) {
		return time.Time{}, false
	}
	return time.UnixMicro(int64(seconds * 1e6)), true
}
