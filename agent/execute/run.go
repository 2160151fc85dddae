package execute

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/natrix-os/natrix/agent/door/basicagent/wire"
	"golang.org/x/sys/unix"
)

const (
	mercy     = 2 * time.Second        // from the request to end until there is no choice
	waitDelay = 500 * time.Millisecond // for output after the shell has ended
	markName  = "NATRIX_COMMAND"       // in the environment of everything that a command starts
)

// script is what the child that is a shell gets, on a pipe: arguments would be
// there for everybody to read.
type script struct {
	Text       string
	Restricted bool     // whether only Commands may be started, and no file written
	Commands   []string // those that may be started
	Home, User string
}

// run has a child interpret the script, and ends it and whatever it started
// when the time is up, ctx ends, or the shell is done.
func (e *executor) run(ctx context.Context, r Request, s script, id identity) (Result, error) {
	out := &collector{keep: r.Keep}
	stderr := out
	if r.Split {
		stderr = &collector{keep: r.Keep}
	}
	mark := rand.Text()
	g, err := e.groups.make(mark)
	if err != nil {
		return Result{}, wire.Fail(wire.CannotStart, "%v", err)
	}
	defer g.remove()
	text, lifeline, err := pipes()
	if err != nil {
		return Result{}, wire.Fail(wire.CannotStart, "%v", err)
	}
	defer lifeline.w.Close() // the shell ends its group when this is closed
	cmd := &exec.Cmd{
		Path: "/proc/self/exe", Args: []string{shellName}, Dir: "/",
		Env:    []string{"PATH=" + path, "HOME=" + id.home, "USER=" + id.name, "LANG=C.UTF-8", "TZ=UTC", markName + "=" + mark},
		Stdout: out, Stderr: stderr, ExtraFiles: []*os.File{text.r, lifeline.r}, WaitDelay: waitDelay,
		SysProcAttr: &syscall.SysProcAttr{Setsid: true, Credential: id.credential},
	}
	g.join(cmd.SysProcAttr)
	begun := time.Now()
	err = cmd.Start()
	text.r.Close()
	lifeline.r.Close()
	if err != nil {
		text.w.Close()
		return Result{}, cannotStart(err, id)
	}
	go func() { // ends with the child at the latest, which holds the other end
		defer text.w.Close()
		json.NewEncoder(text.w).Encode(s)
	}()
	c := child{cmd: cmd, group: g, mark: mark, ended: make(chan error, 1)}
	go func() { c.ended <- cmd.Wait() }()
	err = c.wait(ctx, r.Timeout)
	c.kill()
	result := Result{
		Output: out.bytes(), Truncated: out.total > int64(r.Keep) || stderr.total > int64(r.Keep),
		Bytes: out.total, Took: max(time.Since(begun), 1),
	}
	if r.Split {
		result.Stderr, result.Bytes = stderr.bytes(), out.total+stderr.total
	}
	result.Exit, result.Signal = outcome(cmd.ProcessState)
	if err == nil && g.exhausted() {
		err = wire.Fail(wire.ResourceLimit, "out of memory")
	}
	if err == nil && result.Exit == cannotExit {
		err = wire.Fail(wire.CannotStart, "%s", result.Output)
	}
	return result, err
}

// child is a shell that runs.
type child struct {
	cmd   *exec.Cmd
	group group
	mark  string
	ended chan error
}

// wait waits for the end of the shell, or makes it come.
func (c child) wait(ctx context.Context, timeout time.Duration) error {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	var reason error
	select {
	case err := <-c.ended:
		return started(err)
	case <-timer.C:
		reason = wire.Fail(wire.Timeout, "after %v", timeout)
	case <-ctx.Done():
		reason = wire.Fail(wire.Cancelled, "")
	}
	unix.Kill(-c.cmd.Process.Pid, unix.SIGTERM) // it may be gone
	select {
	case <-c.ended:
		return reason
	case <-time.After(mercy):
	}
	c.kill()
	<-c.ended // SIGKILL, and the wait for its output is bounded
	return reason
}

// started is the error of a shell that could not do its work: that it failed,
// or left others behind that hold its output, is none.
func started(err error) error {
	var failed *exec.ExitError
	if err == nil || errors.As(err, &failed) || errors.Is(err, exec.ErrWaitDelay) {
		return nil
	}
	return wire.Fail(wire.CannotStart, "%v", err)
}

// kill ends all that the command started: its process group, its cgroup, and
// what the mark in the environment tells where there is no cgroup.
func (c child) kill() {
	unix.Kill(-c.cmd.Process.Pid, unix.SIGKILL) // it may be gone
	if !c.group.kill() {
		killMarked(c.mark)
	}
}

// killMarked ends the processes whose environment has the mark, until there is
// none: one may just be starting another.
func killMarked(mark string) {
	want := []byte(markName + "=" + mark + "\x00")
	for range 10 {
		found := false
		files, _ := filepath.Glob("/proc/[0-9]*/environ")
		for _, file := range files {
			env, err := os.ReadFile(file)
			if err != nil || !bytes.Contains(env, want) {
				continue
			}
			found = true
			unix.Kill(int(number(strings.Split(file, "/")[2])), unix.SIGKILL) // it may be gone
		}
		if !found {
			return
		}
	}
}

// outcome is the exit status, and the signal that ended a process.
func outcome(p *os.ProcessState) (exit, signal int) {
	if p == nil {
		return -1, 0
	}
	if status, ok := p.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), int(status.Signal())
	}
	return p.ExitCode(), 0
}

// pipe is both ends of one.
type pipe struct{ r, w *os.File }

func pipes() (a, b pipe, err error) {
	if a.r, a.w, err = os.Pipe(); err != nil {
		return a, b, err
	}
	if b.r, b.w, err = os.Pipe(); err != nil {
		a.r.Close()
		a.w.Close()
	}
	return a, b, err
}

// collector keeps the beginning of what is written to it, and counts all of it.
type collector struct {
	mu    sync.Mutex
	keep  int
	total int64
	kept  bytes.Buffer
}

var _ io.Writer = (*collector)(nil)

func (c *collector) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.total += int64(len(p))
	c.kept.Write(p[:min(len(p), c.keep-c.kept.Len())])
	return len(p), nil
}

func (c *collector) bytes() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Clone(c.kept.Bytes())
}
