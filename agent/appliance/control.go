package appliance

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/natrix-os/natrix/agent/door/shell"
)

// Socket is where PID 1 takes orders from root. A request is one line; the
// answer is a line "ok" or "error: ..." and what was asked for, until it closes
// the connection. The requests are
//
//	services           their states in JSON
//	restart NAME       the service is started anew, with the settings of now
//	log N              the last N lines
//	follow N           the same, and those to come, until the other side hangs up
//	console NAME       the lines that this console has not shown yet, and those
//	                   to come; until it hangs up, PID 1 writes nothing there
//	update REQUEST     the process that installs updates is started with this
//	reboot, poweroff
const Socket = "/run/natrix/init"

// listen serves the socket until the machine stops.
func (m *machine) listen(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return err
	}
	m.wait.Go(func() { m.accept(l) })
	context.AfterFunc(m.ctx, func() { l.Close() })
	return nil
}

func (m *machine) accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			m.log.Error("control socket", "err", err)
			return
		}
		m.wait.Go(func() {
			defer conn.Close()
			defer context.AfterFunc(m.ctx, func() { conn.Close() })()
			m.answer(conn)
		})
	}
}

// answer answers one request. Its errors are the other side's: it hung up.
func (m *machine) answer(conn net.Conn) {
	request, err := bufio.NewReader(io.LimitReader(conn, 4096)).ReadString('\n')
	if err != nil {
		return
	}
	// All that can still come from the other side is its end.
	ctx, hangUp := context.WithCancel(m.ctx)
	defer hangUp()
	go func() {
		conn.Read(make([]byte, 1))
		hangUp()
	}()
	if err := m.do(ctx, conn, strings.Fields(request)); err != nil {
		fmt.Fprintf(conn, "error: %v\n", err)
	}
}

// do checks a request before it says ok.
func (m *machine) do(ctx context.Context, conn net.Conn, words []string) error {
	verb, operand := "", ""
	switch len(words) {
	case 2:
		verb, operand = words[0], words[1]
	case 1:
		verb = words[0]
	}
	switch verb {
	case "services":
		return ok(conn, func() error { return json.NewEncoder(conn).Encode(m.states()) })
	case "restart":
		s := m.service(operand)
		if s == nil {
			return fmt.Errorf("no service %q", operand)
		}
		return ok(conn, func() error { s.restart(); return nil })
	case "log", "follow":
		n, err := strconv.ParseInt(operand, 10, 64)
		if err != nil {
			return fmt.Errorf("number of lines: %w", err)
		}
		return ok(conn, func() error { return m.journal.send(ctx, conn, m.journal.last(n), verb == "follow") })
	case "update":
		if err := m.install(append(slices.Clone(m.update), operand)); err != nil {
			return err
		}
		return ok(conn, func() error { return nil })
	case "console":
		s := m.screens[operand]
		if s == nil {
			return fmt.Errorf("no console %q", operand)
		}
		return ok(conn, func() error { return s.lend(ctx, conn) })
	}
	for _, o := range [...]order{reboot, powerOff} {
		if verb == string(o) && operand == "" {
			return ok(conn, func() error { m.order(o); return nil })
		}
	}
	return fmt.Errorf("unknown request %q", strings.Join(words, " "))
}

func ok(conn net.Conn, f func() error) error {
	if _, err := io.WriteString(conn, "ok\n"); err != nil {
		return nil
	}
	f() // its error is that of the connection
	return nil
}

func (m *machine) states() []shell.Service {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []shell.Service
	for _, s := range m.services {
		all = append(all, s.state())
	}
	return all
}

// service is nil if there is none of that name.
func (m *machine) service(name string) *service {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.services {
		if s.name == name {
			return s
		}
	}
	return nil
}

// order has the machine shut down. A second order changes nothing.
func (m *machine) order(o order) {
	select {
	case m.orders <- o:
	default:
	}
}

// send writes the lines from number n on, and those to come if follow is set.
func (j *journal) send(ctx context.Context, w io.Writer, n int64, follow bool) error {
	for {
		lines, next, lost, more := j.since(n)
		if _, err := w.Write(text(lines, lost, "\n")); err != nil || !follow {
			return err
		}
		n = next
		select {
		case <-more:
		case <-ctx.Done():
			return nil
		}
	}
}

// lend lets the other side of w write to the console, and tells it what.
func (s *screen) lend(ctx context.Context, w io.Writer) error {
	if !s.hold(ctx) {
		return nil
	}
	defer s.release()
	for {
		more := s.print(w, "\n")
		select {
		case <-more:
		case <-ctx.Done():
			return nil
		}
	}
}

// Client asks PID 1 by its socket. Its zero value is not usable; the path is
// [Socket] but in tests.
type Client struct {
	Path string
}

// Present reports whether this machine has natrix for its PID 1.
func (c Client) Present() bool {
	_, err := os.Stat(c.Path)
	return err == nil
}

// Services returns what PID 1 keeps running.
func (c Client) Services(ctx context.Context) ([]shell.Service, error) {
	var all []shell.Service
	err := c.ask(ctx, "services", func(r io.Reader) error { return json.NewDecoder(r).Decode(&all) })
	return all, err
}

// Restart has a service start anew. It returns at once.
func (c Client) Restart(ctx context.Context, service string) error {
	return c.ask(ctx, "restart "+service, to(io.Discard))
}

// Log writes the last n lines of the journal to w, and if follow is set those
// to come, until ctx ends.
func (c Client) Log(ctx context.Context, w io.Writer, n int, follow bool) error {
	verb := "log"
	if follow {
		verb = "follow"
	}
	return c.ask(ctx, fmt.Sprintf("%s %d", verb, n), to(w))
}

// Console takes a console over from PID 1, until ctx ends: from then on w is
// given the lines of the journal, in whole, and PID 1 writes none there.
func (c Client) Console(ctx context.Context, w io.Writer, name string) error {
	return c.ask(ctx, "console "+name, to(w))
}

// Reboot has the machine shut down and start again. It returns at once.
func (c Client) Reboot(ctx context.Context) error { return c.ask(ctx, string(reboot), to(io.Discard)) }

// Update has an update installed, and the machine restarted if it was right.
// It returns once that has begun; [update.StatusFile] says how far it is.
func (c Client) Update(ctx context.Context, r UpdateRequest) error {
	return c.ask(ctx, "update "+r.String(), to(io.Discard))
}

// PowerOff has the machine shut down. It returns at once.
func (c Client) PowerOff(ctx context.Context) error {
	return c.ask(ctx, string(powerOff), to(io.Discard))
}

// to hands on whole lines, so that a log never breaks in the middle of one.
func to(w io.Writer) func(io.Reader) error {
	return func(r io.Reader) error {
		lines := bufio.NewReader(r)
		for {
			line, err := lines.ReadBytes('\n')
			if len(line) > 0 {
				if _, err := w.Write(line); err != nil {
					return err
				}
			}
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
		}
	}
}

func (c Client) ask(ctx context.Context, request string, read func(io.Reader) error) error {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", c.Path)
	if err != nil {
		return fmt.Errorf("ask PID 1: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if _, err := fmt.Fprintln(conn, request); err != nil {
		return fmt.Errorf("ask PID 1: %w", err)
	}
	answer := bufio.NewReader(conn)
	line, err := answer.ReadString('\n')
	if err != nil {
		return fmt.Errorf("ask PID 1 for %s: %w", request, err)
	}
	if line != "ok\n" {
		return fmt.Errorf("PID 1: %s", strings.TrimSpace(strings.TrimPrefix(line, "error: ")))
	}
	if err := read(answer); err != nil && ctx.Err() == nil {
		return fmt.Errorf("ask PID 1 for %s: %w", request, err)
	}
	return nil
}
