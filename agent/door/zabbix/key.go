package zabbix

import (
	"fmt"
	"strings"
)

// key is an item's key taken apart: name[parameter,"quoted",[array]].
type key struct {
	name   string
	params []string // unquoted; an array as it was written between its brackets
}

// parseKey reads a key ("Item key format", Zabbix manual).
func parseKey(s string) (key, error) {
	end := strings.IndexFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-.", r))
	})
	if end < 0 && s != "" {
		return key{name: s}, nil
	}
	if end <= 0 || s[end] != '[' {
		return key{}, fmt.Errorf("Invalid item key format.")
	}
	k := key{name: s[:end]}
	for rest := s[end+1:]; ; {
		param, after, err := parseParam(strings.TrimLeft(rest, " "))
		if err != nil {
			return key{}, err
		}
		k.params = append(k.params, param)
		if after == "]" {
			return k, nil
		}
		if !strings.HasPrefix(after, ",") {
			return key{}, fmt.Errorf("Invalid item key format.")
		}
		rest = after[1:]
	}
}

// parseParam reads one parameter and returns what follows it.
func parseParam(s string) (param, rest string, err error) {
	switch {
	case strings.HasPrefix(s, `"`):
		for i := 1; i < len(s); i++ {
			if s[i] == '"' && s[i-1] != '\\' {
				return strings.ReplaceAll(s[1:i], `\"`, `"`), strings.TrimLeft(s[i+1:], " "), nil
			}
		}
	case strings.HasPrefix(s, "["):
		quoted := false
		for i := 1; i < len(s); i++ {
			if s[i] == '"' && s[i-1] != '\\' {
				quoted = !quoted
			}
			if s[i] == ']' && !quoted {
				return s[1:i], strings.TrimLeft(s[i+1:], " "), nil
			}
		}
	default:
		if i := strings.IndexAny(s, ",]"); i >= 0 {
			return s[:i], s[i:], nil
		}
	}
	return "", "", fmt.Errorf("Invalid item key format.")
}

// param is the i-th parameter from 0, or "" where it is left out.
func (k key) param(i int) string {
	if i >= len(k.params) {
		return ""
	}
	return k.params[i]
}

// String writes the key with the parameters quoted that need it.
func (k key) String() string {
	if k.params == nil {
		return k.name
	}
	var b strings.Builder
	b.WriteString(k.name)
	for i, p := range k.params {
		b.WriteByte("[,"[min(i, 1)])
		if strings.ContainsAny(p, `,]"`) || strings.HasPrefix(p, " ") || strings.HasPrefix(p, "[") {
			p = `"` + strings.ReplaceAll(p, `"`, `\"`) + `"`
		}
		b.WriteString(p)
	}
	b.WriteByte(']')
	return b.String()
}
