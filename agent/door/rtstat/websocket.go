package rtstat

import (
	"context"
	"errors"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
)

const (
	messageMost = 64 << 10         // bytes of a message
	pingEvery   = 30 * time.Second // browsers answer by themselves
	pongWithin  = 30 * time.Second
)

// socket is a wire of WebSocket: a message in a text frame.
type socket struct{ *websocket.Conn }

// acceptSocket upgrades a request on any path.
func (s *Server) acceptSocket(w http.ResponseWriter, r *http.Request) {
	from := sender(r.RemoteAddr)
	authorized := s.gate.open()
	if token, given := bearer(r); given && !authorized {
		if authorized = s.gate.try(r.Context(), from, token); !authorized {
			http.Error(w, "wrong token", http.StatusUnauthorized)
			return
		}
	}
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{OriginPatterns: s.Config.Origins, CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		s.Log.Debug("not a WebSocket", "from", from, "err", err)
		return
	}
	conn.SetReadLimit(messageMost)
	leave, ok := s.gate.enter()
	if !ok {
		conn.Close(websocket.StatusNormalClosure, "")
		return
	}
	defer leave()
	ctx, cancel := context.WithCancel(r.Context())
	pinging := make(chan struct{})
	go func() { defer close(pinging); keepAlive(ctx, conn) }()
	s.serve(ctx, socket{conn}, from, authorized)
	cancel()
	<-pinging
}

// keepAlive closes a connection whose other end has silently gone.
func keepAlive(ctx context.Context, conn *websocket.Conn) {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		wait, cancel := context.WithTimeout(ctx, pongWithin)
		err := conn.Ping(wait)
		cancel()
		if err != nil {
			conn.CloseNow()
			return
		}
	}
}

// errNotText is a text frame that is not UTF-8 (RFC 6455, 8.1).
var errNotText = errors.New("not UTF-8")

// read takes binary frames for text, as the original does.
func (s socket) read(ctx context.Context) (string, error) {
	kind, message, err := s.Read(ctx)
	if err == nil && kind == websocket.MessageText && !utf8.Valid(message) {
		s.Close(websocket.StatusInvalidFramePayloadData, errNotText.Error())
		return "", errNotText
	}
	return string(message), err
}

func (s socket) write(ctx context.Context, message []byte) error {
	return s.Write(ctx, websocket.MessageText, message)
}

func (s socket) end(reason error) {
	switch {
	case reason == nil:
		s.Close(websocket.StatusNormalClosure, "")
	case errors.Is(reason, errAuthFailed):
		s.Close(websocket.StatusPolicyViolation, "")
	default:
		s.CloseNow()
	}
}
