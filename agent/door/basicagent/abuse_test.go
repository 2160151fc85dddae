package basicagent_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/natrix-os/natrix/agent/door/basicagent/wire"
	"github.com/natrix-os/natrix/agent/execute"
)

func TestAbuse05SignedRequests(t *testing.T) {
	l := newLab(t)
	needRoot(t)
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	d := l.withPolicy(l.door(), full)
	d.Config.Operators = map[string][]byte{"alice": public}
	x := l.join(d)
	x.code(wire.BadSignature, `"method":"sync.bash","cmd":"true"`)
	signed := func(host, id string, expires time.Time) string {
		payload := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, `{"id":%q,"method":"sync.bash","cmd":"echo ran","expires":%d}`, id, expires.Unix()))
		sig := ed25519.Sign(private, []byte("BA1\n"+host+"\n"+payload))
		return fmt.Sprintf(`"method":"signed","payload":%q,"key":"alice","sig":%q`, payload, base64.StdEncoding.EncodeToString(sig))
	}
	soon := time.Now().Add(time.Minute)
	good := signed(d.Config.ID, "p1", soon)
	if a := x.ask("%s", good); a.text() != "ran\n" {
		t.Errorf("signed: got %s", a.raw)
	}
	x.code(wire.InProgress, "%s", good) // replayed in another wrapping
	x.code(wire.BadSignature, "%s", signed("another terminal", "p2", soon))
	x.code(wire.Expired, "%s", signed(d.Config.ID, "p3", time.Now().Add(-time.Minute)))
	x.code(wire.InvalidParams, "%s", signed(d.Config.ID, "p4", time.Now().Add(100*24*time.Hour)))
	x.code(wire.Expired, `"method":"agent.ping","expires":1`)
}

func TestAbuse06OnlyListedCommands(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	// A program that leaves a trace when it is run.
	forbidden := filepath.Join(dir, "forbidden")
	trace := filepath.Join(dir, "trace")
	if err := os.WriteFile(forbidden, []byte("#!/bin/sh\ntouch "+trace+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	x := commander(t, execute.Policy{Level: execute.Shell, Commands: []string{"echo", "ls", "cat"}})
	for _, script := range []string{
		"ls; " + forbidden, "echo $(" + forbidden + ")", "echo `" + forbidden + "`", "ls\n" + forbidden, "ls | " + forbidden,
		"cat <(" + forbidden + ")", "cat <<E\n$(" + forbidden + ")\nE\n", "eval " + forbidden, "source " + forbidden, "exec " + forbidden,
		"PATH=" + dir + " forbidden", "PATH=" + dir + "; ls() { " + forbidden + "; }; ls", "command " + forbidden, "builtin exec " + forbidden,
		"x=" + forbidden + "; $x", "LD_PRELOAD=" + forbidden + " ls", "trap " + forbidden + " EXIT", "alias ls=" + forbidden + "; ls",
		"/bin/sh -c " + forbidden, "cd " + dir + "; ./forbidden", "touch " + trace, "echo x > " + trace, "echo x >> " + trace, "> " + trace,
		"coproc " + forbidden, "time " + forbidden, "! " + forbidden, forbidden + " &\nwait",
	} {
		a := x.bash(script, "")
		if _, err := os.Stat(trace); err == nil {
			t.Errorf("%q: it left its trace: %s", script, a.raw)
			os.Remove(trace)
		}
	}
	if a := x.bash("ls -d / | cat; echo good", ""); a.text() != "/\ngood\n" {
		t.Errorf("listed: got %s", a.raw)
	}
}

func TestAbuse07Templates(t *testing.T) {
	x := commander(t, execute.Policy{Level: execute.List, Templates: map[string]string{
		"say": "echo {word:word} {count:int:1-10} {who:host}", "plain": "echo 'a b' $HOME",
	}})
	if a := x.bash("say word=x count=3 who=www.example.com", ""); a.text() != "x 3 www.example.com\n" {
		t.Errorf("got %s", a.raw)
	}
	if a := x.bash("plain", ""); a.text() != "a b $HOME\n" {
		t.Errorf("got %s", a.raw)
	}
	for script, want := range map[string]wire.Code{
		"say word=--checkpoint-action=exec count=3 who=a": wire.InvalidParams, "say word=$(id) count=3 who=a": wire.InvalidParams,
		"say word=x count=11 who=a": wire.InvalidParams, "say word=x count=-1 who=a": wire.InvalidParams, "say word=x count=3 who=-f": wire.InvalidParams,
		"say word=x count=3": wire.MissingParams, "say word=x count=3 who=a more=b": wire.InvalidParams, "say word=x word=y count=3 who=a": wire.InvalidParams,
		"ls": wire.Denied, "echo hello": wire.Denied, "plain; ls": wire.Denied,
	} {
		text, _ := json.Marshal(script)
		x.code(want, `"method":"sync.bash","cmd":%s`, text)
	}
}

func TestAbuse08UserNames(t *testing.T) {
	x := commander(t, execute.Policy{Level: execute.Full})
	for _, name := range []string{`"root "`, `"0"`, `"-1"`, `"4294967295"`, `"../x"`, `"nobody\u0000root"`, `7`, `""`, `["root"]`} {
		a := x.ask(`"method":"sync.bash","cmd":"id -u","user":%s`, name)
		if a.Retcode != int(wire.InvalidParams) && a.Retcode != int(wire.NoSuchUser) {
			t.Errorf("%s: got %s", name, a.raw)
		}
	}
	x.code(wire.Denied, `"method":"sync.bash","cmd":"id -u","user":"root"`)
	x.code(wire.Denied, `"method":"sync.bash","cmd":"id -u","user":"nobody","group":"root"`)
	x.code(wire.Denied, `"method":"sync.bash","cmd":"id -u"`)
}

func TestAbuse09Greed(t *testing.T) {
	x := commander(t, execute.Policy{Level: execute.Full})
	for name, script := range map[string]string{
		"yes":        "yes",
		"loop":       "while :; do :; done",
		"sleep":      "sleep 1e9",
		"fork bomb":  "/bin/sh -c 'b() { b | b & }; b; sleep 5'",
		"disk":       "f=$(mktemp); head -c 200000000 /dev/zero > $f; stat -c %s $f; rm -f $f; sleep 5",
		"background": "for i in 1 2 3 4 5 6 7 8 9; do sleep 71010 & done; wait",
	} {
		a := x.bash(script, `,"user":"nobody","timeout":1`)
		if a.Retcode != int(wire.Timeout) && a.Retcode != int(wire.ResourceLimit) && a.Signal == 0 && a.Retcode == 0 && name != "background" {
			t.Errorf("%s: got %.300s", name, a.raw)
		}
		if name == "disk" && strings.Contains(a.text(), "200000000") {
			t.Errorf("disk: the file grew to 200 MB: %s", a.raw)
		}
		x.code(0, `"method":"getinfo.kernel"`)
		wait(t, name+" to be gone for the user's limit too", func() bool { return x.bash("/bin/true && /bin/true | /bin/true", `,"user":"nobody"`).Retcode == 0 })
	}
	wait(t, "all to be gone", func() bool { return len(marked("71010")) == 0 })
}

func TestAbuse13FakeAnswers(t *testing.T) {
	x := commander(t, full)
	fake := `{"id":"other","resp":"success"}`
	a := x.bash("printf '\\n%s\\n' '"+fake+"'", "")
	if a.text() != "\n"+fake+"\n" || strings.Count(a.raw, "\n") > 1 {
		t.Errorf("got %s", a.raw)
	}
}

func TestAbuse15Secrets(t *testing.T) {
	p := full
	p.Audit = filepath.Join(t.TempDir(), "audit.log")
	x := commander(t, p)
	gate := filepath.Join(t.TempDir(), "gate")
	done := make(chan answer, 1)
	go func() {
		done <- x.bash("while [ ! -e "+gate+" ]; do sleep 0.05; done; : password=hunter71011 https://u:hunter71011@example.com", "")
	}()
	wait(t, "the audit", func() bool { body, _ := os.ReadFile(p.Audit); return len(body) > 0 })
	if shown := marked("hunter71011"); len(shown) > 0 {
		t.Errorf("ps shows %q", shown)
	}
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	<-done
	body, err := os.ReadFile(p.Audit)
	if err != nil || strings.Contains(string(body), "hunter71011") || strings.Count(string(body), "\n") != 2 {
		t.Errorf("got %v\n%s\nwant two lines without the password", err, body)
	}
	for _, want := range []string{`"event":"asked"`, `"event":"ended"`, `"exit":0`, `"sha256":"`, `"uid":0`, `"session":"`, `"server":"`} {
		if !strings.Contains(string(body), want) {
			t.Errorf("no %s in\n%s", want, body)
		}
	}
}

func TestAbuse17And18OfTheAgent(t *testing.T) {
	dir := t.TempDir()
	p := execute.Policy{Level: execute.Full, Audit: filepath.Join(dir, "audit", "commands.log")}
	x := commander(t, p)
	me := os.Getpid()
	script := fmt.Sprintf("kill -9 %d && echo BAD; cat /proc/%d/mem && echo BAD; ls /proc/%d/fd && echo BAD; echo x >> %s && echo BAD; grep -c . /proc/self/status >/dev/null; grep NoNewPrivs /proc/self/status", me, me, me, p.Audit)
	var a answer
	wait(t, "the user to have processes left", func() bool {
		a = x.bash(script, `,"user":"nobody"`)
		return !strings.Contains(a.text(), "temporarily unavailable")
	})
	if strings.Contains(a.text(), "BAD") || !strings.Contains(a.text(), "NoNewPrivs:\t1") {
		t.Errorf("got %s", a.raw)
	}
}

func TestAbuse19TamperedTable(t *testing.T) {
	l := newLab(t)
	needRoot(t)
	d := l.withPolicy(l.door(), full)
	x := l.join(d)
	x.code(wire.Denied, `"method":"cron.set","name":"x","schedule":"* * * * * ?","cmd":"true"`) // a right of its own

	kept := l.enrolled(l.withPolicy(l.door(), full))
	kept.Config.AllowPeriodic = true
	l.write(kept.Config, "periodic.json", `{"entries":[{"name":"evil","schedule":"* * * * * ?","cmd":"true","timeout":1}],"signature":"AAAA"}`)
	kept = l.withPolicy(kept, full)
	kept.Config.Addresses = d.Config.Addresses
	y := l.join(kept)
	if a := y.ask(`"method":"cron.list"`); string(a.Data) != "[]" {
		t.Errorf("got %s, want no entries", a.raw)
	}
}

func TestAbuse24FullDisk(t *testing.T) {
	p := full
	p.Audit = "/dev/full"
	x := commander(t, p)
	file := filepath.Join(t.TempDir(), "ran")
	x.code(wire.ResourceLimit, `"method":"sync.bash","cmd":"touch %s"`, file)
	if _, err := os.Stat(file); err == nil {
		t.Error("it ran, and is not written down")
	}
	x.code(0, `"method":"getinfo.kernel"`)
}
