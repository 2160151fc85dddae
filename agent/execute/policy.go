package execute

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"github.com/google/shlex"
	"github.com/natrix-os/natrix/agent/door/basicagent/wire"
	"mvdan.cc/sh/v3/syntax"
)

// plan is what the policy makes of a request: the text for the shell, and
// the commands it may start, nil for any.
func (p Policy) plan(text string) (string, []string, error) {
	switch p.Level {
	case List:
		argv, err := p.fill(text)
		if err != nil {
			return "", nil, err
		}
		quoted := make([]string, len(argv))
		for i, word := range argv {
			if quoted[i], err = syntax.Quote(word, syntax.LangBash); err != nil {
				return "", nil, wire.Fail(wire.InvalidParams, "%v", err)
			}
		}
		return strings.Join(quoted, " "), argv[:1], nil
	case Shell:
		return text, append([]string{}, p.Commands...), parse(text)
	case Full:
		return text, nil, parse(text)
	}
	return "", nil, wire.Fail(wire.Denied, "the policy is off")
}

func parse(text string) error {
	if _, err := syntax.NewParser().Parse(strings.NewReader(text), ""); err != nil {
		return wire.Fail(wire.SyntaxError, "%v", err)
	}
	return nil
}

// fill makes the argv of a template: its name comes first in the text, then its
// parameters as name=value.
func (p Policy) fill(text string) ([]string, error) {
	words := strings.Fields(text)
	if len(words) == 0 {
		return nil, wire.Fail(wire.InvalidParams, "no template is named")
	}
	template, found := p.Templates[words[0]]
	if !found {
		return nil, wire.Fail(wire.Denied, "%.80q is not a template of this terminal", words[0])
	}
	values := make(map[string]string)
	for _, word := range words[1:] {
		name, value, given := strings.Cut(word, "=")
		if _, twice := values[name]; !given || twice {
			return nil, wire.Fail(wire.InvalidParams, "%.80q is not name=value, once", word)
		}
		values[name] = value
	}
	argv, err := shlex.Split(template)
	if err != nil {
		return nil, wire.Fail(wire.CannotStart, "the template: %v", err)
	}
	for i, word := range argv {
		if argv[i], err = substitute(word, values); err != nil {
			return nil, err
		}
	}
	for name := range values {
		return nil, wire.Fail(wire.InvalidParams, "%s has no parameter %.80q", words[0], name)
	}
	return argv, nil
}

var parameter = regexp.MustCompile(`\{([a-z_]+):([a-z]+)(?::(-?\d+)-(\d+))?\}`)

// substitute puts values in the places of a word, and takes them off the list.
func substitute(word string, values map[string]string) (string, error) {
	var problem error
	used := make(map[string]bool)
	filled := parameter.ReplaceAllStringFunc(word, func(place string) string {
		m := parameter.FindStringSubmatch(place)
		value, given := values[m[1]]
		if !given {
			problem = wire.Fail(wire.MissingParams, "%s", m[1])
			return ""
		}
		used[m[1]] = true
		if err := typed(m[2], m[3], m[4], value); err != nil {
			problem = wire.Fail(wire.InvalidParams, "%s: %v", m[1], err)
		}
		return value
	})
	for name := range used {
		delete(values, name)
	}
	return filled, problem
}

var (
	hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?$`)
	oneWord  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.,:-]{0,127}$`)
)

// typed says whether a value is of a type: int within bounds, address, host or
// word. None can begin with a hyphen, and so none can be an option.
func typed(kind, least, most, value string) error {
	ok := false
	switch kind {
	case "int":
		n, err := strconv.ParseInt(value, 10, 64)
		low, _ := strconv.ParseInt(least, 10, 64) // the template's pattern lets digits only
		high, _ := strconv.ParseInt(most, 10, 64)
		ok = err == nil && (most == "" && n >= 0 || most != "" && n >= low && n <= high)
	case "address":
		_, err := netip.ParseAddr(value)
		ok = err == nil
	case "host":
		_, err := netip.ParseAddr(value)
		ok = err == nil || hostName.MatchString(value)
	case "word":
		ok = oneWord.MatchString(value)
	}
	if !ok {
		return fmt.Errorf("%.80q is not of type %s", value, kind)
	}
	return nil
}

// CheckTemplate says whether a template of the configuration can be used.
func CheckTemplate(template string) error {
	argv, err := shlex.Split(template)
	if err != nil || len(argv) == 0 {
		return fmt.Errorf("%q is not a command with its arguments", template)
	}
	for _, word := range argv {
		rest := word
		for _, m := range parameter.FindAllStringSubmatch(word, -1) {
			switch m[2] {
			case "int", "address", "host", "word":
			default:
				return fmt.Errorf("%s: the types are int, address, host and word", m[0])
			}
		}
		if rest = parameter.ReplaceAllString(rest, ""); strings.ContainsAny(rest, "{}") {
			return fmt.Errorf("%q: a parameter is {name:type}, of int also {name:int:1-10}", word)
		}
	}
	if parameter.MatchString(argv[0]) {
		return fmt.Errorf("%q: the command itself is no parameter", argv[0])
	}
	return nil
}
