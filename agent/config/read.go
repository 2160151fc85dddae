package config

import (
	"errors"
	"fmt"
	"strings"

	"gopkg.in/ini.v1"
)

// readFile applies an ini file as Python's configparser reads it, which wrote
// the original: raw values, names in any case, comments on lines of their own.
func (c *Config) readFile(path string, body []byte) error {
	file, err := ini.LoadSources(ini.LoadOptions{
		IgnoreInlineComment:        true,
		IgnoreContinuation:         true,
		AllowPythonMultilineValues: true,
		PreserveSurroundedQuote:    true,
		AllowBooleanKeys:           true, // a line without a value is named below, rather than ending the reading
		SkipUnrecognizableLines:    true,
	}, body)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	var problems []error
	for _, section := range file.Sections() {
		for _, key := range section.Keys() {
			number, hasValue := lineOf(body, section.Name(), key.Name())
			err := fmt.Errorf("[%s] %s has no value", section.Name(), key.Name())
			if hasValue {
				err = c.apply(section.Name(), key.Name(), key.Value(), fmt.Sprintf("%s:%d", path, number))
			}
			if err != nil {
				problems = append(problems, fmt.Errorf("%s:%d: %w", path, number, err))
			}
		}
	}
	return errors.Join(problems...)
}

// readKernel applies the words of a kernel command line that begin with
// "natrix.": the rest belongs to others.
func (c *Config) readKernel(cmdline string) error {
	var problems []error
	for word := range strings.FieldsSeq(cmdline) {
		name, value, _ := strings.Cut(word, "=")
		name, ours := strings.CutPrefix(name, "natrix.")
		if !ours {
			continue
		}
		section, key := name, ""
		if s, k, dotted := strings.Cut(name, "."); dotted {
			section, key = s, k
		} else if s := byWord(name); s != nil {
			section, key = s.section, s.key
		}
		if err := c.apply(section, key, value, "kernel command line"); err != nil {
			problems = append(problems, fmt.Errorf("kernel command line: natrix.%s: %w", name, err))
		}
	}
	return errors.Join(problems...)
}

func byWord(word string) *setting {
	for _, s := range settings() {
		if s.word == word {
			return &s
		}
	}
	return nil
}

func (c *Config) apply(section, key, value, from string) error {
	if strings.EqualFold(section, "schedule") {
		job, err := scheduled(key, value)
		if err != nil {
			return fmt.Errorf("[%s] %s: %w", section, key, err)
		}
		c.Schedule = append(c.Schedule, job)
		return nil
	}
	if strings.EqualFold(section, "commands") {
		return c.BasicAgent.template(key, strings.TrimSpace(value))
	}
	s := find(section, key)
	if s == nil {
		return fmt.Errorf("no such setting: [%s] %s", section, key)
	}
	if s.set == nil {
		return nil
	}
	if err := s.set(c, strings.TrimSpace(value)); err != nil {
		return fmt.Errorf("[%s] %s: %w", section, key, err)
	}
	c.note(Setting{Section: s.section, Key: s.key, Value: strings.TrimSpace(value), From: from})
	return nil
}

// lineOf finds the line of a key, counted from 1, and whether it has anything
// that could separate it from a value: the ini library tells neither.
func lineOf(body []byte, section, key string) (number int, hasValue bool) {
	in := ini.DefaultSection
	for line := range strings.Lines(string(body)) {
		number++
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "["); ok {
			in, _, _ = strings.Cut(name, "]")
		}
		name, _, found := strings.Cut(strings.Replace(line, ":", "=", 1), "=")
		if in == section && strings.TrimSpace(name) == key {
			return number, found
		}
	}
	return number, true // written in a way that is not understood here
}
