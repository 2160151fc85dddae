package qemu

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// monitor is the connection to QEMU's own command line, in its machine protocol
// (QEMU Machine Protocol Specification).
type monitor struct {
	conn    net.Conn
	answers *bufio.Reader
	ready   bool // the handshake is done
}

// newMonitor makes the connection. The file is the emulator's end: it is
// inherited as a descriptor, so that there is no path to it.
func newMonitor() (*monitor, *os.File, error) {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	ours, theirs := os.NewFile(uintptr(ends[0]), "monitor"), os.NewFile(uintptr(ends[1]), "monitor")
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return &monitor{conn: conn, answers: bufio.NewReader(conn)}, theirs, nil
}

// args are the arguments for an emulator that inherits the file as its descriptor 3.
func (m *monitor) args() []string {
	return []string{"-chardev", "socket,id=monitor,fd=3", "-mon", "chardev=monitor,mode=control"}
}

// do has the emulator execute a command.
func (m *monitor) do(command string, arguments any) error {
	m.conn.SetDeadline(time.Now().Add(30 * time.Second))
	if !m.ready {
		if err := m.ask("qmp_capabilities", nil); err != nil {
			return err
		}
		m.ready = true
	}
	return m.ask(command, arguments)
}

func (m *monitor) ask(command string, arguments any) error {
	question, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
	}{command, arguments})
	if err != nil {
		return err
	}
	if _, err := m.conn.Write(append(question, '\n')); err != nil {
		return fmt.Errorf("ask the emulator to %s: %w", command, err)
	}
	for {
		line, err := m.answers.ReadBytes('\n')
		if err != nil {
			return fmt.Errorf("ask the emulator to %s: %w", command, err)
		}
		var answer struct {
			Return json.RawMessage
			Error  *struct{ Desc string }
		}
		if err := json.Unmarshal(line, &answer); err != nil {
			return fmt.Errorf("ask the emulator to %s: %w", command, err)
		}
		switch { // anything else is the greeting or an event
		case answer.Error != nil:
			return fmt.Errorf("ask the emulator to %s: %w", command, errors.New(answer.Error.Desc))
		case answer.Return != nil:
			return nil
		}
	}
}

// Plug plugs the cable of the link with that index in or pulls it out.
func (m *Machine) Plug(link int, in bool) error {
	return m.monitor.do("set_link", map[string]any{"name": fmt.Sprintf("n%d", link), "up": in})
}
