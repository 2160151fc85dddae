package command

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// Flags declares the parameters of a command, once for all doors: as options
// of the command line and as parameters of the wire document. A parameter is
// known on the wire by its option's name with underscores for hyphens, and by
// the further names given in the wire arguments, which take precedence.
type Flags struct {
	*pflag.FlagSet
	params []param
}

// A param connects an option to the names that it has on the wire.
type param struct {
	flag  *pflag.Flag
	names []string
}

func newFlags(name string) *Flags {
	set := pflag.NewFlagSet(name, pflag.ContinueOnError)
	set.SortFlags = false
	return &Flags{FlagSet: set}
}

// Int declares a whole number between least and most.
func (f *Flags) Int(p *int, name, short, usage string, least, most int, wire ...string) {
	f.add(&intValue{p, least, most}, name, short, usage, wire)
}

// Seconds declares a duration, given in seconds ("1", "0.5") or with a unit
// ("200ms"), greater than zero and at most an hour.
func (f *Flags) Seconds(p *time.Duration, name, short, usage string, wire ...string) {
	f.add((*secondsValue)(p), name, short, usage, wire)
}

// Text declares a string.
func (f *Flags) Text(p *string, name, short, usage string, wire ...string) {
	f.add((*textValue)(p), name, short, usage, wire)
}

// Switch declares a boolean: true, false, yes, no, on, off, 1 or 0 in any case.
func (f *Flags) Switch(p *bool, name, short, usage string, wire ...string) {
	f.add((*switchValue)(p), name, short, usage, wire).NoOptDefVal = "true"
}

// Choice declares a switch that sets *p to its own name, for alternatives
// that are options of their own (--icmp, --tcp, --udp).
func (f *Flags) Choice(p *string, name, short, usage string, wire ...string) {
	f.add(&choiceValue{p, name}, name, short, usage, wire).NoOptDefVal = "true"
}

// Custom declares a parameter with its own syntax.
func (f *Flags) Custom(v pflag.Value, name, short, usage string, wire ...string) {
	f.add(v, name, short, usage, wire)
}

// Hide keeps the named options out of the help: they exist for the wire, or
// as spellings that older documents use.
func (f *Flags) Hide(names ...string) {
	for _, name := range names {
		f.Lookup(name).Hidden = true
	}
}

func (f *Flags) add(v pflag.Value, name, short, usage string, wire []string) *pflag.Flag {
	flag := f.VarPF(v, name, short, usage)
	f.params = append(f.params, param{flag, append(wire, strings.ReplaceAll(name, "-", "_"))})
	return flag
}

// apply sets the parameters that came over the wire. Names that no parameter
// has are ignored: the server attaches keys of other commands.
func (f *Flags) apply(values map[string]string) error {
	for _, p := range f.params {
		for _, name := range p.names {
			text, given := values[name]
			if !given {
				continue
			}
			if err := p.flag.Value.Set(text); err != nil {
				return fmt.Errorf("%w: %s: %w", ErrParameter, name, err)
			}
			break
		}
	}
	return nil
}

type intValue struct {
	p           *int
	least, most int
}

func (v *intValue) String() string { return strconv.Itoa(*v.p) }
func (v *intValue) Type() string   { return "int" }

// Set takes whole numbers in any JSON spelling: 12, "12", 12.0.
func (v *intValue) Set(s string) error {
	n, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	if err != nil || n != math.Trunc(n) {
		return fmt.Errorf("%q is not a whole number", s)
	}
	if n < float64(v.least) || n > float64(v.most) {
		return fmt.Errorf("%s is not within %d to %d", s, v.least, v.most)
	}
	*v.p = int(n)
	return nil
}

type secondsValue time.Duration

func (v *secondsValue) String() string { return time.Duration(*v).String() }
func (v *secondsValue) Type() string   { return "seconds" }

func (v *secondsValue) Set(s string) error {
	s = strings.TrimSpace(s)
	d, err := time.ParseDuration(s)
	if n, plain := strconv.ParseFloat(s, 64); plain == nil {
		d, err = time.Duration(min(n, 86400)*float64(time.Second)), nil
	}
	if err != nil {
		return fmt.Errorf("%q is not a number of seconds", s)
	}
	if d <= 0 || d > time.Hour {
		return fmt.Errorf("%s is not within 0 to 3600 seconds", s)
	}
	*v = secondsValue(d)
	return nil
}

type textValue string

func (v *textValue) String() string     { return string(*v) }
func (v *textValue) Type() string       { return "string" }
func (v *textValue) Set(s string) error { *v = textValue(strings.TrimSpace(s)); return nil }

type switchValue bool

func (v *switchValue) String() string   { return strconv.FormatBool(bool(*v)) }
func (v *switchValue) Type() string     { return "bool" }
func (v *switchValue) IsBoolFlag() bool { return true }

func (v *switchValue) Set(s string) error {
	on, err := parseBool(s)
	if err == nil {
		*v = switchValue(on)
	}
	return err
}

type choiceValue struct {
	p    *string
	name string
}

func (v *choiceValue) String() string   { return strconv.FormatBool(v.p != nil && *v.p == v.name) }
func (v *choiceValue) Type() string     { return "bool" }
func (v *choiceValue) IsBoolFlag() bool { return true }

func (v *choiceValue) Set(s string) error {
	on, err := parseBool(s)
	if on {
		*v.p = v.name
	}
	return err
}

func parseBool(s string) (bool, error) {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "true", "1", "1.0", "t", "yes", "y", "on":
		return true, nil
	case "false", "0", "0.0", "f", "no", "n", "off":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither true nor false", s)
}
