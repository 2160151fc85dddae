package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/google/shlex"
	"github.com/natrix-os/natrix/agent"
	"github.com/natrix-os/natrix/agent/config"
	"github.com/natrix-os/natrix/agent/door/basicagent/wire"
	"github.com/natrix-os/natrix/agent/execute"
	"github.com/natrix-os/natrix/agent/getinfo"
	"github.com/natrix-os/natrix/agent/sandbox"
	"github.com/spf13/pflag"
	"kernel.org/pub/linux/libs/security/libcap/cap"
)

// confine takes from the executor what running commands does not need: what is
// left is to become the command's user, and to end its processes. Where the
// policy is full, commands may do what their user may, and so it keeps all.
func confine(p execute.Policy) error {
	if p.Level == execute.Full {
		return nil
	}
	return sandbox.Enter(sandbox.Policy{
		Capabilities: []cap.Value{cap.SETUID, cap.SETGID, cap.KILL},
		Writable:     []string{above(p.Audit), "/sys/fs/cgroup", os.TempDir()},
	})
}

// ownDirectory is where the door writes, made if it can be.
func ownDirectory(c config.BasicAgent) string {
	if !c.Open {
		return ""
	}
	if os.MkdirAll(c.Directory, 0o700) != nil {
		return "" // the door says so when it writes
	}
	return c.Directory
}

// basicAgentCtl answers one query of BasicAgent, without a daemon: the data as
// JSON. It runs no commands: who may run this binary with more rights than his
// own must not get a shell by it.
func basicAgentCtl(ctx context.Context, args []string, out, problems io.Writer) int {
	flags := pflag.NewFlagSet("BasicAgentCtl", pflag.ContinueOnError)
	flags.SetOutput(problems)
	method := flags.StringP("command", "c", "", "what to ask: getinfo.kernel, getinfo.users, ...")
	line := flags.StringP("arguments", "a", "", "arguments of it, such as \"-U root\"")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return 0
		}
		fmt.Fprintln(problems, "BasicAgentCtl:", err)
		return 2
	}
	subject, ok := strings.CutPrefix(*method, "getinfo.")
	if !ok {
		subject, ok = strings.CutPrefix(*method, "info.")
	}
	list, err := shlex.Split(*line)
	if !ok || subject == "" || flags.NArg() > 0 || err != nil {
		fmt.Fprintln(problems, "BasicAgentCtl: want -c getinfo.SUBJECT, and -a ARGUMENTS in one word")
		return 2
	}
	data, err := getinfo.New(agent.Version).Collect(ctx, subject, list)
	if err != nil {
		f := wire.AsFailure(err)
		json.NewEncoder(problems).Encode(map[string]any{"retcode": f.Code, "message": f.Code.String(), "detail": f.Detail})
		if f.Code == wire.UnknownMethod || f.Code == wire.InvalidParams {
			return 2
		}
		return 1
	}
	if err := json.NewEncoder(out).Encode(data); err != nil {
		return 1
	}
	return 0
}
