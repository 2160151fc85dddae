package basicagent_test

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/natrix-os/natrix/agent/door/basicagent/wire"
	"github.com/natrix-os/natrix/agent/execute"
)

// full is a policy that allows everything.
var full = execute.Policy{Level: execute.Full, AllowRoot: true}

// needRoot skips a test that switches users, unless NATRIX_MUST lists net, for
// which root is needed as well.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if strings.Contains(os.Getenv("NATRIX_MUST"), "net") {
		t.Fatal("NATRIX_MUST wants this as root")
	}
	t.Skip("switches users: needs root")
}

// commander is a terminal that runs commands under a policy.
func commander(t *testing.T, p execute.Policy) *terminal {
	t.Helper()
	needRoot(t)
	if testing.Short() {
		t.Skip("starts processes as other users: not with -short")
	}
	l := newLab(t)
	return l.join(l.withPolicy(l.door(), p))
}

func Test11Exit(t *testing.T) {
	x := commander(t, full)
	for _, test := range []struct {
		script       string
		exit, signal int
		output       string
	}{
		{"cd /usr; ls -d bin", 0, 0, "bin\n"},
		{"exit 7", 7, 0, ""},
		{"kill -9 $$", 137, 9, ""},
		{"for i in 1 2; do echo $i; done | tr 12 ab", 0, 0, "a\nb\n"},
		{"echo out; echo err >&2", 0, 0, "out\nerr\n"},
	} {
		a := x.bash(test.script, "")
		if a.Resp != "success" || a.Retcode != test.exit || a.Signal != test.signal || a.text() != test.output {
			t.Errorf("%s: got %s, want exit %d, signal %d, %q", test.script, a.raw, test.exit, test.signal, test.output)
		}
	}
	a := x.bash("echo out; echo err >&2", `,"split":true`)
	if a.text() != "out\n" || a.Stderr != "err\n" {
		t.Errorf("split: got %s", a.raw)
	}
}

func Test12Timeout(t *testing.T) {
	x := commander(t, full)
	for _, bad := range []string{"0", "-1", `"10"`, "1.5", "1e9", "3601", "[]"} {
		x.code(wire.InvalidParams, `"method":"sync.bash","cmd":"true","timeout":%s`, bad)
	}
	x.code(0, `"method":"sync.bash","cmd":"true","timeout":1`)
	x.code(0, `"method":"sync.bash","cmd":"true"`)
}

func Test13Command(t *testing.T) {
	x := commander(t, full)
	x.code(wire.MissingParams, `"method":"sync.bash"`)
	x.code(wire.InvalidParams, `"method":"sync.bash","cmd":""`)
	x.code(wire.InvalidParams, `"method":"sync.bash","cmd":"ls\u0000"`)
	x.code(wire.InvalidParams, `"method":"sync.bash","cmd":"%s"`, strings.Repeat("x", 32<<10+1))
	x.code(wire.InvalidParams, `"method":"sync.bash","cmd":7`)
	x.code(wire.SyntaxError, `"method":"sync.bash","cmd":"echo 'open"`)
}

func Test14User(t *testing.T) {
	x := commander(t, full)
	a := x.bash("id -u; id -G; cat /etc/shadow", `,"user":"nobody"`)
	if !strings.HasPrefix(a.text(), "65534\n65534\n") || a.Retcode == 0 || strings.Contains(a.text(), "root:") {
		t.Errorf("got %s", a.raw)
	}
	x.code(wire.NoSuchUser, `"method":"sync.bash","cmd":"true","user":"nosuchuser"`)
	x.code(wire.NoSuchGroup, `"method":"sync.bash","cmd":"true","user":"nobody","group":"nosuchgroup"`)
}

// marked are the processes that hold a word in their command line.
func marked(word string) (found []string) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		if body, err := os.ReadFile(file); err == nil && strings.Contains(string(body), word) {
			found = append(found, strings.ReplaceAll(string(body), "\x00", " "))
		}
	}
	return found
}

func Test15NothingIsLeft(t *testing.T) {
	x := commander(t, full)
	var all sync.WaitGroup
	for _, test := range []struct{ name, script string }{
		{"71001", "sleep 71001 & sleep 71001"},
		{"71002", "setsid sleep 71002 & setsid sleep 71002"},
		{"71003", "nohup sleep 71003 & nohup sleep 71003"},
		{"71004", "(sleep 71004 & sleep 71004 &) ; sleep 71004"},
		{"71005", `/bin/sh -c "trap '' INT TERM; sleep 71005; sleep 71005"`},
		{"71006", `/bin/sh -c "(setsid sleep 71006 &)"; sleep 71006`},
	} {
		all.Go(func() {
			a := x.bash(test.script, `,"timeout":1`)
			if a.Retcode != int(wire.Timeout) || a.Duration == nil || *a.Duration > 4000 && !loaded(*a.Duration) {
				t.Errorf("%s: got %s", test.script, a.raw)
			}
			wait(t, test.script+" to be gone", func() bool { return len(marked(test.name)) == 0 })
		})
	}
	all.Wait()
}

// loaded tells a machine with too much to do, by an answer that is late but
// far from what a command that was not ended would take.
func loaded(ms int64) bool { return ms < 30_000 }

func Test16Output(t *testing.T) {
	x := commander(t, full)
	a := x.bash("head -c 10485760 /dev/zero | tr '\\0' x", "")
	if len(a.text()) != 65536 || !a.Truncated || a.Bytes == nil || *a.Bytes != 10<<20 {
		t.Errorf("got %d bytes kept, truncated %v, of %v, want 65536, true, 10485760", len(a.text()), a.Truncated, a.Bytes)
	}
	a = x.bash(`printf '\377\376'`, "")
	if a.Encoding != "base64" || a.text() != base64.StdEncoding.EncodeToString([]byte{0xff, 0xfe}) {
		t.Errorf("binary: got %s", a.raw)
	}
	if a = x.bash("printf '🐍 蛇'", ""); a.text() != "🐍 蛇" {
		t.Errorf("text: got %s", a.raw)
	}
}

func Test17BackgroundHoldsOutput(t *testing.T) {
	x := commander(t, full)
	a := x.bash("sleep 71007 & echo done; sleep 0.2", "")
	if a.text() != "done\n" || a.Retcode != 0 || a.Duration == nil || *a.Duration > 20_000 {
		t.Errorf("got %s", a.raw)
	}
	wait(t, "the background process to be gone", func() bool { return len(marked("71007")) == 0 })
}

func Test18Surroundings(t *testing.T) {
	x := commander(t, full)
	t.Setenv("NATRIX_TEST_SECRET", "leaked")
	a := x.bash("env | sort; pwd; d=$(mktemp -d); touch $d/f; stat -c 0%a $d/f; rm -r $d; readlink /proc/self/fd/0; ls /proc/self/fd | tr '\\n' ' '; cat /proc/self/status | grep -e NoNewPrivs -e Groups", `,"user":"nobody"`)
	got := a.text()
	for _, want := range []string{"PATH=/usr/local/sbin:", "HOME=", "USER=nobody\n", "LANG=C.UTF-8\n", "TZ=UTC\n", "\n/\n", "0600\n", "/dev/null\n", "\n0 1 2 3 ", "NoNewPrivs:\t1"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "SECRET") || strings.Contains(got, "4 5") {
		t.Errorf("something of the agent is there:\n%s", got)
	}
}

func Test20TooMany(t *testing.T) {
	x := commander(t, full)
	var all sync.WaitGroup
	var mu sync.Mutex
	refused, finished := 0, 0
	gate := filepath.Join(t.TempDir(), "gate")
	for range 13 {
		all.Go(func() {
			a := x.bash("while [ ! -e "+gate+" ]; do sleep 0.05; done", "")
			mu.Lock()
			defer mu.Unlock()
			if a.Retcode == int(wire.TooManyCommands) {
				refused++
				os.WriteFile(gate, nil, 0o600)
			} else if a.Retcode == 0 {
				finished++
			}
		})
	}
	all.Wait()
	if refused != 1 || finished != 12 {
		t.Errorf("got %d refused and %d finished, want 1 and 12", refused, finished)
	}
}

// state asks for the state of a task.
func (x *terminal) state(task string) string {
	return x.ask(`"method":"async.status","task":%q`, task).State
}

func Test21Async(t *testing.T) {
	x := commander(t, full)
	start := func(script, more string) string {
		t.Helper()
		text, _ := json.Marshal(script)
		a := x.ask(`"method":"async.bash","cmd":%s%s`, text, more)
		if a.Retcode != 0 || a.Task == "" || a.State != "ready" {
			t.Fatalf("%s: got %s", script, a.raw)
		}
		return a.Task
	}
	gate := filepath.Join(t.TempDir(), "gate")
	good := start("while [ ! -e "+gate+" ]; do sleep 0.05; done; printf 0123456789", "")
	wait(t, "running", func() bool { return x.state(good) == "running" })
	x.code(wire.InvalidParams, `"method":"async.result","task":%q`, good)
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wait(t, "success", func() bool { return x.state(good) == "success" })
	var slice struct {
		Output string
		Next   int
		EOF    bool
	}
	a := x.ask(`"method":"async.result","task":%q,"offset":4,"limit":3`, good)
	if json.Unmarshal(a.Data, &slice); slice.Output != "456" || slice.EOF || slice.Next != 7 {
		t.Errorf("slice: got %s", a.raw)
	}
	a = x.ask(`"method":"async.result","task":%q,"offset":7`, good)
	if json.Unmarshal(a.Data, &slice); slice.Output != "789" || !slice.EOF {
		t.Errorf("last slice: got %s", a.raw)
	}
	long := start("sleep 71008", "")
	wait(t, "running", func() bool { return x.state(long) == "running" })
	x.code(0, `"method":"async.cancel","task":%q`, long)
	wait(t, "revoked", func() bool { return x.state(long) == "revoked" })
	late := start("sleep 71009", `,"timeout":1`)
	wait(t, "timeout", func() bool { return x.state(late) == "timeout" })
	bad := start("exit 3", "")
	wait(t, "failed", func() bool { return x.state(bad) == "failed" })
	x.code(0, `"method":"async.remove","task":%q`, bad)
	x.code(wire.NoSuchTask, `"method":"async.status","task":%q`, bad)
	x.code(wire.NoSuchTask, `"method":"async.status","task":"../../etc/passwd"`)
	if got := x.state("1790000000-1"); got != "lost" && got != "" {
		t.Errorf("a task of an earlier start: got %q", got)
	}
}

func Test26PolicyOff(t *testing.T) {
	l := newLab(t)
	d := l.withPolicy(l.door(), execute.Policy{Level: execute.Off})
	before := marked("natrix-executor")
	x := l.join(d)
	for _, method := range []string{"sync.bash", "async.bash", "cron.set"} {
		x.code(wire.Denied, `"method":%q,"cmd":"ls","name":"x","schedule":"* * * * * ?"`, method)
	}
	x.code(0, `"method":"getinfo.kernel"`)
	if d.Shell != nil {
		t.Error("there is an executor")
	}
	if after := marked("natrix-executor"); len(after) > len(before) {
		t.Errorf("got executors %q, want %q", after, before)
	}
	tasks, _ := filepath.Glob("/proc/self/task/*/children")
	for _, file := range tasks {
		if children, err := os.ReadFile(file); err == nil && len(children) > 0 {
			t.Errorf("this process has children: %s", children)
		}
	}
}
