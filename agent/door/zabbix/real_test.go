package zabbix

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestActiveProxy has a real server configure the proxy, and looks up in its
// database what comes of every kind of item.
func TestActiveProxy(t *testing.T) {
	needServer(t)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/404" {
			w.WriteHeader(http.StatusNotFound)
		}
		fmt.Fprint(w, `{"value": 12.5, "name": "ünï", "list": [1, 2, 3]}`)
	}))
	defer web.Close()
	webPort := web.Listener.Addr().(*net.TCPAddr).Port

	l := newLab(5, 0, 10050)
	l.b.WriteString("INSERT INTO hostmacro (hostmacroid, hostid, macro, value) VALUES (901, 10002, '{$PORT}', '" + fmt.Sprint(webPort) + "');\n")
	const simple, agent, http, dependent, trapper = typeSimple, typeAgent, typeHTTP, typeDependent, typeTrapper
	want := []struct {
		item  int
		table string
		value string // "%" is a pattern of SQL's LIKE
	}{
		{l.item(simple, "icmpping[,2,20]", "1s", valueUnsigned), "history_uint", "1"},
		{l.item(simple, "icmppingloss[127.0.0.1,2,20]", "1s", valueFloat), "history", "0"},
		{l.item(simple, "icmppingsec[127.0.0.1,2,20,,,max]", "1s", valueFloat), "history", "0.00%"},
		{l.item(simple, "net.tcp.service[tcp,{HOST.CONN},{$PORT}]", "1s", valueUnsigned), "history_uint", "1"},
		{l.item(simple, "net.tcp.service[tcp,,1]", "0;s/1", valueUnsigned), "history_uint", "0"},
		{l.item(agent, "agent.ping", "1s", valueUnsigned), "history_uint", "1"},
		{l.item(agent, "agent.version", "1h;1s/1-7,00:00-24:00", valueChar), "history_str", "0.2.0"},
		{l.item(agent, "vm.memory.size[total]", "1s", valueUnsigned), "history_uint", "%000%"},
		{l.item(agent, "web.page.regexp[127.0.0.1,/,{$PORT},\"value.: ([0-9.]+)\",,\\1]", "1s", valueFloat), "history", "12.5"},
	}
	want[7].value = "%" // whatever it is
	raw := l.item(http, "http.raw", "1s", valueText, "url="+web.URL)
	l.step(raw, 1, stepTrim, " ")
	part := l.item(dependent, "http.part", "0", valueFloat, fmt.Sprint("master_itemid=", raw))
	l.step(part, 1, stepJSONPath, "$.value")
	l.step(part, 2, stepMultiplier, "2")
	missing := l.item(http, "http.404", "1s", valueText, "url="+web.URL+"/404")
	l.item(trapper, "trap", "0", valueUnsigned)
	trapped := l.itemid
	bogus := l.item(simple, "net.tcp.service[bogus]", "1s", valueUnsigned)
	script := l.item(21, "js", "1s", valueUnsigned)
	javascript := l.item(agent, "agent.ping[]", "1s", valueUnsigned)
	l.step(javascript, 1, 21, "return value")
	l.b.WriteString(`
INSERT INTO drules (druleid, proxy_hostid, name, iprange, delay, status) VALUES (50, 10001, 'scan', '127.0.0.1', '1h', 0);
INSERT INTO dchecks (dcheckid, druleid, type, ports) VALUES (51, 50, 8, '` + fmt.Sprint(webPort) + `');
`)
	s := startServer(t, l.b.String())
	c := s.active()
	c.Listen = fmt.Sprintf("127.0.0.1:%d", freePort(t))
	running(t, c, t.TempDir())

	for _, w := range want {
		s.has(fmt.Sprintf("SELECT count(*) > 0 FROM %s WHERE itemid = %d AND value::text LIKE '%s'", w.table, w.item, w.value), "t")
	}
	s.has(fmt.Sprintf("SELECT value FROM history_text WHERE itemid = %d LIMIT 1", raw), `{"value": 12.5, "name": "ünï", "list": [1, 2, 3]}`)
	s.has(fmt.Sprintf("SELECT value FROM history WHERE itemid = %d LIMIT 1", part), "25")
	s.has(fmt.Sprintf("SELECT count(*) FROM (SELECT 1 FROM history h JOIN history_text r ON r.clock = h.clock AND r.ns = h.ns WHERE h.itemid = %d AND r.itemid = %d LIMIT 1) x", part, raw), "1")
	for item, reason := range map[int]string{
		missing:    `Response code "404" did not match any of the required status codes "200"`,
		bogus:      "Invalid first parameter.",
		script:     "item type 21 is not supported by this proxy",
		javascript: "preprocessing step of type 21 is not supported by this proxy",
	} {
		s.has(fmt.Sprintf("SELECT state, error FROM item_rtdata WHERE itemid = %d", item), "1|"+reason)
	}
	s.has("SELECT available FROM interface WHERE interfaceid = 101", "1")
	s.has("SELECT count(*) FROM dservices WHERE dcheckid = 51 AND status = 0", "1")

	port := c.Listen[strings.LastIndex(c.Listen, ":")+1:]
	out, err := exec.Command("zabbix_sender", "-z", "127.0.0.1", "-p", port, "-s", "lab", "-k", "trap", "-o", "42").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "processed: 1; failed: 0; total: 1") {
		t.Errorf("zabbix_sender: %v, %s", err, out)
	}
	s.has(fmt.Sprintf("SELECT value FROM history_uint WHERE itemid = %d", trapped), "42")

	s.sql(`INSERT INTO task (taskid, type, status, clock, ttl, proxy_hostid) VALUES (7, 2, 1, extract(epoch from now()), 600, 10001);
INSERT INTO task_remote_command (taskid, command_type, execute_on, port, authtype, username, password, publickey, privatekey, command, parent_taskid, hostid)
VALUES (7, 0, 2, 0, 0, '', '', '', '', 'id', 7, 10002);`)
	s.has("SELECT status, info FROM task_remote_command_result", "-1|Remote commands are not enabled")
}

// TestOutage has the server stop under load: every value arrives, once, and
// with the time at which it was taken.
func TestOutage(t *testing.T) {
	needServer(t)
	l := newLab(5, 0, 10050)
	const items = 20
	for i := range items {
		l.item(typeAgent, fmt.Sprintf("agent.ping[%d]", i), "1s", valueUnsigned)
	}
	s := startServer(t, l.b.String())
	dir := t.TempDir()
	stop := running(t, s.active(), dir)
	s.has("SELECT count(*) > 60 FROM history_uint", "t")
	s.stopZabbix()
	time.Sleep(4 * time.Second) // values that the server misses
	stop()                      // and those that the proxy keeps from before its restart
	running(t, s.active(), dir)
	s.startZabbix()
	before := time.Now().Unix()
	s.has(fmt.Sprintf("SELECT count(*) > %d FROM history_uint WHERE clock >= %d", 2*items, before), "t")
	got := s.sql("SELECT min(n), max(n) FROM (SELECT itemid, count(*) AS n FROM history_uint GROUP BY itemid, clock) x")
	if got != "1|1" {
		t.Errorf("values of one second of an item: got %s, want 1|1", got)
	}
	// Every item has a value in every second, but for that of the restart.
	got = s.sql(fmt.Sprintf("SELECT coalesce(max(missing), 0) FROM (SELECT itemid, max(clock) - min(clock) + 1 - count(*) AS missing FROM history_uint WHERE clock < %d GROUP BY itemid) x", before))
	if got != "0" && got != "1" {
		t.Errorf("seconds without a value: got %s, want 1 at most", got)
	}
}
