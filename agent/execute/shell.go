package execute

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"
	"mvdan.cc/sh/moreinterp/coreutils"
	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

// cannotExit is the status of a shell that could not begin.
const cannotExit = 253

// shell is this process as the child that interprets a script: it runs as the
// command's user from its first instruction.
func shell() int {
	unix.Umask(0o077)
	lifeline := os.NewFile(4, "lifeline")
	go func() {
		lifeline.Read(make([]byte, 1)) // nothing ever comes: its end is the executor's
		unix.Kill(0, unix.SIGKILL)     // the process group, this process included
	}()
	if err := limit(); err != nil {
		fmt.Fprintln(os.Stderr, "limits:", err)
		return cannotExit
	}
	var s script
	f := os.NewFile(3, "script")
	err := json.NewDecoder(f).Decode(&s)
	f.Close()
	if err != nil {
		fmt.Fprintln(os.Stderr, "script:", err)
		return cannotExit
	}
	return s.interpret(context.Background())
}

// limit bounds this process and what it starts, and keeps all of them from more
// rights than the user has (setrlimit(2), PR_SET_NO_NEW_PRIVS of prctl(2)).
func limit() error {
	if _, _, errno := psx.Syscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno != 0 {
		return os.NewSyscallError("prctl", errno)
	}
	for _, l := range []struct {
		what int
		most uint64
	}{
		{unix.RLIMIT_CORE, 0},
		{unix.RLIMIT_NOFILE, 256},
		{unix.RLIMIT_FSIZE, 64 << 20},
		{unix.RLIMIT_DATA, 256 << 20}, // where cgroups do not bound memory
		{unix.RLIMIT_NPROC, 256},      // threads of the user, root excepted; where they do not bound processes
	} {
		if err := unix.Setrlimit(l.what, &unix.Rlimit{Cur: l.most, Max: l.most}); err != nil {
			return err
		}
	}
	return nil
}

// interpret runs the script and returns its exit status.
func (s script) interpret(ctx context.Context) int {
	file, err := syntax.NewParser().Parse(strings.NewReader(s.Text), "")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return cannotExit
	}
	options := []interp.RunnerOption{
		interp.StdIO(nil, os.Stdout, os.Stderr),
		interp.Env(expand.ListEnviron(os.Environ()...)),
		interp.Dir("/"),
		interp.CallHandler(programs),
	}
	if s.Restricted {
		options = append(options, interp.OpenHandler(s.open), interp.ExecHandlers(s.only, coreutils.ExecHandler))
	} else {
		options = append(options, interp.ExecHandlers(coreutilsAfterPath))
	}
	runner, err := interp.New(options...)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return cannotExit
	}
	err = runner.Run(ctx, file)
	var status interp.ExitStatus
	if errors.As(err, &status) {
		return int(status)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// programs has kill be the program of that name: the interpreter knows the
// word, and cannot do it.
func programs(_ context.Context, args []string) ([]string, error) {
	if program := find("kill"); len(args) > 0 && args[0] == "kill" && program != "" {
		return append([]string{program}, args[1:]...), nil
	}
	return args, nil
}

// only starts a command that is listed, as what that name is on the fixed PATH,
// whatever the script made of its own. A name that is not there may be one of
// the interpreter's.
func (s script) only(next interp.ExecHandlerFunc) interp.ExecHandlerFunc {
	return func(ctx context.Context, args []string) error {
		name := args[0]
		if name == find("kill") {
			name = "kill" // see programs
		}
		if !slices.Contains(s.Commands, name) {
			fmt.Fprintf(interp.HandlerCtx(ctx).Stderr, "%s: not a command that this terminal lets a server run\n", args[0])
			return interp.ExitStatus(126)
		}
		if program := find(args[0]); program != "" {
			return start(ctx, program, args)
		}
		return next(ctx, args)
	}
}

// start runs a program in the environment that the shell was given: what the
// script put into its own, such as LD_PRELOAD, could make another program of it.
func start(ctx context.Context, program string, args []string) error {
	h := interp.HandlerCtx(ctx)
	cmd := exec.CommandContext(ctx, program, args[1:]...)
	cmd.Args[0] = args[0]
	cmd.Dir, cmd.Env = h.Dir, os.Environ()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = h.Stdin, h.Stdout, h.Stderr
	err := cmd.Run()
	if cmd.ProcessState != nil {
		exit, _ := outcome(cmd.ProcessState)
		return interp.ExitStatus(exit)
	}
	fmt.Fprintf(h.Stderr, "%s: %v\n", args[0], err)
	return interp.ExitStatus(126)
}

// find is the program of that name on the PATH of every command.
func find(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	for _, dir := range filepath.SplitList(path) {
		program := filepath.Join(dir, name)
		if info, err := os.Stat(program); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return program
		}
	}
	return ""
}

// coreutilsAfterPath runs the interpreter's own ls, cat and the like on machines
// that have no others.
func coreutilsAfterPath(next interp.ExecHandlerFunc) interp.ExecHandlerFunc {
	own := coreutils.ExecHandler(next)
	return func(ctx context.Context, args []string) error {
		h := interp.HandlerCtx(ctx)
		if _, err := interp.LookPathDir(h.Dir, h.Env, args[0]); err == nil {
			return next(ctx, args)
		}
		return own(ctx, args)
	}
}

// open lets a restricted script read what its user may, and write nothing.
func (s script) open(ctx context.Context, name string, flag int, perm fs.FileMode) (io.ReadWriteCloser, error) {
	if flag&(os.O_WRONLY|os.O_RDWR|os.O_CREATE|os.O_TRUNC|os.O_APPEND) != 0 && name != os.DevNull {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	return interp.DefaultOpenHandler()(ctx, name, flag, perm)
}
