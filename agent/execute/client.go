package execute

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"

	"github.com/natrix-os/natrix/agent/door/basicagent/wire"
	"golang.org/x/sys/unix"
)

// message is a line between the agent and its executor.
type message struct {
	Number  uint64
	Policy  *Policy  `json:",omitempty"`
	Request *Request `json:",omitempty"`
	Cancel  bool     `json:",omitempty"`
	Result  *Result  `json:",omitempty"`
}

// Executor is the process that runs commands, seen from the agent.
type Executor struct {
	process *exec.Cmd
	conn    net.Conn
	ended   chan struct{}

	writing sync.Mutex
	mu      sync.Mutex
	next    uint64
	waiting map[uint64]chan Result
}

// Start starts the executor, with the privileges that the caller has now. It is
// nil, and nothing is started, while the policy is off.
func Start(p Policy) (*Executor, error) {
	if p.Level == Off || p.Level == "" {
		return nil, nil
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "executor"), os.NewFile(uintptr(fds[1]), "agent")
	defer ours.Close()
	defer theirs.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, err
	}
	e := &Executor{conn: conn, ended: make(chan struct{}), waiting: make(map[uint64]chan Result)}
	e.process = &exec.Cmd{Path: "/proc/self/exe", Args: []string{executorName}, Env: []string{"PATH=" + path}, Dir: "/", Stderr: os.Stderr, ExtraFiles: []*os.File{theirs}}
	e.process.SysProcAttr = ownGroup()
	if err := e.process.Start(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("start the executor: %w", err)
	}
	go e.read()
	if err := e.send(message{Policy: &p}); err != nil {
		e.Close()
		return nil, fmt.Errorf("start the executor: %w", err)
	}
	return e, nil
}

// Close ends the executor and everything that it runs, and waits for it.
func (e *Executor) Close() error {
	e.conn.Close()
	<-e.ended
	return e.process.Wait()
}

// read hands out results until the executor ends.
func (e *Executor) read() {
	defer close(e.ended)
	d := json.NewDecoder(bufio.NewReader(e.conn))
	for {
		var m message
		if err := d.Decode(&m); err != nil || m.Result == nil {
			e.conn.Close()
			return
		}
		e.mu.Lock()
		waiting := e.waiting[m.Number]
		delete(e.waiting, m.Number)
		e.mu.Unlock()
		if waiting != nil {
			waiting <- *m.Result // there is room for the one
		}
	}
}

func (e *Executor) send(m message) error {
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	e.writing.Lock()
	defer e.writing.Unlock()
	_, err = e.conn.Write(append(body, '\n'))
	return err
}

// Run runs a command to its end. When ctx ends the command is ended, and what
// it wrote until then is in the result. The error is one that there is without
// a result.
func (e *Executor) Run(ctx context.Context, r Request) (Result, error) {
	done := make(chan Result, 1)
	e.mu.Lock()
	e.next++
	number := e.next
	e.waiting[number] = done
	e.mu.Unlock()
	if err := e.send(message{Number: number, Request: &r}); err != nil {
		return Result{}, wire.Fail(wire.CannotStart, "the executor is gone")
	}
	stop := context.AfterFunc(ctx, func() { e.send(message{Number: number, Cancel: true}) })
	defer stop()
	select {
	case result := <-done:
		if result.Code != 0 && result.Took == 0 {
			return result, wire.Fail(wire.Code(result.Code), "%s", result.Detail)
		}
		return result, nil
	case <-e.ended:
		return Result{}, wire.Fail(wire.CannotStart, "%v", errors.New("the executor ended"))
	}
}
