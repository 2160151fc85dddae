package contract

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
)

// The original's file is read as it is, and the command line takes the
// documented options and prints header, one line of JSON and footer.
func (l *lab) check29(t *testing.T) {
	const password = `50%off;#"yes"\`
	if err := l.broker.AddUser(t.Context(), "percent", password); err != nil {
		t.Fatal(err)
	}
	ini := "# a comment\n" + strings.NewReplacer("username = natrix", "; another\nUserName = percent", "password = natrix", "password = "+password).Replace(shipped) +
		"\n[COMMON]\nlog_directory = /var/log/natrixclient\nlog_level = info\n[TERMINAL]\nPOST_SLOT = 30\n[SERVICE]\nbackend = rabbitmq\nreboot = true\n"
	s := l.restarted(t, ini)
	s.ask("dns", "www.site.test", nil)
	if strings.Contains(l.agent.log.String(), "level=ERROR") || strings.Contains(l.agent.log.String(), password) {
		t.Errorf("the agent said:\n%s", l.agent.log)
	}
	write(t, filepath.Join(l.etc, "natrix/natrix.ini"), ini[:strings.Index(ini, "[NETWORK]")]) // targets that are not there take their time
	for _, c := range []struct{ name, words string }{
		{"PING", "ping -i eth0 -c 1 -t 5 -s 100 www.site.test"},
		{"PING", "ping --interface 10.0.1.1 --count 1 --timeout 5 --size 100 --dns 8.8.8.8 --udp --verbose www.site.test"},
		{"PING", "ping -c 1 missing.site.test"},
		{"TRACEROUTE", "traceroute -I -i eth0 -m 30 www.site.test"},
		{"TRACEROUTE", "traceroute --tcp --interface 10.0.1.1 --max-hops 5 --dns 8.8.8.8 www.site.test"},
		{"TRACEROUTE", "traceroute -U www.site.test"},
		{"DNS", "dns -s 8.8.8.8 -m MX -t 5 site.test"},
		{"DNS", "dns --server 8.8.8.8 --method CNAME --timeout 5 alias.site.test"},
		{"HTTP", "http -i eth0 --allow-redirects --max-redirects 3 -a basic -u guest:guest -t 10 --connect-timeout 5 --dns-cache-timeout 600 --fresh-connect -H a:b -D x --save-response-header --save-response-body put http://www.site.test/echo"},
		{"HTTP", "http get http://www.site.test/"},
		{"CHECK", "check basic"},
		{"CHECK", "check advance"},
		{"CHECK", "check system"},
		{"CHECK", "check hardware"},
		{"CHECK", "check network"},
		{"REPORT", "report basic"},
		{"REPORT", "report advance"},
	} {
		stdout, stderr, code := l.natrix(t, strings.Fields(c.words)...)
		left, right := 18, 24
		if c.name == "DNS" {
			left, right = 21, 22
		}
		want := strings.Repeat("=", left) + c.name + " EXECUTE" + strings.Repeat("=", right)
		lines := strings.Split(strings.TrimRight(stdout, "\n"), "\n")
		if code != 0 || lines[0] != want || len(lines) < 2 || !json.Valid([]byte(lines[1])) {
			t.Errorf("natrix %s: code %d\n%s%s", c.words, code, stdout, stderr)
			continue
		}
		if c.name != "REPORT" && (len(lines) != 3 || lines[2] != strings.Repeat("=", 54)) {
			t.Errorf("natrix %s: no footer\n%s", c.words, stdout)
		}
	}
	for _, wrong := range []string{"ping", "ping --nonsense www.site.test", "steal www.site.test", "http get"} {
		if _, _, code := l.natrix(t, strings.Fields(wrong)...); code != 2 {
			t.Errorf("natrix %s: code %d, want 2", wrong, code)
		}
	}
	l.halt(t)
}
