package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// rule judges a value as decode returns it. Its errors begin with the path of
// what is wrong.
type rule interface {
	judge(path string, v any) error
}

// leaf is the rule for a single value, which need not know its path.
type leaf func(v any) error

func (l leaf) judge(path string, v any) error {
	if err := l(v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// object has a rule for each key that matters; others are ignored.
type object map[string]rule

func (o object) judge(path string, v any) error {
	m, ok := v.(map[string]any)
	if !ok {
		return fmt.Errorf("%s: is %s, not an object", path, kind(v))
	}
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(o)) {
		value, present := m[key]
		switch _, may := o[key].(absent); {
		case present:
			errs = append(errs, o[key].judge(path+"."+key, value))
		case !may:
			errs = append(errs, fmt.Errorf("%s.%s: is missing", path, key))
		}
	}
	return errors.Join(errs...)
}

// each is an object whose keys are data and whose values are alike, but for
// one key in them that no two may share.
type each struct {
	rule     object
	distinct string
}

func (e each) judge(path string, v any) error {
	m, ok := v.(map[string]any)
	if !ok {
		return fmt.Errorf("%s: is %s, not an object", path, kind(v))
	}
	var errs []error
	seen := make(map[string]string)
	for _, key := range slices.Sorted(maps.Keys(m)) {
		errs = append(errs, e.rule.judge(path+"."+key, m[key]))
		if o, ok := m[key].(map[string]any); ok {
			id := fmt.Sprint(o[e.distinct])
			if other, taken := seen[id]; taken {
				errs = append(errs, fmt.Errorf("%s.%s.%s: is that of %s too", path, key, e.distinct, other))
			}
			seen[id] = key
		}
	}
	return errors.Join(errs...)
}

// list is an array of values that are alike; it may be empty.
type list struct{ rule }

func (l list) judge(path string, v any) error {
	all, ok := v.([]any)
	if !ok {
		return fmt.Errorf("%s: is %s, not an array", path, kind(v))
	}
	var errs []error
	for i, item := range all {
		errs = append(errs, l.rule.judge(fmt.Sprintf("%s[%d]", path, i), item))
	}
	return errors.Join(errs...)
}

// absent is a value whose key may be missing.
type absent struct{ rule }

// null is a value that may be null.
type null struct{ rule }

func (n null) judge(path string, v any) error {
	if v == nil {
		return nil
	}
	return n.rule.judge(path, v)
}

func kind(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return fmt.Sprint(v)
	case json.Number:
		return "the number " + v.String()
	case string:
		return strconv.Quote(v)
	case []any:
		return "an array"
	}
	return "an object"
}

// text is a string that is not blank, of at most so many characters unless
// that is 0. The server turns numbers into strings.
func text(most int) leaf {
	return leaf(func(v any) error {
		s, ok := v.(string)
		if n, number := v.(json.Number); number {
			s, ok = n.String(), true
		}
		if !ok || strings.TrimSpace(s) == "" {
			return fmt.Errorf("is %s, not a string with something in it", kind(v))
		}
		return fits(s, most)
	})
}

// blank is a string that may be empty.
func blank(most int) leaf {
	return leaf(func(v any) error {
		s, ok := v.(string)
		if !ok {
			return fmt.Errorf("is %s, not a string", kind(v))
		}
		return fits(s, most)
	})
}

func fits(s string, most int) error {
	if n := utf8.RuneCountInString(s); most > 0 && n > most {
		return fmt.Errorf("has %d characters, which is more than %d", n, most)
	}
	if strings.ContainsRune(s, 0) {
		return errors.New("holds a NUL character")
	}
	return nil
}

// The rules for single values.
var (
	boolean = leaf(func(v any) error {
		if _, ok := v.(bool); !ok {
			return fmt.Errorf("is %s, not true or false", kind(v))
		}
		return nil
	})

	decimal = leaf(func(v any) error { _, err := number(v); return err })

	// integer is a whole number: 12, 12.0 and "12" are.
	integer = leaf(func(v any) error {
		f, err := number(v)
		if err == nil && f != math.Trunc(f) {
			err = fmt.Errorf("is %s, not a whole number", kind(v))
		}
		return err
	})

	// status and heartbeat are computed with before they are validated.
	status = leaf(func(v any) error {
		if v != json.Number("0") && v != json.Number("1") {
			return fmt.Errorf("is %s, not the number 0 or 1", kind(v))
		}
		return nil
	})
	heartbeat = leaf(func(v any) error {
		if _, ok := v.(json.Number); !ok {
			return fmt.Errorf("is %s, not a number", kind(v))
		}
		return atLeast(0, decimal)(v)
	})

	ip = leaf(func(v any) error {
		s, _ := v.(string)
		if a, err := netip.ParseAddr(s); err != nil || a.Zone() != "" {
			return fmt.Errorf("is %s, not an IP address", kind(v))
		}
		return nil
	})

	uuid = leaf(func(v any) error {
		s, _ := v.(string)
		if !uuidForm.MatchString(s) {
			return fmt.Errorf("is %s, not a UUID", kind(v))
		}
		return nil
	})

	// address is a URL, to which the server puts http:// if there is no scheme.
	address = leaf(func(v any) error {
		s, _ := v.(string)
		if !strings.Contains(s, "://") {
			s = "http://" + s
		}
		u, err := url.Parse(s)
		if err != nil || !slices.Contains([]string{"http", "https", "ftp", "ftps"}, strings.ToLower(u.Scheme)) ||
			!hostname(u.Hostname()) || !portForm.MatchString(u.Port()) {
			return fmt.Errorf("is %s, not a URL that the server takes", kind(v))
		}
		return nil
	})

	uuidForm = regexp.MustCompile(`^(?i)[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}$`)
	portForm = regexp.MustCompile(`^(\d{2,5})?$`)
	nameForm = regexp.MustCompile(`^(?i)([\p{L}\p{N}]([\p{L}\p{N}-]{0,61}[\p{L}\p{N}])?\.)+[\p{L}-]{2,63}\.?$|^(?i)([\p{L}\p{N}-]+\.)+xn--[a-z0-9]{1,59}\.?$`)
)

// hostname is an IP address, localhost, or a name with a top-level domain.
func hostname(h string) bool {
	_, err := netip.ParseAddr(h)
	return err == nil || strings.EqualFold(h, "localhost") || nameForm.MatchString(h)
}

// number takes numbers and strings that hold one.
func number(v any) (float64, error) {
	s, ok := v.(string)
	if n, isNumber := v.(json.Number); isNumber {
		s, ok = n.String(), true
	}
	f, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	if !ok || err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return 0, fmt.Errorf("is %s, not a number", kind(v))
	}
	return f, nil
}

func atLeast(least float64, r leaf) leaf {
	return leaf(func(v any) error {
		if err := r(v); err != nil {
			return err
		}
		if f, _ := number(v); f < least {
			return fmt.Errorf("is %s, which is less than %v", kind(v), least)
		}
		return nil
	})
}

func oneOf(words ...string) leaf {
	return leaf(func(v any) error {
		if s, _ := v.(string); !slices.Contains(words, s) {
			return fmt.Errorf("is %s, not one of %s", kind(v), strings.Join(words, ", "))
		}
		return nil
	})
}
