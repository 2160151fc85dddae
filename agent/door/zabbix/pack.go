package zabbix

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/natrix-os/natrix/agent/spool"
)

const (
	recordsMost = 10_000  // of a packet: as many as real proxies send
	bytesMost   = 4 << 20 // of a packet, about
)

// A section is a part of a packet with rows of one kind. In the queue of rows,
// each row is the section's letter and its JSON.
type section byte

const (
	discovery    section = 'd'
	registration section = 'a'
	results      section = 't'
)

// packet is what is sent at one time, and what to take out of the queues once
// the server has it.
type packet struct {
	body   []byte // JSON after the opening brace
	values []spool.Record
	rows   []spool.Record
	states []state
	more   bool
}

// pack makes the next packet; without data if the server takes none now.
func (p *proxy) pack(data bool) (*packet, error) {
	k := &packet{}
	b := fmt.Appendf(nil, `"session":"%s",`, p.session)
	if data {
		var err error
		var moreRows bool
		if k.values, k.more, err = p.values.Waiting(recordsMost, bytesMost); err != nil {
			return nil, err
		}
		if k.rows, moreRows, err = p.rows.Waiting(p.rowsAtOnce(), bytesMost/4); err != nil {
			return nil, err
		}
		k.more = k.more || moreRows
		k.states = p.states.changed()
		b = k.sections(b)
	}
	if k.more {
		b = append(b, `"more":1,`...)
	}
	now := time.Now()
	b = fmt.Appendf(b, `"version":"%s","clock":%d,"ns":%d}`, p.dialect().announced(), now.Unix(), now.Nanosecond())
	k.body = b
	return k, nil
}

func (k *packet) sections(b []byte) []byte {
	if len(k.values) > 0 {
		b = append(b, `"history data":[`...)
		for i, r := range k.values {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, `{"id":`...)
			b = strconv.AppendUint(b, r.ID, 10)
			b = append(b, ',')
			b = append(b, r.Body...)
		}
		b = append(b, "],"...)
	}
	for _, of := range []struct {
		section section
		name    string
	}{{discovery, "discovery data"}, {registration, "auto registration"}, {results, "tasks"}} {
		begin := len(b)
		for _, r := range k.rows {
			if len(r.Body) > 1 && section(r.Body[0]) == of.section {
				b = append(b, ","...)
				b = append(b, r.Body[1:]...)
			}
		}
		if len(b) > begin {
			rows := string(b[begin+1:])
			b = fmt.Appendf(b[:begin], `"%s":[%s],`, of.name, rows)
		}
	}
	if len(k.states) > 0 {
		if rows, err := json.Marshal(k.states); err == nil { // plain structs: it cannot fail
			b = fmt.Appendf(b, `"interface availability":%s,`, rows)
		}
	}
	return b
}

// delivered takes out of the queues what the server has.
func (p *proxy) delivered(k *packet) error {
	var errs []error
	if n := len(k.values); n > 0 {
		errs = append(errs, p.values.Done(k.values[n-1].ID))
	}
	if n := len(k.rows); n > 0 {
		errs = append(errs, p.rows.Done(k.rows[n-1].ID))
	}
	p.states.delivered(k.states)
	p.mu.Lock()
	p.refused = 0
	p.mu.Unlock()
	return errors.Join(errs...)
}

// rowsAtOnce is how many rows a packet takes: after refusals one, so that one
// bad row does not hold the others up for ever.
func (p *proxy) rowsAtOnce() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refused >= refusalsMost {
		return 1
	}
	return 1000
}

const refusalsMost = 3

// suspect notes that the server refused a packet. A row that is refused alone,
// again and again, is dropped: it would be refused for ever. Values are not:
// servers refuse none, so it is the proxy itself that they refuse.
func (p *proxy) suspect(k *packet, why refusal) error {
	p.mu.Lock()
	p.refused++
	again := p.refused > refusalsMost
	p.mu.Unlock()
	if again && len(k.rows) == 1 && strings.HasPrefix(why.info, "cannot ") {
		p.Log.Warn("a row that the Zabbix server refuses is dropped", "err", why)
		return errors.Join(why, p.rows.Done(k.rows[0].ID))
	}
	return why
}

// put queues a row for a section.
func (p *proxy) put(s section, row any) {
	body, err := json.Marshal(row)
	if err == nil {
		err = p.rows.Append(append([]byte{byte(s)}, body...))
	}
	if err != nil {
		p.Log.Error("a row for the Zabbix server is lost", "err", err)
	}
}

// quote is a text as JSON. What a server would cut or throw away is replaced
// before: NUL, and what is no UTF-8.
func quote(s string) []byte {
	s = strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "?")
	b, err := json.Marshal(s)
	if err != nil { // no string does that
		return []byte(`""`)
	}
	return b
}

// value is what an item had at a time.
type value struct {
	at     time.Time
	text   string
	failed bool // text says why the item is not supported
	none   bool // there was a value, but preprocessing discarded it
}

// appendValue appends an entry of history data without its opening brace and
// id, which the queue knows.
func appendValue(b []byte, it *item, v value) []byte {
	b = append(b, `"itemid":`...)
	b = strconv.AppendUint(b, it.id, 10)
	b = append(b, `,"clock":`...)
	b = strconv.AppendInt(b, v.at.Unix(), 10)
	b = append(b, `,"ns":`...)
	b = strconv.AppendInt(b, int64(v.at.Nanosecond()), 10)
	if v.failed {
		b = append(b, `,"state":1`...)
	}
	if !v.none {
		b = append(b, `,"value":`...)
		b = append(b, quote(v.text)...)
	}
	return append(b, '}')
}
