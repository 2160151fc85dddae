package command

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// Parse reads a command as it is typed: its name, options, and destination,
// split into words. The command is checked here, so that a mistake shows when
// it is written down and not when it is to run.
func (s Set) Parse(words []string) (Command, error) {
	if len(words) == 0 {
		return Command{}, fmt.Errorf("%w: no command", ErrParameter)
	}
	d, found := s.Lookup(words[0])
	if !found {
		return Command{}, fmt.Errorf("%q: %w", words[0], ErrUnsupported)
	}
	c := Command{Name: d.Name, Params: make(map[string]string), Received: time.Now()}
	run := d.Prepare()
	run.Flags.SetOutput(io.Discard)
	run.Flags.Usage = func() {}
	err := run.Flags.ParseAll(words[1:], func(f *pflag.Flag, text string) error {
		key := strings.ReplaceAll(f.Name, "-", "_")
		if before, repeated := c.Params[key]; repeated {
			text = before + "\n" + text
		}
		c.Params[key] = text
		return nil
	})
	if err != nil {
		return c, fmt.Errorf("%w: %s: %w", ErrParameter, d.Name, err)
	}
	rest := run.Flags.Args()
	if d.Positional != "" && len(rest) == 2 {
		c.Params[d.Positional], rest = rest[0], rest[1:]
	}
	if len(rest) != 1 {
		return c, fmt.Errorf("%w: %s wants one destination, and got %q", ErrParameter, d.Name, rest)
	}
	c.Destination = rest[0]
	return c, run.Flags.apply(c.Params)
}
