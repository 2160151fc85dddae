package rtstat

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// protocolVersion is the version of Rt-Stat whose protocol this is.
const protocolVersion = "0.3.1"

// greeting has one argument: a second one that mentions "ping" would have
// clients of 0.4 wait for pings of the application's own.
const greeting = "Rt-Stat v." + protocolVersion

// The answers to what went wrong, with the slips that clients match on.
var (
	errUnknownCommand  = errors.New("Unknown command")
	errUnknownMessage  = errors.New("Unknown message")
	errNotAuthorized   = errors.New("Not authorized")
	errAuthFailed      = errors.New("Auth failed")
	errNoToken         = errors.New("Auth command has 1 required parameter: string token (not set)")
	errNoInterval      = errors.New("Interval command has 1 required parameter: int interval (not set)")
	errBadInterval     = errors.New("Interval command has 1 required parameter: int interval (not positive float)")
	errShortInterval   = errors.New("Interval command has must be equal or greater than 0.5")
	errAlreadyStarted  = errors.New("Already started")
	errIntervalNotSet  = errors.New("Interval is not set")
	errNotStarted      = errors.New("Not started")
	errNotGranted      = errors.New("Run command is not granted on this terminal")
	errTooManyRuns     = errors.New("Run command has too many others under way")
	errBadRun          = errors.New("Run command has 1 required parameter: a JSON object with id, command and destination")
	errNothingToCancel = errors.New("Cancel command has 1 required parameter: the id of a run under way")
)

const (
	leastInterval = 500 * time.Millisecond
	mostInterval  = 24 * time.Hour
)

// edges is what PHP's trim takes off both ends of a message.
const edges = " \t\r\n\x00\x0b"

// request is one message of a client.
type request struct {
	name string // in lower case, because case does not count
	args []string
}

// parse reads a message. The command ends at the first "::"; what follows is
// arguments, none of them if nothing follows.
func parse(message string) request {
	name, rest, _ := strings.Cut(strings.Trim(message, edges), "::")
	r := request{name: strings.ToLower(name)}
	if rest != "" {
		r.args = arguments(rest)
	}
	return r
}

// arguments splits at "::" and takes the escapes away: "\n" is a line feed, "\"
// before anything else that character. A "\" at the end is dropped.
func arguments(s string) []string {
	var all []string
	var one strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case strings.HasPrefix(s[i:], "::"):
			all = append(all, one.String())
			one.Reset()
			i++
		case s[i] != '\\':
			one.WriteByte(s[i])
		case i+1 < len(s):
			i++
			one.WriteByte(unescaped(s[i]))
		}
	}
	return append(all, one.String())
}

func unescaped(c byte) byte {
	if c == 'n' {
		return '\n'
	}
	return c
}

// argument is the first one, if there is any.
func (r request) argument() (string, bool) {
	if len(r.args) == 0 {
		return "", false
	}
	return r.args[0], true
}

// line writes a message of the server with one argument, which is not JSON.
func line(name, argument string) []byte {
	escape := strings.NewReplacer(`\`, `\\`, "\n", `\n`, "::", `\::`)
	return []byte(name + "::" + escape.Replace(argument) + "\n")
}

// document writes a message of the server with JSON as its argument.
func document(name string, v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return enclose(name+"::", escapeJSON(body), "\n"), nil
}

func enclose(before string, body []byte, after string) []byte {
	return append(append(append(make([]byte, 0, len(before)+len(body)+len(after)), before...), body...), after...)
}

// escapeJSON makes a document an argument that every client there is reads
// right: the original page cuts at "::" even where it is escaped, so there must
// be none.
func escapeJSON(body []byte) []byte {
	body = bytes.ReplaceAll(body, []byte("::"), []byte(`:\u003a`)) // within strings alone, JSON has it nowhere else
	body = bytes.ReplaceAll(body, []byte(`\`), []byte(`\\`))
	return bytes.ReplaceAll(body, []byte("\n"), []byte(`\n`))
}

// decimal is a number as PHP takes it for one.
var decimal = regexp.MustCompile(`^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$`)

// parseInterval reads seconds.
func parseInterval(s string) (time.Duration, error) {
	s = strings.Trim(s, edges)
	if !decimal.MatchString(s) {
		return 0, errBadInterval
	}
	seconds, _ := strconv.ParseFloat(s, 64) // out of range is infinite
	switch {
	case seconds == 0 || seconds > mostInterval.Seconds():
		return 0, errBadInterval
	case seconds < leastInterval.Seconds():
		return 0, errShortInterval
	}
	return time.Duration(math.Round(seconds * float64(time.Second))), nil
}
