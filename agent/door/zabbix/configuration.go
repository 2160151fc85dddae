package zabbix

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// answer is a configuration as the server gives it. 6.0 puts the tables where
// the other names are here.
type answer struct {
	Response      string          `json:"response"`
	Info          string          `json:"info"`
	Version       string          `json:"version"`
	Data          json.RawMessage `json:"data"`
	FullSync      int             `json:"full_sync"`
	Revision      uint64          `json:"config_revision"`
	DelHosts      []uint64        `json:"del_hostids"`
	DelMacroHosts []uint64        `json:"del_macro_hostids"`
	Hosts         json.RawMessage `json:"hosts"` // only to know 6.0 by
}

// refusal is a server's answer that is no success.
type refusal struct{ info string }

func (r refusal) Error() string {
	if r.info == "" {
		return "refused by the server without a reason: the name or version of the proxy may be wrong"
	}
	return "refused by the server: " + r.info
}

// accept takes a configuration that came, and says in which dialect. If there
// is an error, the configuration before stays.
func (p *proxy) accept(body []byte) (dialect, error) {
	if err := checkDepth(body); err != nil {
		return "", fmt.Errorf("read configuration: %w", err)
	}
	var a answer
	if err := json.Unmarshal(body, &a); err != nil {
		return "", fmt.Errorf("read configuration: %w", err)
	}
	switch {
	case a.Response == "failed":
		if a.Version != "" && a.Version < string(revisions) {
			return legacy, refusal{a.Info}
		}
		return "", refusal{a.Info}
	case a.Hosts != nil:
		t, err := parseTables(body)
		if err != nil {
			return "", fmt.Errorf("read configuration: %w", err)
		}
		return legacy, p.activate(t, 0, legacy)
	case a.Data == nil && a.Revision == 0:
		return revisions, nil // nothing new
	}
	change := tables{}
	if a.Data != nil {
		var err error
		if change, err = parseTables(a.Data); err != nil {
			return "", fmt.Errorf("read configuration: %w", err)
		}
	}
	if a.FullSync == 0 {
		p.mu.Lock()
		merged := maps.Clone(p.tables)
		p.mu.Unlock()
		merged.merge(change, a.DelHosts, a.DelMacroHosts)
		change = merged
	}
	return revisions, p.activate(change, a.Revision, revisions)
}

// activate runs a configuration from now on, and keeps it for the next start.
func (p *proxy) activate(t tables, revision uint64, d dialect) error {
	if err := p.run(t, revision, d); err != nil {
		return err
	}
	if err := p.save(t, d); err != nil {
		p.Log.Warn("the configuration does not survive", "err", err)
	}
	return nil
}

func (p *proxy) run(t tables, revision uint64, d dialect) error {
	if _, ok := t["hosts"]; !ok {
		return errors.New("the configuration has no hosts table: the one before stays")
	}
	s, problems := build(t)
	for i, problem := range problems {
		if i == 10 {
			p.Log.Warn("configuration", "err", fmt.Sprintf("%d more of the kind", len(problems)-i))
			break
		}
		p.Log.Warn("configuration: left out", "err", problem)
	}
	p.mu.Lock()
	changed := len(s.items) != len(p.current.items)
	p.tables, p.current, p.revision = t, s, revision
	p.mu.Unlock()
	p.speaks.Store(d)
	p.process.forget(s)
	p.states.set(s)
	p.poller.set(s)
	if changed {
		p.Log.Info("configuration", "hosts", len(s.hosts), "items", len(s.items), "dialect", d)
	}
	return nil
}

// kept is how a configuration survives the process.
type kept struct {
	Dialect dialect `json:"dialect"`
	Tables  tables  `json:"tables"`
}

// configFile holds secrets in clear, as the server sends them.
const configFile = "configuration.json"

func (p *proxy) save(t tables, d dialect) error {
	if p.Dir == "" {
		return nil
	}
	body, err := json.Marshal(kept{d, t})
	if err != nil {
		return err
	}
	path := filepath.Join(p.Dir, configFile)
	if old, err := os.ReadFile(path); err == nil && string(old) == string(body) {
		return nil // 6.0 sends everything each time
	}
	if err := renameio.WriteFile(path, body, 0o600); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return nil
}

// restore runs the last configuration of an earlier process: it may be long
// until the server sends another one.
func (p *proxy) restore() {
	if p.Dir == "" {
		return
	}
	body, err := os.ReadFile(filepath.Join(p.Dir, configFile))
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var k kept
	if err == nil {
		err = json.Unmarshal(body, &k)
	}
	if err == nil {
		err = p.run(k.Tables, 0, k.Dialect)
	}
	if err != nil {
		p.Log.Warn("the configuration of before is lost", "err", err)
	}
}
