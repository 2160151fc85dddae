package basicagent

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/google/shlex"
	"github.com/google/uuid"
	"github.com/natrix-os/natrix/agent/command"
	"github.com/natrix-os/natrix/agent/door/basicagent/wire"
	"github.com/natrix-os/natrix/agent/execute"
	"github.com/natrix-os/natrix/sysinfo"
)

// request is one with where it came from.
type request struct {
	wire.Request
	session, server string
}

// collectors are the subjects of getinfo.
var collectors = []string{"agent", "clock", "disk", "host", "kernel", "memory", "net", "temperature", "users"}

// method is what answers to a name, nil if nothing does; running says that it
// leads to a command of the shell.
func (d *Door) method(name string) (run func(context.Context, request) (wire.Answer, error), running bool) {
	switch name {
	case "sync.bash":
		return d.syncBash, true
	case "async.bash":
		return d.asyncBash, true
	case "cron.set":
		return d.cronSet, true
	case "async.status":
		return d.asyncStatus, false
	case "async.list":
		return d.asyncList, false
	case "async.result":
		return d.asyncResult, false
	case "async.cancel":
		return d.asyncCancel, false
	case "async.remove":
		return d.asyncRemove, false
	case "cron.list":
		return d.cronList, false
	case "cron.remove":
		return d.cronRemove, false
	case "natrix.run":
		return d.natrixRun, false
	case "agent.ping":
		return func(context.Context, request) (wire.Answer, error) { return wire.Success("pong"), nil }, false
	case "agent.version":
		return func(context.Context, request) (wire.Answer, error) {
			return wire.Success(map[string]any{"version": d.Version, "proto": wire.Proto}), nil
		}, false
	case "agent.methods":
		return func(context.Context, request) (wire.Answer, error) { return wire.Success(methodNames()), nil }, false
	case "agent.policy":
		return d.agentPolicy, false
	}
	subject, found := strings.CutPrefix(name, "getinfo.")
	if !found {
		subject, found = strings.CutPrefix(name, "info.")
	}
	if found && slices.Contains(collectors, subject) {
		return func(ctx context.Context, r request) (wire.Answer, error) { return d.getinfo(ctx, subject, r) }, false
	}
	return nil, false
}

func methodNames() []string {
	names := []string{
		"agent.methods", "agent.ping", "agent.policy", "agent.version",
		"async.bash", "async.cancel", "async.list", "async.remove", "async.result", "async.status",
		"cron.list", "cron.remove", "cron.set", "natrix.run", "sync.bash",
	}
	for _, subject := range collectors {
		names = append(names, "getinfo."+subject)
	}
	slices.Sort(names)
	return names
}

// features are the parts of BA/1 that this terminal has and init tells of.
func (d *Door) features() []string {
	f := []string{"getinfo", "natrix"}
	if d.Shell != nil {
		f = append(f, "bash", "async")
	}
	if d.Config.AllowPeriodic {
		f = append(f, "cron")
	}
	return f
}

// do runs a method, and never fails: what went wrong is in the answer.
func (d *Door) do(ctx context.Context, r request) (a wire.Answer) {
	defer func() {
		if p := recover(); p != nil {
			d.Log.Error("a method panicked", "cmd", r.Method, "err", p, "stack", string(debug.Stack()))
			a = wire.Failed(wire.Fail(wire.CollectorFailed, "an error of the terminal's own"))
		}
	}()
	a, err := d.dispatch(ctx, r)
	if err != nil {
		f := wire.AsFailure(err)
		a.Resp, a.Retcode, a.Message, a.Detail = "failed", int(f.Code), f.Code.String(), f.Detail
	} else if d.Config.SuccessRetcode >= 0 {
		a.Retcode = d.Config.SuccessRetcode
	}
	return a
}

func (d *Door) dispatch(ctx context.Context, r request) (wire.Answer, error) {
	signed := r.Method == "signed"
	if signed {
		var err error
		if r.Request, err = d.verify(r.Request); err != nil {
			return wire.Answer{}, err
		}
	}
	if r.Expires > 0 && time.Now().Unix() > r.Expires && d.clockSet() {
		return wire.Answer{}, wire.Fail(wire.Expired, "at %v", time.Unix(r.Expires, 0).UTC())
	}
	run, running := d.method(r.Method)
	if run == nil {
		return wire.Answer{}, wire.Fail(wire.UnknownMethod, "%.80q", r.Method)
	}
	if running {
		if err := d.mayRun(r, signed); err != nil {
			return wire.Answer{}, err
		}
	}
	return run(ctx, r)
}

// clockSet reports whether something keeps the clock right.
func (d *Door) clockSet() bool {
	c, err := (sysinfo.Machine{}).Clock()
	return err != nil || c.Synchronised || time.Now().After(d.files().floor())
}

// mayRun says whether a request for a command may go any further.
func (d *Door) mayRun(r request, signed bool) error {
	switch {
	case d.Shell == nil:
		return wire.Fail(wire.Denied, "policy %s", d.Config.Policy)
	case len(d.Config.Operators) > 0 && !signed:
		return wire.Fail(wire.BadSignature, "commands must be signed here")
	case r.Method == "cron.set" && !d.Config.AllowPeriodic:
		return wire.Fail(wire.Denied, "allow_periodic is off")
	case !d.bucket.take(time.Now()):
		return wire.Fail(wire.TooManyRequests, "%d a minute", commandsAMinute)
	}
	return nil
}

// verify opens a signed request: an operator's Ed25519 signature over this
// terminal's id and the request, which has an id of its own and must expire.
func (d *Door) verify(r wire.Request) (wire.Request, error) {
	var fields [3]string
	for i, name := range []string{"payload", "key", "sig"} {
		var err error
		if fields[i], _, err = r.Text(name); err != nil {
			return r, err
		}
	}
	key := d.Config.Operators[fields[1]]
	sig, err := base64.StdEncoding.DecodeString(fields[2])
	if len(key) != ed25519.PublicKeySize || err != nil ||
		!ed25519.Verify(key, []byte("BA1\n"+d.Config.ID+"\n"+fields[0]), sig) {
		return r, wire.Fail(wire.BadSignature, "")
	}
	body, err := base64.StdEncoding.DecodeString(fields[0])
	if err != nil {
		return r, wire.Fail(wire.Malformed, "payload: %v", err)
	}
	inner, err := wire.ParseRequest(body)
	if err != nil {
		return r, err
	}
	if inner.Method == "signed" || inner.Expires == 0 || inner.Expires > time.Now().Add(rememberedFor).Unix() {
		return r, wire.Fail(wire.InvalidParams, "the payload must expire within %v", rememberedFor)
	}
	// The payload's id is the one that counts: a server may wrap it anew.
	if stored, err := d.answers.begin("signed "+inner.ID, time.Now()); err != nil || stored != nil {
		return r, wire.Fail(wire.InProgress, "it was run before")
	}
	d.answers.end("signed "+inner.ID, wire.Answer{})
	return inner, nil
}

func (d *Door) agentPolicy(context.Context, request) (wire.Answer, error) {
	c := d.Config
	templates := []string{}
	for name := range c.Templates {
		templates = append(templates, name)
	}
	slices.Sort(templates)
	return wire.Success(map[string]any{
		"policy": c.Policy, "commands": append([]string{}, c.Commands...), "templates": templates, "allow_root": c.AllowRoot,
		"allow_periodic": c.AllowPeriodic, "require_signature": len(c.Operators) > 0,
	}), nil
}

// getinfo asks a collector. Its arguments are a line, or a list of words.
func (d *Door) getinfo(ctx context.Context, subject string, r request) (wire.Answer, error) {
	args, err := words(r.Args["args"])
	if err != nil {
		return wire.Answer{}, err
	}
	data, err := d.Collect(ctx, subject, args)
	return wire.Success(data), err
}

func words(raw json.RawMessage) ([]string, error) {
	if raw == nil || string(raw) == "null" {
		return nil, nil
	}
	var line string
	var list []string
	if json.Unmarshal(raw, &list) == nil {
		return list, nil
	}
	if err := json.Unmarshal(raw, &line); err != nil {
		return nil, wire.Fail(wire.InvalidParams, "args is neither a string nor a list of strings")
	}
	list, err := shlex.Split(line)
	if err != nil {
		return nil, wire.Fail(wire.InvalidParams, "args: %v", err)
	}
	return list, nil
}

// natrixRun runs a command of natrix, as it is typed, and answers with its
// result document.
func (d *Door) natrixRun(ctx context.Context, r request) (wire.Answer, error) {
	list, err := words(r.Args["cmd"])
	if err != nil {
		return wire.Answer{}, err
	}
	if len(list) == 0 {
		return wire.Answer{}, wire.Fail(wire.MissingParams, "cmd, such as ping 192.0.2.1 --count 3")
	}
	cmd, err := d.Core.Parse(list)
	if err != nil {
		return wire.Answer{}, wire.Fail(wire.InvalidParams, "%v", err)
	}
	result := d.Core.Execute(ctx, cmd)
	d.Log.Info("done", "cmd", cmd.Name, "id", r.ID, "dst", cmd.Target(), "err", result.Err)
	return wire.Success(json.RawMessage(command.Encode(result))), nil
}

// bash reads the arguments of a command.
func bash(r request, longest int64) (execute.Request, error) {
	x := execute.Request{ID: r.ID, Session: r.session, Server: r.server, Method: r.Method, Keep: wire.OutputKept}
	var given bool
	var err error
	if x.Text, given, err = r.Text("cmd"); err != nil {
		return x, err
	}
	if !given {
		return x, wire.Fail(wire.MissingParams, "cmd")
	}
	if strings.TrimSpace(x.Text) == "" || len(x.Text) > 32<<10 || strings.ContainsRune(x.Text, 0) {
		return x, wire.Fail(wire.InvalidParams, "cmd is empty, longer than 32 KiB, or has a NUL in it")
	}
	seconds, err := r.Whole("timeout", 120, 1, longest)
	if err != nil {
		return x, err
	}
	x.Timeout = time.Duration(seconds) * time.Second
	for name, to := range map[string]*string{"user": &x.User, "group": &x.Group} {
		if *to, given, err = r.Text(name); err != nil {
			return x, err
		}
		if given && *to == "" {
			return x, wire.Fail(wire.InvalidParams, "%s is empty", name)
		}
	}
	x.Split, err = r.Truth("split")
	return x, err
}

func (d *Door) syncBash(ctx context.Context, r request) (wire.Answer, error) {
	x, err := bash(r, 3600)
	if err != nil {
		return wire.Answer{}, err
	}
	result, err := d.Shell.Run(ctx, x)
	d.Log.Info("done", "cmd", r.Method, "id", r.ID, "err", err)
	if err != nil {
		return wire.Answer{}, err
	}
	return outcome(result)
}

// outcome is the answer that a command's end makes.
func outcome(r execute.Result) (wire.Answer, error) {
	text, encoding := wire.Text(r.Output)
	ms := r.Took.Milliseconds()
	a := wire.Success(text)
	a.Encoding, a.Truncated, a.Bytes, a.Duration = encoding, r.Truncated, &r.Bytes, &ms
	a.Stderr, a.StderrEncoding = wire.Text(r.Stderr)
	if r.Code != 0 {
		return a, wire.Fail(wire.Code(r.Code), "%s", r.Detail)
	}
	a.Retcode, a.ExitCode, a.Signal = r.Exit, &r.Exit, r.Signal
	if r.Signal != 0 {
		a.Message = fmt.Sprintf("Terminated by signal %d", r.Signal)
	}
	return a, nil
}

// prepare gets the door ready for its first session.
func (d *Door) prepare() error {
	if d.Config.ID == "" {
		return errors.New("the terminal has no id: set id under [BASICAGENT] to a UUID")
	}
	if _, err := uuid.Parse(d.Config.ID); err != nil {
		return fmt.Errorf("the terminal's id: %w", err)
	}
	if d.Timing == (Timing{}) {
		d.Timing = DefaultTiming()
	}
	d.hands = make(chan struct{}, atOnce)
	return d.table.load(d)
}
