package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// Socket is where the agent of a machine tells its status.
const Socket = "/run/natrix/" + socketName

const (
	socketName = "status.sock"
	patience   = 5 * time.Second
	most       = 1 << 20 // bytes of a status
)

// ErrNotRunning says that nobody is there to ask.
var ErrNotRunning = errors.New("no agent runs here, or it has no runtime directory")

// Serve tells everybody who may open the socket in dir, which is its owner, how
// the agent is doing, until ctx ends.
func Serve(ctx context.Context, dir string, now func() Status) error {
	path := filepath.Join(dir, socketName)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) { // of an agent that was killed
		return fmt.Errorf("serve status: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("serve status: %w", err)
	}
	defer l.Close()
	if err := os.Chmod(path, 0o600); err != nil {
		return fmt.Errorf("serve status: %w", err)
	}
	defer context.AfterFunc(ctx, func() { l.Close() })()
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("serve status: %w", err)
		}
		conn.SetDeadline(time.Now().Add(patience)) // one at a time: nobody holds the rest up for longer
		json.NewEncoder(conn).Encode(now())
		conn.Close()
	}
}

// Read asks the agent behind a socket.
func Read(ctx context.Context, path string) (Status, error) {
	var s Status
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		return s, fmt.Errorf("%w: %w", ErrNotRunning, err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	if err := json.NewDecoder(io.LimitReader(conn, most)).Decode(&s); err != nil {
		return s, fmt.Errorf("read status: %w", err)
	}
	return s, nil
}

// ListenMetrics tells Prometheus at an address, under /metrics, until ctx ends.
func ListenMetrics(ctx context.Context, addr string, now func() Status) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		now().WritePrometheus(w)
	})
	server := &http.Server{Addr: addr, Handler: mux, ReadTimeout: patience, WriteTimeout: patience, IdleTimeout: time.Minute, MaxHeaderBytes: 8 << 10}
	defer context.AfterFunc(ctx, func() { server.Close() })()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve metrics: %w", err)
	}
	return nil
}
