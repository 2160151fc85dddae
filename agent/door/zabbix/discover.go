package zabbix

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"
)

// rule is a rule of network discovery.
type rule struct {
	id     uint64
	ranges string
	delay  string
	checks []check
}

// check is what a rule looks for on each address.
type check struct {
	id    uint64
	kind  int
	key   string
	ports string
}

// found is a row of discovery data. Without a check it ends those of an address.
type found struct {
	Clock  int64   `json:"clock"`
	Rule   uint64  `json:"drule"`
	Check  *uint64 `json:"dcheck"`
	IP     string  `json:"ip"`
	DNS    string  `json:"dns"`
	Port   int     `json:"port,omitempty"`
	Value  string  `json:"value,omitempty"`
	Status int     `json:"status,omitempty"` // 1 is down
}

const (
	addressesMost = 65536 // of a rule
	portsMost     = 1024  // of a check
	scansMost     = 64    // addresses at the same time
)

func buildRules(t tables) []rule {
	var rules []rule
	for _, r := range t.rows("drules") {
		one := rule{id: r.id("druleid"), ranges: r.text("iprange"), delay: r.text("delay")}
		for _, c := range t.rows("dchecks") {
			if c.id("druleid") == one.id {
				one.checks = append(one.checks, check{c.id("dcheckid"), c.number("type"), c.text("key_"), c.text("ports")})
			}
		}
		rules = append(rules, one)
	}
	return rules
}

// discover runs the rules of the configuration, one after the other, each some
// time after it ended, until ctx ends.
func (p *proxy) discover(ctx context.Context) {
	due := make(map[uint64]time.Time)
	for {
		s := p.snapshot()
		for _, r := range s.rules {
			if at, ok := due[r.id]; ok && time.Now().Before(at) {
				continue
			}
			every, err := seconds(s.expand(r.delay, &item{host: &host{}}))
			if err != nil || every < time.Second {
				p.Log.Warn("discovery", "rule", r.id, "err", errInterval)
				every = time.Hour
			} else if err := p.scan(ctx, r); err != nil && ctx.Err() == nil {
				p.Log.Warn("discovery", "rule", r.id, "err", err)
			}
			due[r.id] = time.Now().Add(every)
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return
		}
	}
}

// scan looks at every address of a rule.
func (p *proxy) scan(ctx context.Context, r rule) error {
	addrs, err := parseRanges(r.ranges)
	if err != nil {
		return err
	}
	var running sync.WaitGroup
	defer running.Wait()
	places := make(chan struct{}, scansMost)
	for addr := range addrs {
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		running.Go(func() {
			defer func() { <-places }()
			p.look(ctx, r, addr)
		})
	}
	return nil
}

// look checks one address, and queues what it finds all together.
func (p *proxy) look(ctx context.Context, r rule, addr netip.Addr) {
	var rows []found
	up := false
	name := ""
	if names, err := (&net.Resolver{}).LookupAddr(ctx, addr.String()); err == nil && len(names) > 0 {
		name = strings.TrimSuffix(names[0], ".")
	}
	for _, c := range r.checks {
		ports, err := parsePorts(c.ports)
		if err != nil {
			p.Log.Warn("discovery", "rule", r.id, "err", err)
			continue
		}
		for _, port := range ports {
			text, ok := p.check(ctx, c, addr, port)
			up = up || ok
			rows = append(rows, found{time.Now().Unix(), r.id, &c.id, addr.String(), name, port, text, status(ok)})
		}
	}
	if ctx.Err() != nil {
		return
	}
	for _, row := range append(rows, found{Clock: time.Now().Unix(), Rule: r.id, IP: addr.String(), DNS: name, Status: status(up)}) {
		p.put(discovery, row)
	}
}

func status(up bool) int {
	if up {
		return 0
	}
	return 1
}

// check does one check of an address.
func (p *proxy) check(ctx context.Context, c check, addr netip.Addr, port int) (string, bool) {
	// As the server's database numbers them (dchecks.type).
	services := map[int]string{0: "ssh", 1: "ldap", 2: "smtp", 3: "ftp", 4: "http", 5: "pop", 6: "nntp", 7: "imap", 8: "tcp", 14: "https", 15: "telnet"}
	switch name, known := services[c.kind]; {
	case known:
		text, err := service(ctx, key{"net.tcp.service", []string{name, addr.String(), strconv.Itoa(port)}}, "")
		return "", err == nil && text == "1"
	case c.kind == 9:
		text, err := askAgent(ctx, &hostInterface{useIP: true, ip: addr.String(), port: strconv.Itoa(port)}, c.key)
		return text, err == nil
	case c.kind == 12:
		r, err := p.pinged(ctx, ping{target: addr.String(), count: 3, size: 56, interval: time.Second, timeout: 500 * time.Millisecond})
		return "", err == nil && r.Receive > 0
	}
	return "", false // SNMP
}

// parseRanges reads 192.168.1.1-255,10.0.0.0/24,2001:db8::/120.
func parseRanges(s string) (iter.Seq[netip.Addr], error) {
	type span struct {
		first netip.Addr
		n     int
	}
	var spans []span
	total := 0
	for _, part := range strings.Split(s, ",") {
		part = strings.TrimSpace(part)
		first, n, err := parseRange(part)
		if err != nil {
			return nil, err
		}
		if total += n; total > addressesMost {
			return nil, fmt.Errorf("IP range %q has more than %d addresses", s, addressesMost)
		}
		spans = append(spans, span{first, n})
	}
	return func(yield func(netip.Addr) bool) {
		for _, s := range spans {
			for addr, i := s.first, 0; i < s.n && addr.IsValid(); addr, i = addr.Next(), i+1 {
				if !yield(addr) {
					return
				}
			}
		}
	}, nil
}

// parseRange reads one address, a network, or an address whose last number goes
// up to another.
func parseRange(s string) (first netip.Addr, n int, err error) {
	bad := fmt.Errorf("%q is not an IP range", s)
	if strings.Contains(s, "/") {
		prefix, err := netip.ParsePrefix(s)
		if err != nil || prefix.Addr().BitLen()-prefix.Bits() > 16 {
			return first, 0, bad
		}
		first, n := prefix.Masked().Addr(), 1<<(prefix.Addr().BitLen()-prefix.Bits())
		if first.Is4() && n > 2 { // neither network nor broadcast
			first, n = first.Next(), n-2
		}
		return first, n, nil
	}
	from, to, ranged := strings.Cut(s, "-")
	if first, err = netip.ParseAddr(from); err != nil {
		return first, 0, bad
	}
	if !ranged {
		return first, 1, nil
	}
	base, last := 10, uint64(first.AsSlice()[len(first.AsSlice())-1])
	if first.Is6() {
		b := first.As16()
		base, last = 16, uint64(binary.BigEndian.Uint16(b[14:]))
	}
	end, err := strconv.ParseUint(to, base, 16)
	if err != nil || end < last || first.Is4() && end > 255 {
		return first, 0, bad
	}
	return first, int(end - last + 1), nil
}

// parsePorts reads 22,80,1000-1010.
func parsePorts(s string) (ports []int, err error) {
	for _, part := range strings.Split(s, ",") {
		from, to, err := span(strings.TrimSpace(part), 0, 65535)
		if err != nil || to-from >= portsMost || len(ports) >= portsMost {
			return nil, fmt.Errorf("%q is not a list of up to %d ports", s, portsMost)
		}
		for n := from; n <= to; n++ {
			ports = append(ports, n)
		}
	}
	return ports, nil
}
