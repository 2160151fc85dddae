package zabbix

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/natrix-os/natrix/agent/command"
	"github.com/natrix-os/natrix/agent/config"
	"github.com/natrix-os/natrix/agent/probe"
)

const (
	serverBinary = "/usr/sbin/zabbix_server"
	serverSchema = "/usr/share/zabbix-server-pgsql"
)

// server is Debian's Zabbix server with a PostgreSQL of its own: private data
// directory, socket and ports. It runs as the user postgres, for neither runs
// as root.
type server struct {
	t    testing.TB
	dir  string
	bin  string // PostgreSQL's programs
	port int    // of Zabbix, on 127.0.0.1
	who  *syscall.SysProcAttr
	run  *exec.Cmd
	done chan struct{}
}

// needServer skips the test without the packages, or fails it if NATRIX_MUST
// lists "zabbix".
func needServer(t testing.TB) {
	t.Helper()
	must := slices.Contains(strings.Split(os.Getenv("NATRIX_MUST"), ","), "zabbix")
	if testing.Short() && !must {
		t.Skip("starts a Zabbix server: not with -short")
	}
	_, err := os.Stat(serverBinary)
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		err = errors.New("no PostgreSQL")
	}
	if os.Getuid() != 0 {
		err = errors.New("only root can start it as another user")
	}
	if err != nil && must {
		t.Fatalf("zabbix-server-pgsql and postgresql are required by NATRIX_MUST: %v", err)
	}
	if err != nil {
		t.Skipf("no Zabbix server: %v", err)
	}
}

// startServer starts the database and the server, and returns once the server
// answers. setup is SQL that is run before.
func startServer(t testing.TB, setup string) *server {
	t.Helper()
	needServer(t)
	s := &server{t: t, port: freePort(t)}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	s.bin = filepath.Dir(found[len(found)-1])
	account, err := user.Lookup("postgres")
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(account.Uid)
	gid, _ := strconv.Atoi(account.Gid)
	s.who = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if s.dir, err = os.MkdirTemp("", "natrix-zabbix"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(s.dir) })
	if err := os.Chown(s.dir, uid, gid); err != nil {
		t.Fatal(err)
	}
	s.output(exec.Command(s.bin+"/initdb", "-N", "-A", "trust", "-E", "UTF8", "--locale=C", "-D", s.dir+"/db"))
	database := exec.Command(s.bin+"/postgres", "-D", s.dir+"/db", "-k", s.dir, "-c", "listen_addresses=", "-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off", "-c", "shared_buffers=32MB")
	s.start(database)
	s.eventually("the database answers", func() bool {
		cmd := exec.Command(s.bin+"/pg_isready", "-h", s.dir)
		return cmd.Run() == nil
	})
	s.sql(schema(t) + setup)
	s.startZabbix()
	return s
}

// schema is the database as Zabbix wants it, without the templates, which take
// long.
func schema(t testing.TB) string {
	var b strings.Builder
	b.WriteString("SET client_min_messages = error;\n")
	for _, name := range []string{"schema.sql.gz", "data.sql.gz"} {
		f, err := os.Open(filepath.Join(serverSchema, name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		r := bufio.NewScanner(z)
		r.Buffer(nil, 16<<20)
		for r.Scan() {
			line := r.Text()
			keep := name == "schema.sql.gz"
			for _, table := range []string{"users", "usrgrp", "role", "hstgrp", "config", "config_autoreg_tls", "dbversion", "globalmacro"} {
				keep = keep || strings.HasPrefix(strings.ToLower(line), "insert into "+table+" ") && strings.HasSuffix(line, ";")
			}
			if keep {
				b.WriteString(line + "\n")
			}
		}
	}
	return b.String()
}

func (s *server) startZabbix() {
	conf := fmt.Sprintf(`ListenPort=%d
ListenIP=127.0.0.1
DBHost=%s
DBName=postgres
DBUser=postgres
LogType=file
LogFile=%s/server.log
PidFile=%s/server.pid
SocketDir=%s
StartPollers=1
StartPollersUnreachable=1
StartTrappers=3
StartPingers=0
StartDiscoverers=0
StartHTTPPollers=0
StartDBSyncers=1
StartEscalators=1
StartPreprocessors=1
StartLLDProcessors=1
CacheUpdateFrequency=1
ProxyConfigFrequency=1
StartProxyPollers=2
`, s.port, s.dir, s.dir, s.dir, s.dir)
	path := s.dir + "/server.conf"
	if err := os.WriteFile(path, []byte(conf), 0o644); err != nil {
		s.t.Fatal(err)
	}
	s.run = exec.Command(serverBinary, "-f", "-c", path)
	s.done = s.start(s.run)
	s.eventually("the server listens", func() bool {
		c, err := net.Dial("tcp", s.address())
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

// stopZabbix ends the server as an administrator does, and waits for it.
func (s *server) stopZabbix() {
	s.run.Process.Signal(syscall.SIGTERM)
	<-s.done
}

func (s *server) address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// start starts a program of the server, killed with its children at the end.
func (s *server) start(cmd *exec.Cmd) chan struct{} {
	s.t.Helper()
	cmd.SysProcAttr, cmd.Dir = s.who, s.dir
	out, err := os.OpenFile(s.dir+"/output", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		s.t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		cmd.Wait()
		close(done)
	}()
	s.t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-done
	})
	return done
}

func (s *server) output(cmd *exec.Cmd) string {
	s.t.Helper()
	cmd.SysProcAttr, cmd.Dir = s.who, s.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
	return string(out)
}

// sql runs statements and returns what the last one selects, a line for each
// row and | between columns.
func (s *server) sql(statements string) string {
	s.t.Helper()
	cmd := exec.Command(s.bin+"/psql", "-h", s.dir, "-U", "postgres", "-qAtX", "-v", "ON_ERROR_STOP=1", "postgres")
	cmd.Stdin = strings.NewReader(statements)
	return strings.TrimSpace(s.output(cmd))
}

func (s *server) eventually(what string, is func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("not within a minute: %s\n%s", what, s.log())
		}
	}
}

// has waits until a query has the wanted answer.
func (s *server) has(query, want string) {
	s.t.Helper()
	var got string
	for deadline := time.Now().Add(25 * time.Second); got != want; time.Sleep(100 * time.Millisecond) {
		if got = s.sql(query); time.Now().After(deadline) && got != want {
			s.t.Fatalf("%s\ngot %q, want %q\n%s", query, got, want, s.log())
		}
	}
}

// log is the end of what the server's programs said.
func (s *server) log() []byte {
	var all []byte
	for _, name := range []string{"output", "server.log"} {
		b, _ := os.ReadFile(filepath.Join(s.dir, name)) // it may have said nothing
		all = append(all, b[max(0, len(b)-3000):]...)
	}
	return all
}

// freePort finds a port that Zabbix takes, which is none of those that the
// kernel gives out by itself.
func freePort(t testing.TB) int {
	t.Helper()
	for range 100 {
		port := 20000 + rand.IntN(12000)
		if l, err := net.Listen("tcp4", fmt.Sprint("127.0.0.1:", port)); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

// lab is what the tests monitor, as SQL.
type lab struct {
	b      strings.Builder
	itemid int
}

// newLab has a proxy "natrix", 5 for active and 6 for passive, and a host with
// an agent's interface.
func newLab(status int, proxyPort, agentPort int) *lab {
	l := &lab{itemid: 20000}
	fmt.Fprintf(&l.b, `
INSERT INTO hosts (hostid, host, name, status, tls_accept) VALUES (10001, 'natrix', 'natrix', %d, 1);
INSERT INTO hosts (hostid, host, name, status, proxy_hostid) VALUES (10002, 'lab', 'The lab', 0, 10001);
INSERT INTO interface (interfaceid, hostid, main, type, useip, ip, dns, port) VALUES (101, 10002, 1, 1, 1, '127.0.0.1', '', '%d');
`, status, agentPort)
	if proxyPort != 0 {
		fmt.Fprintf(&l.b, "INSERT INTO interface (interfaceid, hostid, main, type, useip, ip, dns, port) VALUES (100, 10001, 1, 0, 1, '127.0.0.1', '', '%d');\n", proxyPort)
	}
	return l
}

// item adds an item and returns its id.
func (l *lab) item(kind int, key, delay string, valueType int, more ...string) int {
	l.itemid++
	columns, values := "", ""
	for _, m := range more {
		name, v, _ := strings.Cut(m, "=")
		columns += ", " + name
		values += ", '" + strings.ReplaceAll(v, "'", "''") + "'"
	}
	fmt.Fprintf(&l.b, "INSERT INTO items (itemid, hostid, type, key_, name, delay, value_type, interfaceid, params, description, posts, headers%s) VALUES (%d, 10002, %d, '%s', 'item %d', '%s', %d, 101, '', '', '', ''%s);\nINSERT INTO item_rtdata (itemid) VALUES (%d);\n",
		columns, l.itemid, kind, key, l.itemid, delay, valueType, values, l.itemid)
	return l.itemid
}

func (l *lab) step(item, order, kind int, params string) {
	fmt.Fprintf(&l.b, "INSERT INTO item_preproc (item_preprocid, itemid, step, type, params) VALUES (%d, %d, %d, %d, '%s');\n", item*10+order, item, order, kind, params)
}

// commands are those of the terminal.
func commands(t testing.TB) command.Set {
	p := probe.New()
	t.Cleanup(func() { p.Close() })
	return command.NewSet(p.Commands()...)
}

// active is the setting of an active proxy.
func (s *server) active() config.Zabbix {
	c := config.Default().Zabbix
	c.Mode, c.Hostname, c.Servers, c.Every = "active", "natrix", []string{s.address()}, time.Second
	c.Allowed = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	return c
}

// running runs a proxy until stop is called, or the test ends.
func running(t testing.TB, c config.Zabbix, dir string) (stop func()) {
	t.Helper()
	d := Door{Config: c, Core: commands(t), Version: "0.2.0", Dir: dir, Log: slog.New(slog.NewTextHandler(testWriter{t}, nil))}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the proxy ended: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// testWriter puts the proxy's log into the test's.
type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

var _ io.Writer = testWriter{}
