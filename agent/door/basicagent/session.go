package basicagent

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/natrix-os/natrix/agent/door/basicagent/wire"
	"golang.org/x/sys/unix"
)

const atOnce = 64 // requests in hand, those that wait for their turn included

// session is a connection over which the server asks.
type session struct {
	door   *Door
	conn   *wire.Conn
	name   string // the server's word for it
	server string // SHA-256 of its certificate

	mu    sync.Mutex
	asked map[string]chan json.RawMessage // what the terminal asked, by id
}

// serve answers requests until the connection or ctx ends.
func (d *Door) serve(ctx context.Context, conn *wire.Conn, a netip.AddrPort, g wire.Greeting) error {
	s := &session{door: d, conn: conn, name: g.Session, asked: make(map[string]chan json.RawMessage)}
	if t, ok := conn.Conn.(*tls.Conn); ok {
		sum := sha256.Sum256(t.ConnectionState().PeerCertificates[0].Raw)
		s.server = hex.EncodeToString(sum[:])
	}
	d.Log.Info("connected", "dst", a, "session", s.name)
	d.files().seen(a, g.Time)

	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	running.Go(func() { conn.KeepAlive(ctx.Done(), "natrix-ping-") })
	running.Go(func() { s.renew(ctx) })
	for {
		line, err := conn.ReadLine(d.Timing.Silence)
		if errors.Is(err, wire.ErrTooLong) {
			conn.Send(wire.Failed(wire.Fail(wire.TooLarge, "at most %d bytes", wire.ToAgent)))
		}
		if err != nil {
			return err
		}
		if err := s.take(line); err != nil {
			return err
		}
	}
}

// take looks at a line and has it answered, also if the connection ends
// meanwhile: the answer is there when the request comes again. The error ends
// the session.
func (s *session) take(line []byte) error {
	keys, err := wire.Object(line)
	if err != nil {
		s.conn.Send(wire.Failed(err))
		return err // what follows may be anything
	}
	if keys["method"] == nil && keys["resp"] != nil {
		s.hear(keys, line)
		return nil
	}
	r, err := wire.ParseRequest(line)
	if err != nil {
		a := wire.Failed(err)
		a.ID = r.ID
		return s.conn.Send(a)
	}
	if r.Method == "ping" {
		return s.conn.Send(wire.Answer{ID: r.ID, Resp: "success", Message: "pong"})
	}
	select {
	case s.door.hands <- struct{}{}:
	default:
		a := wire.Failed(wire.Fail(wire.TooManyRequests, "%d are in hand", atOnce))
		a.ID = r.ID
		return s.conn.Send(a)
	}
	s.door.running.Go(func() {
		defer func() { <-s.door.hands }()
		a := s.answer(s.door.ctx, r)
		a.ID = r.ID
		s.conn.WriteLine(a.Encode(wire.FromAgent)) // a connection that fails ends the reading too
	})
	return nil
}

// hear gives an answer of the server to the one who asked.
func (s *session) hear(keys map[string]json.RawMessage, line []byte) {
	var id string
	if json.Unmarshal(keys["id"], &id) != nil {
		return
	}
	s.mu.Lock()
	waiting := s.asked[id]
	delete(s.asked, id)
	s.mu.Unlock()
	if waiting != nil {
		waiting <- line // there is room for the one
	}
}

// ask sends the server a request and waits for its answer.
func (s *session) ask(ctx context.Context, id string, request any) (json.RawMessage, error) {
	answer := make(chan json.RawMessage, 1)
	s.mu.Lock()
	s.asked[id] = answer
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.asked, id)
	}()
	if err := s.conn.Send(request); err != nil {
		return nil, err
	}
	select {
	case line := <-answer:
		return line, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(s.door.Timing.Init):
		return nil, errors.New("no answer")
	}
}

// answer is the answer to a request: the one from memory if the same id was
// there before.
func (s *session) answer(ctx context.Context, r wire.Request) wire.Answer {
	d := s.door
	if stored, err := d.answers.begin(r.ID, time.Now()); err != nil {
		return wire.Failed(err)
	} else if stored != nil {
		stored.Duplicate = true
		return *stored
	}
	a := d.do(ctx, request{r, s.name, s.server})
	if a.Retcode == int(wire.TooManyRequests) || ctx.Err() != nil {
		d.answers.forget(r.ID) // it was not run, or nobody knows how far
	} else {
		d.answers.end(r.ID, a)
	}
	return a
}

// userTimeout has the kernel give a peer up that acknowledges nothing for a
// minute (RFC 5482).
func userTimeout(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) {
		unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 60_000) // without it the silence is noticed
	})
}
