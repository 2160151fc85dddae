package command

import (
	"errors"
	"maps"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	s := echoSet(echo)
	for _, test := range []struct {
		typed  string
		params map[string]string
	}{
		{"echo host", nil},
		{"echo --count 5 host", map[string]string{"count": "5"}},
		{"echo host -c5 --verbose", map[string]string{"count": "5", "verbose": "true"}},
		{"echo -T --timeout=0.2 host", map[string]string{"tcp": "true", "timeout": "0.2"}},
		{"echo -s a -s b host", map[string]string{"server": "a\nb"}},
	} {
		c, err := s.Parse(strings.Fields(test.typed))
		if err != nil || c.Name != "echo" || c.Destination != "host" || !maps.Equal(c.Params, test.params) {
			t.Errorf("%s: got %+v, %v", test.typed, c, err)
		}
	}
	for typed, want := range map[string]error{
		"":                     ErrParameter,
		"echo":                 ErrParameter,
		"echo a b":             ErrParameter,
		"echo --count many a":  ErrParameter,
		"echo --count 1000 a":  ErrParameter,
		"echo --colour blue a": ErrParameter,
		"echo --help":          ErrParameter,
		"format host":          ErrUnsupported,
	} {
		if _, err := s.Parse(strings.Fields(typed)); !errors.Is(err, want) {
			t.Errorf("%q: got %v, want %v", typed, err, want)
		}
	}
}

func TestParsePositional(t *testing.T) {
	s := NewSet(Define(Info{Name: "echo", Positional: "server"}, defaultEcho, echo))
	c, err := s.Parse([]string{"echo", "get", "host"})
	if err != nil || c.Destination != "host" || c.Params["server"] != "get" {
		t.Errorf("got %+v, %v", c, err)
	}
}
