package zabbix

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Steps of preprocessing and what happens when one fails, as the server's
// database numbers them (item_preproc).
const (
	stepMultiplier     = 1
	stepRightTrim      = 2
	stepLeftTrim       = 3
	stepTrim           = 4
	stepRegex          = 5
	stepBool           = 6
	stepOctal          = 7
	stepHex            = 8
	stepDelta          = 9
	stepSpeed          = 10
	stepJSONPath       = 12
	stepInRange        = 13
	stepMatches        = 14
	stepMatchesNot     = 15
	stepErrorJSON      = 16
	stepErrorRegex     = 18
	stepUnchanged      = 19
	stepUnchangedSince = 20
	stepCSV            = 24
	stepReplace        = 25
	stepNotSupported   = 26

	onErrorDiscard = 1
	onErrorValue   = 2
	onErrorText    = 3
)

// step does one step. Without an error, keep says whether there is still a
// value. p.mu is held.
func (p *processor) step(k memoryKey, st step, v value) (text string, keep bool, err error) {
	param := func(i int) string {
		if i < len(st.params) {
			return st.params[i]
		}
		return ""
	}
	switch st.kind {
	case stepDelta, stepSpeed:
		return p.change(k, st.kind, v)
	case stepUnchanged, stepUnchangedSince:
		return p.unchanged(k, st, v)
	}
	text, err = pure(st.kind, v.text, param)
	return text, err == nil, err
}

// pure does the steps that only look at the value.
func pure(kind int, text string, param func(int) string) (string, error) {
	switch kind {
	case stepMultiplier:
		return multiply(text, param(0))
	case stepRightTrim:
		return strings.TrimRight(text, unescape(param(0))), nil
	case stepLeftTrim:
		return strings.TrimLeft(text, unescape(param(0))), nil
	case stepTrim:
		return strings.Trim(text, unescape(param(0))), nil
	case stepRegex:
		return substitute(text, param(0), param(1))
	case stepBool:
		return boolean(text)
	case stepOctal:
		return based(text, 8, "octal")
	case stepHex:
		return based(text, 16, "hexadecimal")
	case stepJSONPath:
		return jsonPath(text, param(0))
	case stepInRange:
		return text, inRange(text, param(0), param(1))
	case stepMatches, stepMatchesNot:
		re, err := expression(param(0))
		if err == nil && re.MatchString(text) != (kind == stepMatches) {
			err = errors.New("value does not meet the expression " + strconv.Quote(param(0)))
		}
		return text, err
	case stepErrorJSON:
		if found, err := jsonPath(text, param(0)); err == nil && found != "" {
			return text, errors.New(found)
		}
		return text, nil
	case stepErrorRegex:
		if found, err := substitute(text, param(0), param(1)); err == nil {
			return text, errors.New(found)
		}
		return text, nil
	case stepCSV:
		return csvToJSON(text, param(0), param(1), param(2) == "1")
	case stepReplace:
		if param(0) == "" {
			return text, errors.New("nothing to replace is given")
		}
		return strings.ReplaceAll(text, unescape(param(0)), unescape(param(1))), nil
	case stepNotSupported:
		return text, errors.New(text)
	}
	return text, unsupported("preprocessing step of type %d is not supported by this proxy", kind)
}

// unescape reads \n, \r, \t and \s of trims and replacements.
func unescape(s string) string {
	return strings.NewReplacer(`\\`, `\`, `\n`, "\n", `\r`, "\r", `\t`, "\t", `\s`, " ").Replace(s)
}

// multiply keeps whole numbers whole.
func multiply(text, by string) (string, error) {
	text, by = strings.TrimSpace(text), strings.TrimSpace(by)
	if !decimal.MatchString(text) || !decimal.MatchString(by) {
		return "", unsupported("cannot multiply %q by %q: not numbers", cut(text, 64), by)
	}
	a, okA := new(big.Int).SetString(text, 10)
	b, okB := new(big.Int).SetString(by, 10)
	if okA && okB {
		return a.Mul(a, b).String(), nil
	}
	x, errX := strconv.ParseFloat(text, 64)
	y, errY := strconv.ParseFloat(by, 64)
	if err := errors.Join(errX, errY); err != nil {
		return "", err
	}
	return strconv.FormatFloat(x*y, 'f', -1, 64), nil
}

// expression compiles a regular expression. Those of RE2 take no more time than
// the text is long.
func expression(s string) (*regexp.Regexp, error) {
	re, err := regexp.Compile("(?m)" + s)
	if err != nil {
		return nil, unsupported("this proxy cannot use the regular expression %q: %v", s, err)
	}
	return re, nil
}

// substitute is the output template with \1 and so on of the first match.
func substitute(text, pattern, output string) (string, error) {
	re, err := expression(pattern)
	if err != nil {
		return "", err
	}
	match := re.FindStringSubmatch(text)
	if match == nil {
		return "", unsupported("cannot perform regular expression %q match for value %q: no match", pattern, cut(text, 64))
	}
	var b strings.Builder
	for i := 0; i < len(output); i++ {
		if output[i] == '\\' && i+1 < len(output) && output[i+1] >= '0' && output[i+1] <= '9' {
			if n := int(output[i+1] - '0'); n < len(match) {
				b.WriteString(match[n])
			}
			i++
			continue
		}
		b.WriteByte(output[i])
	}
	return b.String(), nil
}

func boolean(text string) (string, error) {
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "true", "t", "yes", "y", "on", "up", "running", "enabled", "available", "ok", "master":
		return "1", nil
	case "false", "f", "no", "n", "off", "down", "unused", "disabled", "unavailable", "err", "slave":
		return "0", nil
	}
	if f, err := strconv.ParseFloat(strings.TrimSpace(text), 64); err == nil {
		if f != 0 {
			return "1", nil
		}
		return "0", nil
	}
	return "", unsupported("cannot convert value %q from boolean", cut(text, 64))
}

func based(text string, base int, name string) (string, error) {
	digits := strings.NewReplacer(" ", "", "\n", "").Replace(strings.TrimSpace(text))
	if base == 16 {
		digits = strings.TrimPrefix(strings.TrimPrefix(digits, "0x"), "0X")
	}
	n, err := strconv.ParseUint(digits, base, 64)
	if err != nil {
		return "", unsupported("cannot convert value %q from %s", cut(text, 64), name)
	}
	return strconv.FormatUint(n, 10), nil
}

func inRange(text, least, most string) error {
	f, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil {
		return unsupported("value %q is not a number", cut(text, 64))
	}
	lower, upper := math.Inf(-1), math.Inf(1)
	if least != "" {
		if lower, err = strconv.ParseFloat(least, 64); err != nil {
			return unsupported("%q is not a number", least)
		}
	}
	if most != "" {
		if upper, err = strconv.ParseFloat(most, 64); err != nil {
			return unsupported("%q is not a number", most)
		}
	}
	if f < lower || f > upper {
		return unsupported("value is not within the range from %q to %q", least, most)
	}
	return nil
}

// change is the difference to the value before, or that by the second. The
// first value has none, nor has one that is smaller.
func (p *processor) change(k memoryKey, kind int, v value) (string, bool, error) {
	text := strings.TrimSpace(v.text)
	if !decimal.MatchString(text) {
		return "", false, unsupported("cannot calculate a change of %q: not a number", cut(text, 64))
	}
	before, found := p.memory[k]
	p.memory[k] = remembered{text, v.at}
	if !found {
		return "", false, nil
	}
	now, ok := new(big.Rat).SetString(text)
	old, okOld := new(big.Rat).SetString(before.text)
	if !ok || !okOld || now.Cmp(old) < 0 && kind == stepSpeed || v.at.Before(before.at) {
		return "", false, nil
	}
	now.Sub(now, old)
	if kind == stepSpeed {
		elapsed := v.at.Sub(before.at)
		if elapsed <= 0 {
			return "", false, nil
		}
		f, _ := now.Float64()
		return strconv.FormatFloat(f/elapsed.Seconds(), 'f', -1, 64), true, nil
	}
	if now.IsInt() {
		return now.Num().String(), true, nil
	}
	f, _ := now.Float64()
	return strconv.FormatFloat(f, 'f', -1, 64), true, nil
}

// unchanged discards a value that is the one before, for a while or for ever.
func (p *processor) unchanged(k memoryKey, st step, v value) (string, bool, error) {
	before, found := p.memory[k]
	same := found && before.text == v.text
	if same && st.kind == stepUnchangedSince {
		every, err := seconds(st.params[0])
		if err != nil || every < time.Second {
			return "", false, unsupported("%q is not a heartbeat of at least a second", st.params[0])
		}
		same = v.at.Sub(before.at) < every
	}
	if same {
		return "", false, nil
	}
	p.memory[k] = remembered{v.text, v.at}
	return v.text, true, nil
}

// csvToJSON makes an array of objects, by the names of the first line or by
// numbers.
func csvToJSON(text, delimiter, quotation string, header bool) (string, error) {
	if delimiter == "" {
		delimiter = ","
	}
	if quotation != "" && quotation != `"` {
		return "", unsupported("this proxy reads no CSV that is quoted by %q", quotation)
	}
	r := csv.NewReader(strings.NewReader(text))
	r.Comma, r.FieldsPerRecord, r.LazyQuotes = []rune(unescape(delimiter))[0], -1, quotation == ""
	lines, err := r.ReadAll()
	if err != nil {
		return "", unsupported("cannot convert CSV: %v", err)
	}
	var names []string
	if header && len(lines) > 0 {
		names, lines = lines[0], lines[1:]
	}
	var b strings.Builder
	b.WriteByte('[')
	for i, line := range lines {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('{')
		for j := range max(len(line), len(names)) {
			name, cell := strconv.Itoa(j+1), ""
			if header {
				if j >= len(names) {
					return "", unsupported("cannot convert CSV: line %d has more fields than the first", i+2)
				}
				name = names[j]
			}
			if j < len(line) {
				cell = line[j]
			}
			if j > 0 {
				b.WriteByte(',')
			}
			b.Write(quote(name))
			b.WriteByte(':')
			b.Write(quote(cell))
		}
		b.WriteByte('}')
	}
	b.WriteByte(']')
	return b.String(), nil
}

// jsonPath evaluates the part of Zabbix's JSONPath that has no filters.
func jsonPath(text, path string) (string, error) {
	if err := checkDepth([]byte(text)); err != nil {
		return "", err
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var document any
	if err := d.Decode(&document); err != nil {
		return "", unsupported("cannot extract value from json by path %q: cannot parse as a valid JSON object: %v", path, err)
	}
	nodes, definite, err := selectNodes(document, path)
	if err != nil {
		return "", err
	}
	if !definite {
		if nodes == nil {
			nodes = []any{}
		}
		return plain(nodes)
	}
	if len(nodes) == 0 {
		return "", unsupported("cannot extract value from json by path %q: no data matches the specified path", path)
	}
	return plain(nodes[0])
}

// plain is a node as a value: strings without their quotes.
func plain(node any) (string, error) {
	if s, ok := node.(string); ok {
		return s, nil
	}
	b, err := json.Marshal(node)
	return string(b), err
}
