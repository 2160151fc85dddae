package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"
)

// Object reads one JSON object strictly: UTF-8, no key twice, no more than
// Depth levels, nothing after it.
func Object(line []byte) (map[string]json.RawMessage, error) {
	d := jsontext.NewDecoder(bytes.NewReader(line))
	if d.PeekKind() != '{' {
		return nil, Fail(Malformed, "not a JSON object")
	}
	for {
		_, err := d.ReadToken()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, Fail(Malformed, "%v", plainly(err))
		}
		if d.StackDepth() > Depth {
			return nil, Fail(Malformed, "nested deeper than %d levels", Depth)
		}
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(line, &keys); err != nil {
		return nil, Fail(Malformed, "%v", err)
	}
	return keys, nil
}

// plainly is a syntax error without what the peer wrote, which may be secret.
func plainly(err error) string {
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) {
		return fmt.Sprintf("byte %d: %v", syntax.ByteOffset, syntax.Err)
	}
	return err.Error()
}

// Request is what a server asks of a terminal.
type Request struct {
	ID      string
	Method  string
	Expires int64 // s since 1970; 0 for never
	Args    map[string]json.RawMessage
}

// transport are the keys of a request that are not arguments.
var transport = map[string]bool{"id": true, "method": true, "expires": true, "arguments": true, "hosts": true}

// ParseRequest reads a request, whose arguments may be beside the method or in
// an object of their own. The request that comes with an error has the id, as
// far as there is one to answer to.
func ParseRequest(line []byte) (Request, error) {
	keys, err := Object(line)
	if err != nil {
		return Request{}, err
	}
	var r Request
	if r.ID, err = Identifier(keys["id"]); err != nil {
		return Request{}, err
	}
	if err := json.Unmarshal(keys["method"], &r.Method); err != nil || r.Method == "" {
		return r, Fail(Malformed, "method is missing or not a string")
	}
	if raw, ok := keys["expires"]; ok {
		if err := json.Unmarshal(raw, &r.Expires); err != nil || r.Expires <= 0 {
			return r, Fail(InvalidParams, "expires is not a time in seconds since 1970")
		}
	}
	r.Args = make(map[string]json.RawMessage)
	if raw, ok := keys["arguments"]; ok && string(raw) != "null" {
		if err := json.Unmarshal(raw, &r.Args); err != nil {
			return r, Fail(InvalidParams, "arguments is not an object")
		}
	}
	for key, value := range keys {
		if transport[key] {
			continue
		}
		if _, twice := r.Args[key]; twice {
			return r, Fail(InvalidParams, "%s is there twice, in arguments and beside them", key)
		}
		r.Args[key] = value
	}
	return r, nil
}

// Identifier reads the id of a request: 1 to 127 bytes without control
// characters. It is never part of a file's name.
func Identifier(raw json.RawMessage) (string, error) {
	if raw == nil {
		return "", Fail(MissingID, "")
	}
	var id string
	if err := json.Unmarshal(raw, &id); err != nil || string(raw) == "null" {
		return "", Fail(Malformed, "id is not a string")
	}
	if id == "" {
		return "", Fail(MissingID, "id is empty")
	}
	if len(id) > 127 || strings.ContainsFunc(id, unicode.IsControl) {
		return "", Fail(Malformed, "id is longer than 127 bytes or has control characters")
	}
	return id, nil
}

// Text is a string argument, and whether it is there.
func (r Request) Text(key string) (string, bool, error) {
	raw, ok := r.Args[key]
	if !ok || string(raw) == "null" {
		return "", false, nil
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", true, Fail(InvalidParams, "%s is not a string", key)
	}
	return s, true, nil
}

// Whole is a whole number from least to most, or fallback without one.
func (r Request) Whole(key string, fallback, least, most int64) (int64, error) {
	raw, ok := r.Args[key]
	if !ok || string(raw) == "null" {
		return fallback, nil
	}
	var n int64
	if err := json.Unmarshal(raw, &n); err != nil || n < least || n > most {
		return 0, Fail(InvalidParams, "%s is not a whole number from %d to %d", key, least, most)
	}
	return n, nil
}

// Truth is a boolean argument, false without it.
func (r Request) Truth(key string) (bool, error) {
	var b bool
	if raw, ok := r.Args[key]; ok {
		if err := json.Unmarshal(raw, &b); err != nil {
			return false, Fail(InvalidParams, "%s is neither true nor false", key)
		}
	}
	return b, nil
}
