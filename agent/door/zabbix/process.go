package zabbix

import (
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// processor does the preprocessing: what comes out is what the server stores.
// It remembers what steps compare with, also over a change of configuration.
type processor struct {
	mu     sync.Mutex
	memory map[memoryKey]remembered
	last   map[uint64]time.Time // of each item's last value: no two may have the same time
	dual   map[uint64][]*item   // dependent items of the current snapshot by master
	of     *snapshot
}

// memoryKey is a step of an item.
type memoryKey struct {
	item uint64
	step int
}

type remembered struct {
	text string
	at   time.Time
}

func newProcessor() *processor {
	return &processor{memory: make(map[memoryKey]remembered), last: make(map[uint64]time.Time)}
}

// forget drops what is remembered of items that are gone.
func (p *processor) forget(s *snapshot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for k := range p.memory {
		if it := s.items[k.item]; it == nil || k.step >= len(it.steps) {
			delete(p.memory, k)
		}
	}
	for id := range p.last {
		if s.items[id] == nil {
			delete(p.last, id)
		}
	}
}

// dependents are the items that a master's value is passed to.
func (p *processor) dependents(s *snapshot, master uint64) []*item {
	if p.of != s {
		p.of, p.dual = s, make(map[uint64][]*item)
		for _, it := range s.items {
			if it.kind == typeDependent {
				p.dual[it.master] = append(p.dual[it.master], it)
			}
		}
	}
	return p.dual[master]
}

// all appends the history entries of a value, its own and those of the items
// that depend on it, to bodies.
func (p *processor) all(bodies [][]byte, s *snapshot, it *item, v value) [][]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pass(bodies, s, it, v, 0)
}

const dependenceMost = 3 // levels, as Zabbix has it

func (p *processor) pass(bodies [][]byte, s *snapshot, it *item, v value, level int) [][]byte {
	v = p.steps(it, v)
	if level < dependenceMost && !v.none {
		for _, d := range p.dependents(s, it.id) {
			bodies = p.pass(bodies, s, d, v, level+1)
		}
	}
	if v.none && !it.polled() {
		return bodies // nobody waits for it
	}
	if !v.failed && !v.none {
		v = converted(it, v)
	}
	if last := p.last[it.id]; !last.IsZero() && last.Equal(v.at) {
		v.at = v.at.Add(1)
	}
	p.last[it.id] = v.at
	return append(bodies, appendValue(nil, it, v))
}

// steps runs the steps of an item, one after the other.
func (p *processor) steps(it *item, v value) value {
	for i, st := range it.steps {
		if v.none {
			return v
		}
		if v.failed != (st.kind == stepNotSupported) {
			if v.failed {
				continue // only that step looks at failures
			}
			if st.kind == stepNotSupported {
				continue
			}
		}
		text, keep, err := p.step(memoryKey{it.id, i}, st, v)
		switch {
		case err == nil:
			v.text, v.none = text, !keep
		case st.onError == onErrorDiscard:
			v.none, v.failed = true, false
		case st.onError == onErrorValue:
			v.text, v.failed = st.onErrorText, false
		case st.onError == onErrorText:
			v.text, v.failed = st.onErrorText, true
		default:
			v.text, v.failed = err.Error(), true
			return v
		}
	}
	return v
}

// converted has a value the way its type is written, or says why it cannot be.
func converted(it *item, v value) value {
	text := strings.TrimSpace(v.text)
	bad := func(kind string) value {
		v.text, v.failed = `Value of type "string" is not suitable for value type "`+kind+`". Value "`+cut(v.text, 128)+`"`, true
		return v
	}
	switch it.value {
	case valueUnsigned:
		if it.row.number("flags") == 1 {
			return v // of a discovery rule: text
		}
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			f, ok := new(big.Float).SetString(text)
			if !ok || f.Sign() < 0 || !decimal.MatchString(text) {
				return bad("Numeric (unsigned)")
			}
			if n, _ = f.Uint64(); f.Cmp(maxUnsigned()) >= 0 {
				return bad("Numeric (unsigned)")
			}
		}
		v.text = strconv.FormatUint(n, 10)
	case valueFloat:
		if it.row.number("flags") == 1 {
			return v
		}
		f, err := strconv.ParseFloat(text, 64)
		if err != nil || !decimal.MatchString(text) || f > 1.7e308 || f < -1.7e308 {
			return bad("Numeric (float)")
		}
		v.text = text
	case valueChar:
		v.text = cut(v.text, 255)
	case valueText, valueLog:
		v.text = cut(v.text, 65535)
	}
	if v.text == "ZBX_NOTSUPPORTED" {
		v.text, v.failed = "Not supported", true
	}
	return v
}

var decimal = regexp.MustCompile(`^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$`)

func maxUnsigned() *big.Float { return new(big.Float).SetInt(new(big.Int).Lsh(big.NewInt(1), 64)) }

// cut shortens a text to so many characters.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	n := 0
	for i := range s {
		if n++; n > most {
			return s[:i]
		}
	}
	return s
}
