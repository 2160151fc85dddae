package rtstat

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	lineMost = 8 << 10                // bytes of a line
	patience = 300 * time.Millisecond // a client that ends no line has said what it wanted to
)

// stream is a wire of plain TCP: a message in a line.
type stream struct {
	net.Conn
	in   *bufio.Reader
	part strings.Builder // of a line that has not ended
	over bool            // a line was too long: nothing more is read
}

func newStream(c net.Conn) *stream { return &stream{Conn: c, in: bufio.NewReaderSize(c, 512)} }

// serveRaw takes connections until the listener is closed.
func (s *Server) serveRaw(ctx context.Context, l net.Listener) error {
	var running sync.WaitGroup
	defer running.Wait()
	for {
		c, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		leave, ok := s.gate.enter()
		if !ok {
			c.Close()
			continue
		}
		running.Go(func() {
			defer leave()
			s.serve(ctx, newStream(c), sender(c.RemoteAddr().String()), false)
		})
	}
}

// read returns the next line, or what has been there of one for a while. A line
// that is too long is the last: it is no message, like an empty frame of
// WebSocket.
func (s *stream) read(ctx context.Context) (string, error) {
	defer context.AfterFunc(ctx, func() { s.Close() })()
	for !s.over {
		if s.part.Len() == 0 {
			s.SetReadDeadline(time.Time{})
			if _, err := s.in.Peek(1); err != nil {
				return "", err
			}
		}
		s.SetReadDeadline(time.Now().Add(patience))
		piece, err := s.in.ReadSlice('\n')
		s.part.Write(piece)
		switch {
		case s.part.Len() > lineMost:
			s.over = true
			return "", nil
		case err == nil || errors.Is(err, os.ErrDeadlineExceeded) && strings.Trim(s.part.String(), edges) != "":
			line := s.part.String()
			s.part.Reset()
			return line, nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			s.part.Reset() // blanks
		case !errors.Is(err, bufio.ErrBufferFull):
			return "", err
		}
	}
	return "", errUnknownMessage
}

func (s *stream) write(ctx context.Context, message []byte) error {
	deadline, _ := ctx.Deadline()
	s.SetWriteDeadline(deadline)
	_, err := s.Conn.Write(message)
	return err
}

func (s *stream) end(error) { s.Close() }
