package contract

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"sync"
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
	write(t, filepath.Join(l.etc, "natrix/natrix.ini"), untargeted)
	var all sync.WaitGroup
	defer all.Wait()
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
		all.Go(func() { l.prints(t, c.name, strings.Fields(c.words)...) })
	}
	for _, wrong := range []string{"ping", "ping --nonsense www.site.test", "steal www.site.test", "http get"} {
		if _, _, code := l.natrix(t, strings.Fields(wrong)...); code != 2 {
			t.Errorf("natrix %s: code %d, want 2", wrong, code)
		}
	}
}

// prints runs the program and looks at what frames its output.
func (l *lab) prints(t *testing.T, name string, words ...string) {
	stdout, stderr, code := l.natrix(t, words...)
	left, right := 18, 24
	if name == "DNS" {
		left, right = 21, 22
	}
	header, footer := strings.Repeat("=", left)+name+" EXECUTE"+strings.Repeat("=", right), strings.Repeat("=", 54)
	lines := strings.Split(strings.TrimRight(stdout, "\n"), "\n")
	switch {
	case code != 0, len(lines) < 2, lines[0] != header, !json.Valid([]byte(lines[1])):
		t.Errorf("natrix %q: code %d\n%s%s", words, code, stdout, stderr)
	case name != "REPORT" && (len(lines) != 3 || lines[2] != footer):
		t.Errorf("natrix %q: no footer\n%s", words, stdout)
	}
}
