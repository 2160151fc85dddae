package zabbix

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// table is a table of the server's database, as far as this proxy has use for
// it. Numbers are kept as text, null is "".
type table struct {
	Fields []string   `json:"fields"`
	Data   [][]string `json:"data"`
}

// tables are those of a configuration by name.
type tables map[string]table

// The first column of a table that is listed identifies its rows' owner: see
// merge. Columns that are not listed are not kept.
func columns() map[string][]string {
	return map[string][]string{
		"hosts":           {"hostid", "host", "name", "status"},
		"interface":       {"hostid", "interfaceid", "main", "type", "useip", "ip", "dns", "port", "available"},
		"items":           {"hostid", "itemid", "type", "key_", "delay", "status", "value_type", "flags", "interfaceid", "master_itemid", "timeout", "url", "query_fields", "posts", "status_codes", "follow_redirects", "post_type", "http_proxy", "headers", "retrieve_mode", "request_method", "output_format", "verify_peer", "verify_host", "authtype", "username", "password", "trapper_hosts", "allow_traps"},
		"item_preproc":    {"itemid", "step", "type", "params", "error_handler", "error_handler_params"},
		"hostmacro":       {"hostid", "macro", "value", "type"},
		"globalmacro":     {"macro", "value", "type"},
		"hosts_templates": {"hostid", "templateid"},
		"drules":          {"druleid", "name", "iprange", "delay"},
		"dchecks":         {"druleid", "dcheckid", "type", "key_", "ports", "uniq"},
		"config":          {"timeout_simple_check", "timeout_zabbix_agent", "timeout_http_agent"},
	}
}

const (
	columnsMost = 256     // of a table; Zabbix has some 70 at most
	rowsMost    = 200_000 // of all tables
	textMost    = 1 << 20 // bytes of one value
)

// parseTables reads {"TABLE":{"fields":[...],"data":[[...],...]},...}. What it
// does not know it skips; it does not take more memory than what it keeps.
func parseTables(body []byte) (tables, error) {
	if err := checkDepth(body); err != nil {
		return nil, err
	}
	all, known, rows := tables{}, columns(), 0
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	err := object(d, func(name string) error {
		want := known[name]
		if want == nil {
			return skip(d)
		}
		t, err := parseTable(d, want, &rows)
		if err != nil {
			return fmt.Errorf("table %s: %w", name, err)
		}
		all[name] = t
		return nil
	})
	return all, err
}

// parseTable reads one table, and keeps the wanted columns that it has, in the
// order in which they are wanted.
func parseTable(d *json.Decoder, want []string, rows *int) (table, error) {
	t := table{Fields: want}
	var place []int // of each column that comes, in want; -1 for none
	err := object(d, func(part string) error {
		switch {
		case part == "fields":
			names, err := parseFields(d)
			place = places(names, want)
			return err
		case part != "data":
			return skip(d)
		case place == nil:
			return errors.New("data before fields")
		}
		return array(d, func() error {
			if *rows++; *rows > rowsMost {
				return fmt.Errorf("more than %d rows", rowsMost)
			}
			row, err := parseRow(d, place, len(want))
			t.Data = append(t.Data, row)
			return err
		})
	})
	return t, err
}

func parseFields(d *json.Decoder) (names []string, err error) {
	err = array(d, func() error {
		word, err := d.Token()
		name, ok := word.(string)
		if err == nil && (!ok || len(names) == columnsMost) {
			err = fmt.Errorf("fields: %v is not a name, or the %dth", word, columnsMost+1)
		}
		names = append(names, name)
		return err
	})
	return names, err
}

func places(names, want []string) []int {
	place := make([]int, len(names))
	for i, name := range names {
		place[i] = -1
		for j, w := range want {
			if w == name {
				place[i] = j
			}
		}
	}
	return place
}

func parseRow(d *json.Decoder, place []int, width int) ([]string, error) {
	row := make([]string, width)
	n := 0
	err := array(d, func() error {
		word, err := d.Token()
		if err != nil {
			return err
		}
		if n == len(place) {
			return fmt.Errorf("a row has more than the %d columns of fields", n)
		}
		text, err := cell(word)
		if err == nil && place[n] >= 0 {
			row[place[n]] = text
		}
		n++
		return err
	})
	if err == nil && n < len(place) {
		err = fmt.Errorf("a row has %d columns, fields has %d", n, len(place))
	}
	return row, err
}

func cell(word json.Token) (string, error) {
	switch v := word.(type) {
	case nil:
		return "", nil
	case json.Number:
		return v.String(), nil
	case string:
		if len(v) <= textMost {
			return v, nil
		}
	}
	return "", fmt.Errorf("%.40v is not a number or a text of up to 1 MiB", word)
}

// object calls read for each key of the object that comes next.
func object(d *json.Decoder, read func(name string) error) error {
	if err := delimiter(d, '{'); err != nil {
		return err
	}
	for d.More() {
		word, err := d.Token()
		if err != nil {
			return err
		}
		if err := read(word.(string)); err != nil { // the decoder takes nothing else for a key
			return err
		}
	}
	return delimiter(d, '}')
}

// array calls read before each element of the array that comes next.
func array(d *json.Decoder, read func() error) error {
	if err := delimiter(d, '['); err != nil {
		return err
	}
	for d.More() {
		if err := read(); err != nil {
			return err
		}
	}
	return delimiter(d, ']')
}

func delimiter(d *json.Decoder, want json.Delim) error {
	word, err := d.Token()
	if err == nil && word != want {
		err = fmt.Errorf("%.40v where %v belongs", word, want)
	}
	return err
}

// skip passes over one value.
func skip(d *json.Decoder) error {
	for depth := 0; ; {
		word, err := d.Token()
		if err != nil {
			return err
		}
		switch word {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return nil
		}
	}
}

// row is one row of a table, read by the names of its columns.
type row struct {
	fields []string
	cells  []string
}

// rows are those of a table that may be missing.
func (t tables) rows(name string) []row {
	all := make([]row, 0, len(t[name].Data))
	for _, cells := range t[name].Data {
		all = append(all, row{t[name].Fields, cells})
	}
	return all
}

func (r row) text(column string) string {
	for i, f := range r.fields {
		if f == column && i < len(r.cells) {
			return r.cells[i]
		}
	}
	return ""
}

// id is a number of up to 64 bits; 0 where there is none.
func (r row) id(column string) uint64 {
	n, _ := strconv.ParseUint(r.text(column), 10, 64) // 0 is no row's id
	return n
}

func (r row) number(column string) int {
	n, _ := strconv.Atoi(r.text(column)) // an empty column is 0
	return n
}

// merge applies a change to a configuration, as servers from 6.4 on send it.
// Tables that belong to hosts replace those hosts' rows, others replace the
// whole table.
func (t tables) merge(change tables, delHosts, delMacroHosts []uint64) {
	touched := make(map[string]bool)
	for _, r := range change.rows("hosts") {
		touched[r.text("hostid")] = true
	}
	for _, id := range delHosts {
		touched[strconv.FormatUint(id, 10)] = true
	}
	macros := make(map[string]bool)
	for _, name := range []string{"hostmacro", "hosts_templates"} {
		for _, r := range change.rows(name) {
			macros[r.text("hostid")] = true
		}
	}
	for _, id := range delMacroHosts {
		macros[strconv.FormatUint(id, 10)] = true
		if id == 0 {
			delete(t, "globalmacro")
		}
	}
	gone := make(map[string]bool)
	for _, r := range t.rows("items") {
		if touched[r.text("hostid")] {
			gone[r.text("itemid")] = true
		}
	}
	for name, c := range change {
		switch name {
		case "hosts", "interface", "items", "item_preproc", "hostmacro", "hosts_templates":
		default:
			t[name] = c
		}
	}
	for name, owners := range map[string]map[string]bool{"hosts": touched, "interface": touched, "items": touched, "item_preproc": gone, "hostmacro": macros, "hosts_templates": macros} {
		kept := table{Fields: columns()[name]}
		for _, cells := range t[name].Data {
			if !owners[cells[0]] {
				kept.Data = append(kept.Data, cells)
			}
		}
		kept.Data = append(kept.Data, change[name].Data...)
		t[name] = kept
	}
}
