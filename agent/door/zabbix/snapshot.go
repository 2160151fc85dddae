package zabbix

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Types of items, of values and of interfaces, as the server's database has them.
const (
	typeAgent     = 0
	typeTrapper   = 2
	typeSimple    = 3
	typeInternal  = 5
	typeActive    = 7
	typeDependent = 18
	typeHTTP      = 19

	valueFloat    = 0
	valueChar     = 1
	valueLog      = 2
	valueUnsigned = 3
	valueText     = 4

	interfaceAgent = 1
)

// snapshot is one configuration, ready to be run. It does not change.
type snapshot struct {
	items      map[uint64]*item
	hosts      map[uint64]*host
	interfaces map[uint64]*hostInterface
	byKey      map[string]*item // trappers and those who take traps, by "host\x00key"
	rules      []rule
	macros     macros
}

type host struct {
	id         uint64
	host, name string
}

type hostInterface struct {
	id, host uint64
	kind     int
	main     bool
	useIP    bool
	ip, dns  string
	port     string
}

// conn is the address to connect to.
func (i *hostInterface) conn() string {
	if i.useIP {
		return i.ip
	}
	return i.dns
}

// item is one item with its macros expanded.
type item struct {
	id      uint64
	kind    int
	value   int
	host    *host
	iface   *hostInterface // nil if it has none
	keyText string
	key     key
	delay   delay
	master  uint64
	steps   []step
	row     row    // for what only some kinds have
	invalid string // why it cannot be polled; "" if it can
	digest  string // of all that it is made of, to tell what has changed
}

// polled says whether the item is asked for at times of its own.
func (i *item) polled() bool {
	switch i.kind {
	case typeTrapper, typeActive, typeDependent:
		return false
	}
	return true
}

// seed spreads the times of items. Pings of one host go out together.
func (i *item) seed() uint64 {
	if i.iface != nil && strings.HasPrefix(i.key.name, "icmpping") {
		return i.iface.id
	}
	return i.id
}

// step is one step of preprocessing.
type step struct {
	order       int
	kind        int
	params      []string
	onError     int
	onErrorText string
}

// build makes a configuration of tables. A row that refers to what is missing
// is left out, and told of.
func build(t tables) (*snapshot, []error) {
	s := &snapshot{
		items:      make(map[uint64]*item),
		hosts:      make(map[uint64]*host),
		interfaces: make(map[uint64]*hostInterface),
		byKey:      make(map[string]*item),
		macros:     newMacros(t),
	}
	var problems []error
	for _, r := range t.rows("hosts") {
		if r.number("status") == 0 && r.id("hostid") != 0 {
			s.hosts[r.id("hostid")] = &host{r.id("hostid"), r.text("host"), r.text("name")}
		}
	}
	for _, r := range t.rows("interface") {
		i := &hostInterface{r.id("interfaceid"), r.id("hostid"), r.number("type"), r.number("main") == 1, r.number("useip") == 1, r.text("ip"), r.text("dns"), r.text("port")}
		h := s.hosts[i.host]
		if h == nil {
			continue // of a host that is not monitored
		}
		of := &item{host: h, iface: i}
		i.ip, i.dns, i.port = s.expand(i.ip, of), s.expand(i.dns, of), s.expand(i.port, of)
		s.interfaces[i.id] = i
	}
	steps := stepsOf(t)
	for _, r := range t.rows("items") {
		if r.number("status") != 0 || r.number("flags") == 2 {
			continue
		}
		if err := s.add(r, steps[r.id("itemid")]); err != nil {
			problems = append(problems, err)
		}
	}
	for _, it := range s.items {
		if it.kind == typeDependent && s.items[it.master] == nil {
			problems = append(problems, fmt.Errorf("item %d depends on item %d, which is missing", it.id, it.master))
			delete(s.items, it.id)
		}
	}
	s.rules = buildRules(t)
	return s, problems
}

func stepsOf(t tables) map[uint64][]step {
	all := make(map[uint64][]step)
	for _, r := range t.rows("item_preproc") {
		id := r.id("itemid")
		all[id] = append(all[id], step{r.number("step"), r.number("type"), strings.Split(r.text("params"), "\n"), r.number("error_handler"), r.text("error_handler_params")})
	}
	for _, steps := range all {
		slices.SortStableFunc(steps, func(a, b step) int { return a.order - b.order })
	}
	return all
}

func (s *snapshot) add(r row, steps []step) error {
	it := &item{
		id: r.id("itemid"), kind: r.number("type"), value: r.number("value_type"), host: s.hosts[r.id("hostid")],
		iface: s.interfaces[r.id("interfaceid")], master: r.id("master_itemid"), row: r, keyText: r.text("key_"),
	}
	switch {
	case it.id == 0:
		return fmt.Errorf("an item without an id")
	case it.host == nil && r.id("hostid") == 0:
		return fmt.Errorf("item %d has no host", it.id)
	case it.host == nil:
		return nil // its host is not monitored
	case r.id("interfaceid") != 0 && it.iface == nil:
		return fmt.Errorf("item %d refers to interface %d, which is missing", it.id, r.id("interfaceid"))
	}
	for _, st := range steps {
		st.params = slices.Clone(st.params)
		for i := range st.params {
			st.params[i] = s.expand(st.params[i], it)
		}
		st.onErrorText = s.expand(st.onErrorText, it)
		it.steps = append(it.steps, st)
	}
	s.prepare(it)
	s.items[it.id] = it
	if it.kind == typeTrapper || it.kind == typeHTTP && r.number("allow_traps") == 1 {
		s.byKey[it.host.host+"\x00"+r.text("key_")] = it
	}
	return nil
}

// prepare expands an item's key and interval.
func (s *snapshot) prepare(it *item) {
	k, err := parseKey(it.keyText)
	if err != nil {
		it.invalid = err.Error()
		return
	}
	for i, p := range k.params {
		k.params[i] = s.expand(p, it)
		if strings.Contains(k.params[i], "{$") {
			it.invalid = fmt.Sprintf("Cannot resolve user macros in item key %q.", it.keyText)
		}
	}
	it.key, it.keyText = k, k.String()
	if it.polled() {
		interval := s.expand(it.row.text("delay"), it)
		if it.delay, err = parseDelay(interval); err != nil && it.invalid == "" {
			it.invalid = fmt.Sprintf("Invalid update interval %q.", interval)
		}
	}
	var where string
	if it.iface != nil {
		where = it.iface.conn() + " " + it.iface.port
	}
	it.digest = fmt.Sprintf("%v %v %v %v %v", it.kind, it.keyText, where, it.row.cells, it.steps)
}

// mainInterface is the one that host macros mean: that of the agent, if there
// is one.
func (s *snapshot) mainInterface(host uint64) *hostInterface {
	var best *hostInterface
	for _, i := range s.interfaces {
		if i.host == host && i.main && (best == nil || i.kind < best.kind) {
			best = i
		}
	}
	return best
}

func formatID(id uint64) string { return strconv.FormatUint(id, 10) }
