package basicagent_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/natrix-os/natrix/agent/command"
	"github.com/natrix-os/natrix/agent/config"
	"github.com/natrix-os/natrix/agent/door/basicagent"
	"github.com/natrix-os/natrix/agent/door/basicagent/gateway"
	"github.com/natrix-os/natrix/agent/door/basicagent/wire"
	"github.com/natrix-os/natrix/agent/execute"
	"github.com/natrix-os/natrix/agent/getinfo"
)

// TestMain is the executor and its children, when it is started as such.
func TestMain(m *testing.M) {
	if status, ours := execute.Main(os.Args[0], nil); ours {
		os.Exit(status)
	}
	os.Exit(m.Run())
}

const serverName = "config.cargo.com"

// lab is a gateway on the loopback with its authority.
type lab struct {
	t  testing.TB
	ca *gateway.Authority
	g  *gateway.Gateway
	at netip.AddrPort
}

func newLab(t testing.TB) *lab {
	t.Helper()
	ca, err := gateway.Create(filepath.Join(t.TempDir(), "ca"), serverName)
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, ca: ca}
	l.g, l.at = l.serve("127.0.0.1:0", nil)
	return l
}

// serve opens a gateway of the lab's authority.
func (l *lab) serve(address string, redirect func(string) string) (*gateway.Gateway, netip.AddrPort) {
	l.t.Helper()
	g := &gateway.Gateway{Authority: l.ca, Log: slog.New(slog.DiscardHandler), Redirect: redirect}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		l.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Serve(ctx, listener) }()
	l.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			l.t.Errorf("gateway: %v", err)
		}
	})
	return g, netip.MustParseAddrPort(listener.Addr().String())
}

// door is a terminal with a token, at the addresses given, or the lab's gateway.
func (l *lab) door(at ...netip.AddrPort) *basicagent.Door {
	l.t.Helper()
	if len(at) == 0 {
		at = []netip.AddrPort{l.at}
	}
	c := config.Default().BasicAgent
	c.Open, c.Server, c.Name, c.Addresses = true, "127.0.0.255", serverName, at
	c.Port = 1 // nobody is there: what counts is the list
	c.ID, c.Directory = uuid.NewString(), filepath.Join(l.t.TempDir(), "terminal")
	token, err := l.ca.Token(c.ID)
	if err != nil {
		l.t.Fatal(err)
	}
	ca, err := os.ReadFile(filepath.Join(l.ca.Dir, "ca.pem"))
	if err != nil {
		l.t.Fatal(err)
	}
	if err := os.MkdirAll(c.Directory, 0o700); err != nil {
		l.t.Fatal(err)
	}
	l.write(c, "ca.pem", string(ca))
	l.write(c, "token", token)
	d := &basicagent.Door{
		Config: c, Core: command.NewSet(), Collect: getinfo.New("test").Collect,
		Version: "test", Log: slog.New(slog.DiscardHandler), Timing: basicagent.DefaultTiming(),
	}
	d.Timing.First = 10 * time.Millisecond
	return d
}

func (l *lab) write(c config.BasicAgent, name, text string) {
	l.t.Helper()
	if err := os.WriteFile(filepath.Join(c.Directory, name), []byte(text), 0o600); err != nil {
		l.t.Fatal(err)
	}
}

// withPolicy gives a terminal an executor.
func (l *lab) withPolicy(d *basicagent.Door, p execute.Policy) *basicagent.Door {
	l.t.Helper()
	if p.Audit == "" {
		p.Audit = filepath.Join(l.t.TempDir(), "audit", "commands.log")
	}
	e, err := execute.Start(p)
	if err != nil {
		l.t.Fatal(err)
	}
	if e != nil {
		d.Shell = e
		l.t.Cleanup(func() { e.Close() })
	}
	d.Config.Policy = p.Level
	return d
}

// run runs a terminal until the test ends.
func (l *lab) run(d *basicagent.Door) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	l.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			l.t.Errorf("terminal: %v", err)
		}
	})
}

// join runs a terminal, and returns when the gateway has it.
func (l *lab) join(d *basicagent.Door) *terminal {
	l.t.Helper()
	l.run(d)
	wait(l.t, "the terminal to join", func() bool {
		if !slices.Contains(l.g.Hosts(), d.Config.ID) {
			return false
		}
		// A request that overtakes the answer to init ends the connection, and the terminal joins again.
		s, err := l.g.FanOut(l.t.Context(), fmt.Appendf(nil, `{"id":"joined","hosts":[%q],"method":"agent.ping"}`, d.Config.ID))
		return err == nil && len(s.Response) == 1 && strings.Contains(string(s.Response[0]), `"pong"`)
	})
	return &terminal{l.t, l.g, d.Config.ID}
}

// wait waits for a condition.
func wait(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// terminal is one that joined.
type terminal struct {
	t  testing.TB
	g  *gateway.Gateway
	id string
}

// answer is one with its data as text.
type answer struct {
	wire.Answer
	Data json.RawMessage `json:"data"`
	raw  string
}

func (a answer) text() string {
	var s string
	json.Unmarshal(a.Data, &s) // "" for anything else
	return s
}

var requests atomic.Int64

// ask sends a request, written as the keys that follow its id.
func (x *terminal) ask(format string, args ...any) answer {
	x.t.Helper()
	return x.askAs(fmt.Sprint("request ", requests.Add(1)), format, args...)
}

func (x *terminal) askAs(id, format string, args ...any) answer {
	x.t.Helper()
	body := "{" + fmt.Sprintf(format, args...) + "}"
	var keys map[string]json.RawMessage
	if err := json.Unmarshal([]byte(body), &keys); err != nil {
		x.t.Fatalf("%s: %v", body, err)
	}
	keys["id"], _ = json.Marshal(id)
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	line, err := x.g.Ask(ctx, x.id, keys)
	if err != nil {
		x.t.Errorf("%s: %v", body, err)
		return answer{}
	}
	a := answer{raw: string(line)}
	if err := json.Unmarshal(line, &a); err != nil {
		x.t.Errorf("%s: %v", line, err)
	}
	if a.ID != id {
		x.t.Errorf("%s: got id %q, want %q", body, a.ID, id)
	}
	return a
}

// bash runs a script.
func (x *terminal) bash(script, more string) answer {
	x.t.Helper()
	text, _ := json.Marshal(script)
	return x.ask(`"method":"sync.bash","cmd":%s%s`, text, more)
}

func (x *terminal) code(want wire.Code, format string, args ...any) {
	x.t.Helper()
	if a := x.ask(format, args...); a.Retcode != int(want) || (a.Resp == "failed") != (want != 0) {
		x.t.Errorf(format+": got %s %d %s %s, want %d", append(args, a.Resp, a.Retcode, a.Message, a.Detail, int(want))...)
	}
}

func TestQueries(t *testing.T) {
	x := newLab(t)
	host := x.join(x.door())
	a := host.ask(`"method":"getinfo.kernel"`)
	if a.Resp != "success" || !strings.Contains(string(a.Data), `"sysname":"Linux"`) {
		t.Errorf("got %s", a.raw)
	}
	host.code(wire.Denied, `"method":"sync.bash","cmd":"ls"`)
}
