package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Setting is one key and what it was given.
type Setting struct {
	Section, Key string
	Value        string // as it was written
	From         string // who says so: file:line, or the kernel command line; empty if nobody does
}

// Name is how a setting is called in one word.
func (s Setting) Name() string { return s.Section + "." + s.Key }

// Secret is the value without passwords, for people to look at.
func (s Setting) Secret() string {
	switch {
	case s.Value == "":
		return ""
	case s.Key == "password", s.Section == "live" && s.Key == "token":
		return "(hidden)"
	case s.Section == "rabbitmq" && s.Key == "url":
		var shown []string
		for _, url := range strings.FieldsFunc(s.Value, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' }) {
			shown = append(shown, Redact(url))
		}
		return strings.Join(shown, ",")
	}
	return s.Value
}

// note remembers what a setting was given last.
func (c *Config) note(s Setting) {
	c.given = slices.DeleteFunc(c.given, func(g Setting) bool { return g.Name() == s.Name() })
	c.given = append(c.given, s)
}

// Settings returns every setting that means something here, with what it was
// given by whoever won.
func (c Config) Settings() []Setting {
	var all []Setting
	for _, s := range settings() {
		if s.set == nil {
			continue
		}
		i := slices.IndexFunc(c.given, func(g Setting) bool { return g.Section == s.section && g.Key == s.key })
		if i >= 0 {
			all = append(all, c.given[i])
		} else {
			all = append(all, Setting{Section: s.section, Key: s.key})
		}
	}
	return all
}

// Check says whether a value is right for the setting of that name, such as
// rabbitmq.prefetch, and returns it ready to be written.
func Check(name, value string) (Setting, error) {
	section, key, _ := strings.Cut(name, ".")
	if strings.ContainsAny(value, "\r\n\x00") {
		return Setting{}, fmt.Errorf("the value of %s has a line break in it", name)
	}
	c := Default()
	if err := c.apply(section, key, value, ""); err != nil {
		return Setting{}, err
	}
	if len(c.given) == 0 {
		return Setting{}, fmt.Errorf("the setting %s means nothing here", name)
	}
	return c.given[0], nil
}

// Edit sets a key in an ini file and leaves everything else as it is: comments,
// order, and what it does not understand. It fails on a file so broken that the
// setting would not count, or another one would change.
func Edit(body []byte, s Setting) ([]byte, error) {
	edited := edit(body, s)
	before, after := Default(), Default()
	before.readFile("", body)
	after.readFile("", edited)
	before.note(s)
	if !slices.Equal(values(before), values(after)) || len(before.Schedule) != len(after.Schedule) {
		return nil, errors.New("the file is not a proper ini file: correct it by hand")
	}
	return edited, nil
}

// values are all settings without where they are from.
func values(c Config) []Setting {
	all := c.Settings()
	for i := range all {
		all[i].From = ""
	}
	return all
}

func edit(body []byte, s Setting) []byte {
	lines := slices.Collect(strings.Lines(string(body)))
	if n := len(lines); n > 0 && !strings.HasSuffix(lines[n-1], "\n") {
		lines[n-1] += "\n"
	}
	entry := fmt.Sprintf("%s = %s\n", s.Key, s.Value)
	var edited []string
	in, done, inside := "", false, false // the section; whether the key is there; whether its old value goes on
	end := -1                            // of the section
	for _, line := range lines {
		text := strings.TrimSpace(line)
		continues := text != "" && (line[0] == ' ' || line[0] == '\t')
		if inside && continues {
			continue
		}
		inside = false
		if name, ok := strings.CutPrefix(text, "["); ok && !continues {
			in, _, _ = strings.Cut(name, "]")
		} else if strings.EqualFold(in, s.Section) && !continues && strings.EqualFold(keyOf(text), s.Key) {
			inside = true
			if done {
				continue // said twice: the last one would win
			}
			line, done = entry, true
		}
		edited = append(edited, line)
		if strings.EqualFold(in, s.Section) && text != "" {
			end = len(edited)
		}
	}
	switch {
	case done:
	case end >= 0:
		edited = slices.Insert(edited, end, entry)
	default:
		edited = append(edited, "["+strings.ToUpper(s.Section)+"]\n", entry)
	}
	return []byte(strings.Join(edited, ""))
}

// keyOf is the key of a line; "" if it has none.
func keyOf(line string) string {
	if line == "" || line[0] == '#' || line[0] == ';' {
		return ""
	}
	end := strings.IndexAny(line, "=:")
	if end < 0 {
		return line
	}
	return strings.TrimSpace(line[:end])
}
