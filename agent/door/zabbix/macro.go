package zabbix

import (
	"regexp"
	"strings"
)

// macros are the user macros of a configuration.
type macros struct {
	global map[string]string
	host   map[uint64]map[string]string
	parent map[uint64][]uint64 // templates of hosts and templates
}

func newMacros(t tables) macros {
	m := macros{make(map[string]string), make(map[uint64]map[string]string), make(map[uint64][]uint64)}
	for _, r := range t.rows("globalmacro") {
		m.global[r.text("macro")] = r.text("value")
	}
	for _, r := range t.rows("hostmacro") {
		id := r.id("hostid")
		if m.host[id] == nil {
			m.host[id] = make(map[string]string)
		}
		m.host[id][r.text("macro")] = r.text("value")
	}
	for _, r := range t.rows("hosts_templates") {
		m.parent[r.id("hostid")] = append(m.parent[r.id("hostid")], r.id("templateid"))
	}
	return m
}

// value resolves {$NAME} or {$NAME:context}: from the host, then its templates
// level by level, then the whole; and in each of them first for the very
// context, then by regular expression, then without.
func (m macros) value(host uint64, macro string) (string, bool) {
	level, seen := []uint64{host}, map[uint64]bool{}
	var fallback string
	var found bool
	try := func(of map[string]string) bool {
		v, exact, ok := pick(of, macro)
		if ok && exact {
			fallback, found = v, true
			return true
		}
		if ok && !found {
			fallback, found = v, true
		}
		return false
	}
	for len(level) > 0 {
		var above []uint64
		for _, id := range level {
			if seen[id] {
				continue
			}
			seen[id] = true
			if try(m.host[id]) {
				return fallback, true
			}
			above = append(above, m.parent[id]...)
		}
		level = above
	}
	try(m.global)
	return fallback, found
}

// pick looks a macro up in one place. exact says that its context was met too.
func pick(of map[string]string, macro string) (value string, exact, ok bool) {
	if v, ok := of[macro]; ok {
		return v, true, true
	}
	name, context, with := strings.Cut(strings.TrimSuffix(macro, "}"), ":")
	if !with {
		return "", false, false
	}
	context = strings.Trim(strings.TrimSpace(context), `"`)
	for k, v := range of {
		head, rest, has := strings.Cut(strings.TrimSuffix(k, "}"), ":")
		if !has || head != name {
			continue
		}
		rest = strings.TrimSpace(rest)
		if expression, is := strings.CutPrefix(rest, "regex:"); is {
			if re, err := regexp.Compile(strings.Trim(strings.TrimSpace(expression), `"`)); err == nil && re.MatchString(context) {
				return v, true, true
			}
		} else if strings.Trim(rest, `"`) == context {
			return v, true, true
		}
	}
	v, ok := of[name+"}"]
	return v, false, ok
}

// expand replaces macros in a text: user macros, and those of the item's host
// and interface. What it does not know stays.
func (s *snapshot) expand(text string, it *item) string {
	if !strings.Contains(text, "{") {
		return text
	}
	var b strings.Builder
	for {
		begin := strings.IndexByte(text, '{')
		if begin < 0 {
			break
		}
		end := closing(text[begin:])
		if end < 0 {
			break
		}
		word := text[begin : begin+end+1]
		b.WriteString(text[:begin])
		value, ok := s.macro(word, it)
		if !ok { // what begins with this brace may still hold macros
			b.WriteByte('{')
			text = text[begin+1:]
			continue
		}
		b.WriteString(value)
		text = text[begin+end+1:]
	}
	b.WriteString(text)
	return b.String()
}

// closing is where the brace ends that s begins with; quotes may hold others.
func closing(s string) int {
	quoted := false
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '"':
			quoted = !quoted && strings.HasPrefix(s, "{$")
		case s[i] == '}' && !quoted:
			return i
		}
	}
	return -1
}

func (s *snapshot) macro(word string, it *item) (string, bool) {
	if strings.HasPrefix(word, "{$") {
		return s.macros.value(it.host.id, word)
	}
	i := it.iface
	switch word {
	case "{HOST.HOST}", "{HOSTNAME}":
		return it.host.host, true
	case "{HOST.NAME}":
		return it.host.name, true
	case "{ITEM.KEY}":
		return it.keyText, true
	case "{ITEM.ID}":
		return formatID(it.id), true
	}
	if i == nil {
		i = s.mainInterface(it.host.id)
	}
	if i == nil {
		return "", false
	}
	switch word {
	case "{HOST.IP}", "{IPADDRESS}":
		return i.ip, true
	case "{HOST.DNS}":
		return i.dns, true
	case "{HOST.CONN}":
		return i.conn(), true
	case "{HOST.PORT}":
		return i.port, true
	}
	return "", false
}
