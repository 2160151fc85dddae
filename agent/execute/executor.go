package execute

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"sync"
	"syscall"

	"github.com/natrix-os/natrix/agent/door/basicagent/wire"
	"golang.org/x/sys/unix"
)

const (
	runningMost = 4
	queuedMost  = 8
	path        = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/bbin"
)

func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// Main is this process as one of the package's, if it was started as such:
// then it is over, with that exit status. The executor confines itself by the
// function before it takes the first request.
func Main(name string, confine func(Policy) error) (status int, ours bool) {
	switch name {
	case executorName:
		closeOnExec()
		if err := serve(confine); err != nil {
			fmt.Fprintln(os.Stderr, "natrix: executor:", err)
			return 1, true
		}
		return 0, true
	case shellName:
		closeOnExec()
		return shell(), true
	}
	return 0, false
}

// closeOnExec marks every descriptor that was inherited: Go protects only those
// that it opened itself.
func closeOnExec() { unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC) }

// executor is the process that runs commands.
type executor struct {
	policy Policy
	groups groups
	audit  audit
	places chan struct{} // taken by those that run

	writing sync.Mutex
	conn    net.Conn

	mu      sync.Mutex
	inHand  int
	cancels map[uint64]context.CancelFunc
}

// serve takes requests from the agent until that is gone, and ends what runs
// then.
func serve(confine func(Policy) error) error {
	f := os.NewFile(3, "agent")
	conn, err := net.FileConn(f)
	f.Close()
	if err != nil {
		return err
	}
	defer conn.Close()
	d := json.NewDecoder(bufio.NewReader(conn))
	var first message
	if err := d.Decode(&first); err != nil || first.Policy == nil {
		return errors.New("no policy came")
	}
	e := &executor{policy: *first.Policy, conn: conn, places: make(chan struct{}, runningMost), cancels: make(map[uint64]context.CancelFunc)}
	e.audit.file = e.policy.Audit
	e.groups = findGroups()
	if confine != nil {
		if err := confine(e.policy); err != nil {
			fmt.Fprintln(os.Stderr, "natrix: executor: not all was given up:", err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	for {
		var m message
		if err := d.Decode(&m); err != nil {
			return nil // the agent is gone
		}
		e.take(ctx, m, &running)
	}
}

func (e *executor) take(ctx context.Context, m message, running *sync.WaitGroup) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if m.Cancel {
		if cancel := e.cancels[m.Number]; cancel != nil {
			cancel()
		}
		return
	}
	if m.Request == nil {
		return
	}
	full := e.inHand >= runningMost+queuedMost
	limited, cancel := context.WithCancel(ctx)
	if !full {
		e.inHand++
		e.cancels[m.Number] = cancel
	}
	running.Go(func() {
		defer cancel()
		if full {
			e.reply(m.Number, Result{}, wire.Fail(wire.TooManyCommands, "%d run and %d wait", runningMost, queuedMost))
			return
		}
		result, err := e.queue(limited, *m.Request)
		e.mu.Lock()
		e.inHand--
		delete(e.cancels, m.Number)
		e.mu.Unlock()
		e.reply(m.Number, result, err)
	})
}

// queue waits for a place and runs the command in it.
func (e *executor) queue(ctx context.Context, r Request) (Result, error) {
	select {
	case e.places <- struct{}{}:
		defer func() { <-e.places }()
	case <-ctx.Done():
		return Result{}, wire.Fail(wire.Cancelled, "before it began")
	}
	return e.execute(ctx, r)
}

func (e *executor) reply(number uint64, r Result, err error) {
	if err != nil {
		f := wire.AsFailure(err)
		r.Code, r.Detail = int(f.Code), f.Detail
	}
	body, err := json.Marshal(message{Number: number, Result: &r})
	if err != nil {
		return // strings and numbers: it cannot fail
	}
	e.writing.Lock()
	defer e.writing.Unlock()
	e.conn.Write(append(body, '\n')) // an agent that is gone is noticed by reading
}

// execute decides about a command, writes that down, and runs it.
func (e *executor) execute(ctx context.Context, r Request) (Result, error) {
	s := script{Home: "/"}
	var id identity
	var err error
	s.Text, s.Commands, err = e.policy.plan(r.Text)
	s.Restricted = e.policy.Level != Full
	if err == nil {
		id, err = e.policy.identify(r)
	}
	line := describe(r, id, e.policy.Level, err)
	if failed := e.audit.write("asked", line); failed != nil {
		return Result{}, wire.Fail(wire.ResourceLimit, "it cannot be written down: %v", failed)
	}
	if err != nil {
		return Result{}, err
	}
	s.Home, s.User = id.home, id.name
	result, err := e.run(ctx, r, s, id)
	line.Exit, line.Bytes, line.MS = &result.Exit, result.Bytes, result.Took.Milliseconds()
	if err != nil {
		line.Code = int(wire.AsFailure(err).Code)
	}
	if failed := e.audit.write("ended", line); failed != nil {
		fmt.Fprintln(os.Stderr, "natrix: executor:", failed) // it has run: the answer says how
	}
	return result, err
}
