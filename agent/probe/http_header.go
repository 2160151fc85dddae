package probe

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// Header is header fields as they are given: repeated "Name: value", lines of
// them, or a JSON object.
type Header struct{ http.Header }

// String is empty: a default has no fields.
func (h *Header) String() string { return "" }

// Type names the syntax in the help.
func (h *Header) Type() string { return "header" }

// Set adds fields.
func (h *Header) Set(s string) error {
	if h.Header == nil {
		h.Header = make(http.Header)
	}
	if isObject(s) {
		return h.setJSON(s)
	}
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		name, value, found := strings.Cut(line, ":")
		if !found {
			return fmt.Errorf("header field %q is not of the form Name: value", line)
		}
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if err := validField(name, value); err != nil {
			return err
		}
		h.Header.Add(name, value)
	}
	return nil
}

func (h *Header) setJSON(s string) error {
	fields, err := members(s)
	if err != nil {
		return fmt.Errorf("header: %w", err)
	}
	for _, f := range fields {
		if err := validField(f.name, f.value); err != nil {
			return err
		}
		h.Header.Set(f.name, f.value)
	}
	return nil
}

// validField refuses what would break the request apart (RFC 9110, section 5).
// The value is not repeated: it can be a secret.
func validField(name, value string) error {
	if !httpguts.ValidHeaderFieldName(name) {
		return fmt.Errorf("%q cannot be the name of a header field", name)
	}
	if !httpguts.ValidHeaderFieldValue(value) || strings.EqualFold(name, "host") && !httpguts.ValidHostHeader(value) {
		return fmt.Errorf("header field %s has a value that cannot be sent", name)
	}
	return nil
}

// A member of a JSON object that is a text.
type member struct{ name, value string }

func isObject(s string) bool { return strings.HasPrefix(strings.TrimSpace(s), "{") }

// members takes the members of an object that have a text, in the order of
// their names: numbers as they are written, and null as if it were not there.
func members(s string) ([]member, error) {
	var object map[string]any
	d := json.NewDecoder(strings.NewReader(s))
	d.UseNumber()
	if err := d.Decode(&object); err != nil {
		return nil, fmt.Errorf("not a JSON object: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("more than one JSON object")
	}
	var all []member
	for name, value := range object {
		switch value.(type) {
		case nil:
			continue
		case map[string]any, []any:
			return nil, fmt.Errorf("%q is neither text nor a number", name)
		}
		all = append(all, member{name, fmt.Sprint(value)})
	}
	slices.SortFunc(all, func(a, b member) int { return strings.Compare(a.name, b.name) })
	return all, nil
}
