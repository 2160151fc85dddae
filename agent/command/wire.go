package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Decode reads a command as the Natrix server sends it: a JSON object in
// UTF-8. When it fails but the body holds a uuid, the command that comes with
// the error carries it, so that the server can be told.
func Decode(body []byte) (Command, error) {
	c := Command{Received: time.Now()}
	if len(body) == 0 {
		return c, errors.New("empty body")
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(body, &keys); err != nil {
		return c, fmt.Errorf("not a JSON object: %w", err)
	}
	c.Echo = &Echo{UUID: present(keys["uuid"]), Terminal: present(keys["terminal"]), Generated: present(keys["generate_timestamp"])}
	if c.Echo.UUID == nil {
		c.Echo = nil
		return c, errors.New("no uuid")
	}
	if !utf8.Valid(body) {
		return c, fmt.Errorf("%w: not UTF-8", ErrParameter)
	}
	var err error
	if c.Name, err = text(keys, "protocol"); err != nil {
		return c, err
	}
	c.Name = strings.ToLower(c.Name)
	if c.Destination, err = text(keys, "destination"); err != nil {
		return c, err
	}
	c.Params, err = parameterText(present(keys["parameters"]))
	return c, err
}

// present is raw, or nil for an absent or null value and for one that could not
// be sent back.
func present(raw json.RawMessage) json.RawMessage {
	if string(raw) == "null" || !utf8.Valid(raw) {
		return nil
	}
	return raw
}

func text(keys map[string]json.RawMessage, key string) (string, error) {
	var s string
	if err := json.Unmarshal(keys[key], &s); err != nil {
		return "", fmt.Errorf("%w: %s is missing or not a string", ErrParameter, key)
	}
	return strings.TrimSpace(s), nil
}

// parameterText flattens the parameters to text: strings to their content,
// everything else to its JSON. Null and empty values count as absent.
func parameterText(raw json.RawMessage) (map[string]string, error) {
	params := make(map[string]string)
	if raw == nil {
		return params, nil
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(raw, &keys); err != nil {
		return nil, fmt.Errorf("%w: parameters is not an object", ErrParameter)
	}
	for key, value := range keys {
		s := string(present(value))
		if strings.HasPrefix(s, `"`) {
			json.Unmarshal(value, &s) // cannot fail: value is a JSON string
		}
		if s != "" {
			params[key] = s
		}
	}
	return params, nil
}

// reply is the response document: contract of the Natrix server, AMQP form.
// On the command line and in the API there is no command, and nothing to echo.
type reply struct {
	Command *replyCommand `json:"command,omitempty"`
	Status  int           `json:"status"`
	Data    any           `json:"data"`
	Stamp   stamp         `json:"stamp"`
	Clock   *clock        `json:"clock,omitempty"`
}

type replyCommand struct {
	UUID     json.RawMessage `json:"uuid"`
	Terminal json.RawMessage `json:"terminal"`
}

type failure struct {
	Code int    `json:"errorcode"`
	Info string `json:"errorinfo"`
}

// stamp holds times in seconds since the epoch, with microseconds.
type stamp struct {
	Generated json.RawMessage `json:"server_request_generate_time"`
	Received  json.RawMessage `json:"terminal_request_receive_time"`
	Sent      json.RawMessage `json:"terminal_request_send_time"`
	Answered  json.RawMessage `json:"terminal_response_receive_time"`
	Returned  json.RawMessage `json:"terminal_response_return_time"`
}

// clock is an addition of ours: a server ignores it.
type clock struct {
	Synchronised bool    `json:"synchronised"`
	Age          float64 `json:"age"`       // s, at most
	Offset       float64 `json:"offset"`    // ms
	MaxError     float64 `json:"max_error"` // ms
}

func clockOf(c *Clock) *clock {
	if c == nil {
		return nil
	}
	ms := func(d time.Duration) float64 { return d.Seconds() * 1000 }
	return &clock{c.Synchronised, c.Age.Seconds(), ms(c.Offset), ms(c.MaxError)}
}

// Encode writes a result as the Natrix server and the command line expect it,
// without a newline. A result that cannot be written becomes a failed one: an
// error here would have the command redelivered for ever.
func Encode(r Result) []byte {
	doc := reply{Data: r.Data, Stamp: stampOf(r), Clock: clockOf(r.Clock)}
	if r.Command.Echo != nil {
		doc.Command = &replyCommand{r.Command.Echo.UUID, r.Command.Echo.Terminal}
	}
	if r.Err != nil {
		doc.Status, doc.Data = 1, failure{Code(r.Command.Name, r.Err), info(r.Err)}
	}
	body, err := marshal(doc)
	if err != nil {
		doc.Status, doc.Data = 1, failure{Code(r.Command.Name, ErrInternal), fmt.Sprintf("%v: %v", ErrInternal, err)}
		body, _ = marshal(doc) // strings and numbers only: always possible
	}
	return body
}

// info is the first line of an error: a stack trace is for the log.
func info(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	line = strings.ToValidUTF8(strings.ReplaceAll(line, "\x00", ""), "?") // the server's database refuses NUL
	if strings.TrimSpace(line) == "" {
		return ErrInternal.Error()
	}
	return line
}

// marshal leaves <, > and & as they are: what is echoed has to come back byte
// for byte.
func marshal(v any) (body []byte, err error) {
	defer func() {
		if p := recover(); p != nil { // of a measurement's MarshalJSON
			err = fmt.Errorf("%v", p)
		}
	}()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

func stampOf(r Result) stamp {
	s := stamp{Received: seconds(r.Command.Received), Sent: seconds(r.Sent), Answered: seconds(r.Answered), Returned: seconds(r.Returned)}
	if r.Command.Echo != nil {
		s.Generated = r.Command.Echo.Generated
	}
	if r.Err != nil && r.Command.Name == "http" {
		s.Answered = nil // nothing was received; the original says so for http alone
	}
	return s
}

// seconds writes a time as seconds since the epoch; the zero time is null.
func seconds(t time.Time) json.RawMessage {
	if t.IsZero() {
		return nil
	}
	us := t.UnixMicro()
	return fmt.Appendf(nil, "%d.%06d", us/1e6, us%1e6)
}
