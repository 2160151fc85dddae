package zabbix

import (
	"bytes"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/natrix-os/natrix/agent/config"
)

// quiet is a proxy that does not run.
func quiet(t testing.TB, dir string) *proxy {
	t.Helper()
	c := config.Default().Zabbix
	c.Mode, c.Hostname, c.Servers = "active", "natrix", []string{"127.0.0.1:1"}
	p, err := Door{Config: c, Dir: dir, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}.open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	return p
}

func payload(t testing.TB, name string) []byte {
	t.Helper()
	body, _, err := readFrame(bytes.NewReader(captured(t, name)), configLimit)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func TestAcceptLegacy(t *testing.T) {
	dir := t.TempDir()
	p := quiet(t, dir)
	d, err := p.accept(payload(t, "v60-active-config.s2c.bin"))
	if err != nil || d != legacy {
		t.Fatalf("got %q, %v", d, err)
	}
	s := p.snapshot()
	if len(s.hosts) != 3 || len(s.rules) != 1 || len(s.rules[0].checks) != 2 {
		t.Errorf("got %d hosts, %d rules", len(s.hosts), len(s.rules))
	}
	it := s.items[44543]
	if it == nil || it.keyText != "net.tcp.service[tcp,127.0.0.1,5672]" {
		t.Errorf("got %+v, want the key with its macros expanded", it)
	}
	if steps := s.items[44541].steps; len(steps) != 2 || steps[0].kind != stepJSONPath || steps[1].kind != stepSpeed {
		t.Errorf("steps of item 44541: %+v", steps)
	}
	again := quiet(t, dir)
	again.restore()
	if got, want := len(again.snapshot().items), len(s.items); got != want || again.dialect() != legacy {
		t.Errorf("after a restart: %d items, want %d", got, want)
	}
}

func TestAcceptRevisions(t *testing.T) {
	p := quiet(t, "")
	if d, err := p.accept(payload(t, "v70-active-config-full.s2c.bin")); err != nil || d != revisions {
		t.Fatalf("full: got %q, %v", d, err)
	}
	full := p.snapshot()
	if _, err := p.accept(payload(t, "v70-active-config-incremental.s2c.bin")); err != nil {
		t.Fatal(err)
	}
	grown := p.snapshot()
	if grown.items[50795] == nil || len(grown.items) != len(full.items)+1 || p.revision != 32 {
		t.Errorf("incremental: %d items after %d, revision %d", len(grown.items), len(full.items), p.revision)
	}
	if _, err := p.accept([]byte(`{}`)); err != nil || p.snapshot() != grown {
		t.Errorf("nothing new: %v, or the configuration changed", err)
	}
	if _, err := p.accept(payload(t, "v70-active-config-del-hosts.s2c.bin")); err != nil {
		t.Fatal(err)
	}
	if got := len(p.snapshot().hosts); got >= len(grown.hosts) {
		t.Errorf("%d hosts after one was deleted of %d", got, len(grown.hosts))
	}
}

func TestAcceptRefuses(t *testing.T) {
	p := quiet(t, "")
	if _, err := p.accept(payload(t, "v60-active-config.s2c.bin")); err != nil {
		t.Fatal(err)
	}
	before := p.snapshot()
	for _, body := range []string{
		"", "null x", `[]`, `{"hosts":1}`, `{"hosts":{"data":[[1]],"fields":["hostid"]}}`,
		`{"hosts":{"fields":["hostid"],"data":[[1,2]]}}`, `{"hosts":{"fields":["hostid"],"data":[[{}]]}}`,
		`{"hosts":{"fields":[1],"data":[]}}`, `{"response":"failed","info":"no"}`, `{"full_sync":1,"config_revision":5,"data":{}}`,
		strings.Repeat(`{"a":`, 100_000),
	} {
		if _, err := p.accept([]byte(body)); err == nil {
			t.Errorf("%.60s was taken", body)
		}
		if p.snapshot() != before {
			t.Fatalf("%.60s changed the configuration", body)
		}
	}
}

func TestMissingRowsAreLeftOut(t *testing.T) {
	s, problems := build(mustTables(t, `{"hosts":{"fields":["hostid","host","status"],"data":[[1,"h",0],[2,"off",1]]},
		"interface":{"fields":["interfaceid","hostid","port"],"data":[[5,9,"1"]]},
		"items":{"fields":["itemid","hostid","type","key_","delay","interfaceid","master_itemid"],"data":[
		[11,1,0,"good","1s",null,null],[12,1,0,"no interface","1s",77,null],[13,1,18,"no.master","0",null,99],[14,2,0,"off","1s",null,null],[15,1,0,"bad[","1s",null,null]]}}`))
	if len(problems) != 2 || len(s.items) != 2 || s.items[11] == nil || s.items[15].invalid == "" {
		t.Errorf("got %d items, problems %v", len(s.items), problems)
	}
}

func mustTables(t testing.TB, body string) tables {
	t.Helper()
	all, err := parseTables([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func FuzzConfiguration(f *testing.F) {
	f.Add(payload(f, "v60-active-config-noHosts.s2c.bin"))
	f.Add([]byte(`{"hosts":{"fields":["hostid"],"data":[[1]]},"items":{"fields":["itemid","hostid","key_","type","delay"],"data":[[1,1,"a[{$X:\"c\"}]",0,"1s;m/5"]]}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		all, err := parseTables(body)
		if err != nil {
			return
		}
		build(all)
	})
}
