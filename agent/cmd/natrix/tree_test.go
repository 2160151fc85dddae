package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/miekg/dns"
	"github.com/natrix-os/natrix/agent/door/cli"
	"github.com/natrix-os/natrix/agent/probe"
	"github.com/natrix-os/natrix/sysinfo/netif/nettest"
	"github.com/spf13/cobra"
)

// run runs a command line and returns what it printed and its exit code.
func run(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	prober := probe.New()
	defer prober.Close()
	root := tree(prober)
	var out, errs bytes.Buffer
	root.SetArgs(args)
	root.SetOut(&out)
	root.SetErr(&errs)
	code = cli.Report(&errs, root.ExecuteContext(t.Context()))
	return out.String(), errs.String(), code
}

// commands are all that help shows, with those below them.
func commands(cmd *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{cmd}
	for _, c := range cmd.Commands() {
		if !c.Hidden && c.Name() != "help" {
			all = append(all, commands(c)...)
		}
	}
	return all
}

func TestEveryCommandHelps(t *testing.T) {
	for _, c := range commands(tree(probe.New())) {
		if c.Short == "" || !strings.Contains(c.Example, "natrix") {
			t.Errorf("%s: summary %q, examples %q", c.CommandPath(), c.Short, c.Example)
		}
	}
}

// nameServer answers every question with an address and returns where it listens.
func nameServer(t *testing.T) string {
	t.Helper()
	started := make(chan struct{})
	s := &dns.Server{Addr: "127.0.0.1:0", Net: "udp", NotifyStartedFunc: func() { close(started) }}
	s.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		a, err := dns.NewRR(q.Question[0].Name + " 60 IN A 192.0.2.1")
		if err == nil {
			m.Answer = append(m.Answer, a)
		}
		w.WriteMsg(m)
	})
	ended := make(chan error, 1)
	go func() { ended <- s.ListenAndServe() }()
	t.Cleanup(func() { s.Shutdown() })
	select {
	case <-started:
	case err := <-ended:
		t.Fatal(err)
	}
	return s.PacketConn.LocalAddr().String()
}

func TestResultsMatchTheirSchemas(t *testing.T) {
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Write([]byte(`<title>x</title><img src="a.png"><link rel=stylesheet href="b.css">`))
	}))
	defer site.Close()
	for _, test := range []struct {
		name       string
		privileged bool
		args       []string
	}{
		{"dns", false, []string{"dns", "-o", "json", "-s", nameServer(t), "www.example.com"}},
		{"dns", false, []string{"dns", "-o", "json", "-s", "127.0.0.1:1", "-t", "0.2", "www.example.com"}},
		{"http", false, []string{"http", "-o", "json", "get", site.URL}},
		{"http", false, []string{"http", "-o", "json", "get", "http://127.0.0.1:1"}},
		{"performance", false, []string{"performance", "-o", "json", site.URL}},
		{"basic", false, []string{"check", "-o", "json", "basic"}},
		{"advance", false, []string{"check", "-o", "json", "advance"}},
		{"system", false, []string{"check", "-o", "json", "system"}},
		{"hardware", false, []string{"check", "-o", "json", "hardware"}},
		{"network", false, []string{"check", "-o", "json", "network"}},
		{"ping", true, []string{"ping", "-o", "json", "-v", "-c", "2", "--interval", "0.01", "127.0.0.1"}},
		{"ping", true, []string{"ping", "-o", "json", "none.invalid"}},
		{"traceroute", true, []string{"traceroute", "-o", "json", "127.0.0.1"}},
		{"mtr", true, []string{"mtr", "-o", "json", "-c", "1", "-i", "0.1", "127.0.0.1"}},
	} {
		t.Run(strings.Join(test.args, " "), func(t *testing.T) {
			if test.privileged {
				nettest.Need(t)
			}
			text, errs, code := run(t, "schema", test.name)
			if code != 0 {
				t.Fatalf("schema: %s", errs)
			}
			var schema jsonschema.Schema
			if err := json.Unmarshal([]byte(text), &schema); err != nil {
				t.Fatal(err)
			}
			resolved, err := schema.Resolve(nil)
			if err != nil {
				t.Fatal(err)
			}
			result, errs, _ := run(t, test.args...)
			var value any
			if err := json.Unmarshal([]byte(result), &value); err != nil {
				t.Fatalf("%v in %q, %q", err, result, errs)
			}
			if test.name == "mtr" { // prints mtr's own form
				value = map[string]any{"status": 0.0, "data": value, "stamp": stamp()}
			}
			if err := resolved.Validate(value); err != nil {
				t.Errorf("%v\n%s", err, result)
			}
			damage(t, resolved, value)
		})
	}
}

func stamp() map[string]any {
	return map[string]any{"server_request_generate_time": nil, "terminal_request_receive_time": 1.0, "terminal_request_send_time": 1.0,
		"terminal_response_receive_time": 1.0, "terminal_response_return_time": 1.0}
}

// damage sees that the schema does not take anything.
func damage(t *testing.T, s *jsonschema.Resolved, value any) {
	t.Helper()
	keys, ok := value.(map[string]any)
	if !ok {
		t.Fatalf("got a %T", value)
	}
	for key, old := range keys {
		if key == "command" {
			continue
		}
		keys[key] = "damaged"
		if s.Validate(keys) == nil && old != "damaged" {
			t.Errorf("the schema takes a %s that is none", key)
		}
		keys[key] = old
	}
}

// secret is what must not be seen anywhere.
const secret = "tr0ub4dor"

// heard has standard error go to a file for the rest of the test, and returns
// a function that reads it.
func heard(t *testing.T) func() string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	was := os.Stderr
	os.Stderr = f
	t.Cleanup(func() { os.Stderr = was; f.Close() })
	return func() string {
		b, err := os.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
}

func TestNoPasswordInLogsOfCommands(t *testing.T) {
	stderr := heard(t)
	ini := filepath.Join(t.TempDir(), "natrix.ini")
	if err := os.WriteFile(ini, []byte("[RABBITMQ]\nhost = 127.0.0.1\nusername = natrix\npassword = "+secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	refuses := httptest.NewServer(http.NotFoundHandler())
	defer refuses.Close()
	withPassword := strings.Replace(refuses.URL, "://", "://natrix:"+secret+"@", 1)
	log := filepath.Join(t.TempDir(), "natrix.log")
	for _, args := range [][]string{
		{"http", "-o", "text", "-u", "natrix:" + secret, "get", refuses.URL},
		{"http", "-o", "text", "get", withPassword},
		{"http", "-o", "text", "get", strings.Replace(withPassword, "http://", "https://", 1)},
		{"http", "-o", "text", "get", "http://natrix:" + secret + "@127.0.0.1:1/"},
		{"http", "-o", "text", "get", "http://natrix:" + secret + "@127.0.0.1:port/"},
		{"performance", "-o", "text", withPassword},
		{"config", "check", ini},
		{"dispatch", "--broker", "amqp://natrix:" + secret + "@127.0.0.1:1/", "--terminal", "020000000001", "ping", "127.0.0.1"},
		{"dispatch", "--broker", "amqp://natrix:" + secret + "@127.0.0.1:port/", "--terminal", "020000000001", "ping", "127.0.0.1"},
	} {
		_, errs, _ := run(t, append([]string{"-d", "--log-file", log}, args...)...)
		if strings.Contains(errs, secret) {
			t.Errorf("%q tells the password: %s", args, errs)
		}
	}
	kept, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	for where, text := range map[string]string{"the log": string(kept), "standard error": stderr()} {
		if strings.Contains(text, secret) {
			t.Errorf("%s tells the password:\n%s", where, text)
		}
		if !strings.Contains(text, "done cmd=http dst=http://natrix:xxxxx@") {
			t.Errorf("%s does not tell of the commands:\n%s", where, text)
		}
	}
}

func TestNoPasswordInLogsOfTheAgent(t *testing.T) {
	stderr := heard(t)
	collector, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer collector.Close()
	dir := t.TempDir()
	ini := filepath.Join(dir, "natrix.ini")
	body := fmt.Sprintf("[RABBITMQ]\nhost = 127.0.0.1\nport = 1\nusername = natrix\npassword = %s\n[COMMON]\nlog_level = debug\nlog_directory = %s/log\nsyslog = udp://%v\n", secret, dir, collector.LocalAddr())
	if err := os.WriteFile(ini, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		root := tree(probe.New())
		root.SetArgs([]string{"agent", "--config", ini, "--runtime-directory", "", "--state-directory", ""})
		cli.Report(os.Stderr, root.ExecuteContext(ctx))
	}()
	sent := receive(t, collector, "no broker")
	stop()
	<-ended
	kept, err := os.ReadFile(filepath.Join(dir, "log", "rabbitmq.log"))
	if err != nil {
		t.Fatal(err)
	}
	for where, text := range map[string]string{"the log": string(kept), "syslog": sent, "standard error": stderr()} {
		if strings.Contains(text, secret) || !strings.Contains(text, "amqp://natrix:xxxxx@127.0.0.1:1/") {
			t.Errorf("%s tells the password, or not where the broker is:\n%s", where, text)
		}
	}
}

// receive reads messages until one of them says what is wanted.
func receive(t *testing.T, from net.PacketConn, want string) string {
	t.Helper()
	var all strings.Builder
	from.SetReadDeadline(time.Now().Add(time.Minute))
	for b := make([]byte, 1<<16); !strings.Contains(all.String(), want); {
		n, _, err := from.ReadFrom(b)
		if err != nil {
			t.Fatalf("%v after\n%s", err, all.String())
		}
		all.Write(append(b[:n], '\n'))
	}
	return all.String()
}
