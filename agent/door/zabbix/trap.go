package zabbix

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// trapped is what zabbix_sender and active agents send.
type trapped struct {
	Data []struct {
		Host  string      `json:"host"`
		Key   string      `json:"key"`
		Value string      `json:"value"`
		Clock json.Number `json:"clock"`
		NS    json.Number `json:"ns"`
		State int         `json:"state"`
	} `json:"data"`
	Clock json.Number `json:"clock"`
}

// trap takes values that others measured.
func (c *call) trap(body []byte) error {
	began := time.Now()
	var t trapped
	if err := json.Unmarshal(body, &t); err != nil {
		return fmt.Errorf("read values: %w", err)
	}
	s := c.snapshot()
	var bodies [][]byte
	processed := 0
	for i, d := range t.Data {
		it := s.byKey[d.Host+"\x00"+d.Key]
		if it == nil || !it.takesFrom(c.from) {
			continue
		}
		processed++
		v := value{at: began.Add(time.Duration(i)), text: d.Value, failed: d.State == 1}
		if clock, err := d.Clock.Int64(); err == nil && clock > 0 {
			ns, err := d.NS.Int64()
			if err != nil || ns < 0 || ns > 999999999 {
				ns = int64(i) // senders that tell no fraction tell many values of a second
			}
			v.at = time.Unix(clock, ns)
		}
		bodies = c.process.all(bodies, s, it, v)
	}
	if err := c.values.Append(bodies...); err != nil {
		return err
	}
	info := fmt.Sprintf("processed: %d; failed: %d; total: %d; seconds spent: %.6f", processed, len(t.Data)-processed, len(t.Data), time.Since(began).Seconds())
	return c.write(map[string]string{"response": "success", "info": info})
}

// takesFrom says whether an item's list of allowed hosts has an address. An
// empty list has all.
func (i *item) takesFrom(from netip.Addr) bool {
	hosts := i.row.text("trapper_hosts")
	if strings.TrimSpace(hosts) == "" {
		return true
	}
	for _, word := range strings.Split(hosts, ",") {
		word = strings.TrimSpace(word)
		if prefix, err := netip.ParsePrefix(word); err == nil && prefix.Contains(from) {
			return true
		}
		if addr, err := netip.ParseAddr(word); err == nil && addr.Unmap() == from {
			return true
		}
	}
	return false
}

// registered is an agent that nobody knows yet.
type registered struct {
	Clock    int64  `json:"clock"`
	Host     string `json:"host"`
	IP       string `json:"ip"`
	DNS      string `json:"dns"`
	Port     string `json:"port"`
	Metadata string `json:"host_metadata,omitempty"`
	TLS      int    `json:"tls_accepted"`
}

// activeChecks tells an active agent what to measure. One of a host that is not
// known is told to the server, which may add it.
func (c *call) activeChecks(body []byte) error {
	var q struct {
		Host     string      `json:"host"`
		Metadata string      `json:"host_metadata"`
		IP       string      `json:"ip"`
		Port     json.Number `json:"port"`
	}
	if err := json.Unmarshal(body, &q); err != nil {
		return fmt.Errorf("read request: %w", err)
	}
	s := c.snapshot()
	known := false
	for _, h := range s.hosts {
		known = known || h.host == q.Host
	}
	if !known {
		return c.register(q.Host, q.Metadata, q.IP, q.Port.String())
	}
	items := make([]map[string]any, 0)
	for _, it := range s.items {
		if it.kind == typeActive && it.host.host == q.Host {
			every, err := parseDelay(s.expand(it.row.text("delay"), it))
			if err == nil {
				items = append(items, map[string]any{"key": it.keyText, "itemid": it.id, "delay": int(every.simple / time.Second), "lastlogsize": 0, "mtime": 0})
			}
		}
	}
	return c.write(map[string]any{"response": "success", "data": items})
}

func (c *call) register(host, metadata, ip, port string) error {
	if port == "" {
		port = "10050"
	}
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		addr = c.from
	}
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._- "
	if host == "" || len(host) > 128 || strings.Trim(host, letters) != "" {
		return c.write(map[string]string{"response": "failed", "info": fmt.Sprintf("invalid host name %q", cut(host, 128))})
	}
	kind := 1
	if c.Config.CA != "" {
		kind = 4
	}
	c.put(registration, registered{time.Now().Unix(), host, addr.String(), "", port, cut(metadata, 255), kind})
	return c.write(map[string]string{"response": "failed", "info": fmt.Sprintf("host [%s] not found", host)})
}
