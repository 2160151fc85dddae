package page

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
)

const (
	maxMessage = 32 << 20 // bytes of one message of a browser: the largest is a picture
	maxSeen    = 2 * maxFetches
)

// frames carry messages to a browser and back.
type frames interface {
	read(context.Context) ([]byte, error)
	write([]byte) error // ends with the browser
}

// message is one of the DevTools protocol, or of WebDriver BiDi: a command, its
// answer, or an event.
type message struct {
	ID      int             `json:"id,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  any             `json:"params,omitempty"`
	Session string          `json:"sessionId,omitempty"` // DevTools: of the tab
	Result  json.RawMessage `json:"result,omitempty"`
	Error   json.RawMessage `json:"error,omitempty"`   // DevTools: code and message; BiDi: its name
	Text    string          `json:"message,omitempty"` // BiDi: of the error
}

// session is a conversation with a browser.
type session struct {
	wire  frames
	event func(method string, params json.RawMessage) // called in order, by one goroutine; must not wait
	tab   string                                      // DevTools: whom commands are for

	mu      sync.Mutex
	last    int
	pending map[int]chan message
	err     error // why the conversation ended

	ended chan struct{} // closed when it has
}

// converse begins a conversation; it ends with the wire.
func converse(wire frames, event func(string, json.RawMessage)) *session {
	s := &session{wire: wire, event: event, pending: make(map[int]chan message), ended: make(chan struct{})}
	return s
}

// listen reads until the wire ends.
func (s *session) listen(ctx context.Context) {
	defer close(s.ended)
	for {
		raw, err := s.wire.read(ctx)
		if err == nil {
			err = s.take(raw)
		}
		if err != nil {
			s.mu.Lock()
			s.err = err
			s.mu.Unlock()
			return
		}
	}
}

// take gives a message to whom it is for.
func (s *session) take(raw []byte) error {
	var params json.RawMessage
	m := message{Params: &params}
	if err := json.Unmarshal(raw, &m); err != nil {
		return fmt.Errorf("message of the browser: %w", err)
	}
	if m.ID == 0 {
		s.event(m.Method, params)
		return nil
	}
	s.mu.Lock()
	waiting := s.pending[m.ID]
	delete(s.pending, m.ID)
	s.mu.Unlock()
	if waiting != nil {
		waiting <- m // has room for one
	}
	return nil
}

// Call sends a command and waits for its result.
func (s *session) call(ctx context.Context, method string, params, result any) error {
	answer := make(chan message, 1)
	s.mu.Lock()
	s.last++
	id := s.last
	s.pending[id] = answer
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.pending, id)
	}()
	raw, err := json.Marshal(message{ID: id, Method: method, Params: params, Session: s.tab})
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	if err := s.wire.write(raw); err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	select {
	case m := <-answer:
		if m.Error != nil {
			return fmt.Errorf("%s: %w", method, m.failure())
		}
		if err := json.Unmarshal(m.Result, result); err != nil {
			return fmt.Errorf("%s: %w", method, err)
		}
		return nil
	case <-s.ended:
		s.mu.Lock()
		defer s.mu.Unlock()
		return fmt.Errorf("%s: the browser hung up: %w", method, s.err)
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", method, ctx.Err())
	}
}

func (m message) failure() error {
	var devtools struct{ Message string }
	if json.Unmarshal(m.Error, &devtools) == nil && devtools.Message != "" {
		return errors.New(devtools.Message)
	}
	var name string
	json.Unmarshal(m.Error, &name)
	return fmt.Errorf("%s: %s", name, m.Text)
}
