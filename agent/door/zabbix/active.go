package zabbix

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"time"
)

// caller is the proxy that calls its server.
type caller struct {
	*proxy
	identity *identity
}

const (
	connectTimeout   = 4 * time.Second
	dataTimeout      = 60 * time.Second
	configTimeout    = 120 * time.Second
	dataPause        = time.Second // between two requests: tasks come with the answers
	heartbeatPause   = time.Minute
	retryMost        = 30 * time.Second
	configPause      = time.Minute // 6.0
	configQuickPause = 10 * time.Second
)

// exchange sends one request to the first server that can be reached, and
// returns its answer.
func (c *caller) exchange(ctx context.Context, request []byte, l limit, timeout time.Duration) ([]byte, error) {
	var errs []error
	for _, server := range c.Config.Servers {
		conn, err := c.dial(ctx, server)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		answer, err := dialogue(ctx, conn, request, l, timeout)
		if err != nil {
			return nil, fmt.Errorf("ask %s: %w", server, err)
		}
		return answer, nil
	}
	return nil, errors.Join(errs...)
}

func (c *caller) dial(ctx context.Context, server string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", server)
	if err != nil || c.identity == nil {
		return conn, err
	}
	secure := c.identity.client(conn)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("TLS with %s: %w", server, err)
	}
	return secure, nil
}

// dialogue sends a request and waits for the answer. It closes the connection.
func dialogue(ctx context.Context, conn net.Conn, request []byte, l limit, timeout time.Duration) ([]byte, error) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	conn.SetDeadline(time.Now().Add(timeout))
	if err := writeFrame(conn, request, true); err != nil {
		return nil, err
	}
	answer, _, err := readFrame(conn, l)
	if errors.Is(err, io.EOF) {
		return nil, refusal{}
	}
	return answer, err
}

// pause waits between two attempts: longer and longer while they fail.
type pause struct{ failures int }

func (w *pause) wait(ctx context.Context, usual time.Duration, err error) bool {
	d := usual
	if err == nil {
		w.failures = 0
	} else {
		d = min(time.Second<<min(w.failures, 5), retryMost)
		d += time.Duration((rand.Float64() - 0.5) * 0.4 * float64(d))
		w.failures++
	}
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// warn logs a failure when it is new, and once in a while as long as it lasts.
func (w *pause) warn(ctx context.Context, c *caller, what string, err error) {
	if err != nil && ctx.Err() == nil && (w.failures == 0 || w.failures%20 == 5) {
		c.Log.Warn(what, "err", err)
	}
}

// heartbeat tells a server of 6.0 that this proxy lives.
func (c *caller) heartbeat(ctx context.Context) {
	var w pause
	for {
		if c.dialect() == legacy {
			request, err := json.Marshal(map[string]string{"request": "proxy heartbeat", "host": c.Config.Hostname, "version": legacy.announced()})
			if err == nil {
				_, err = c.exchange(ctx, request, replyLimit, dataTimeout)
			}
			if err != nil {
				c.Log.Debug("heartbeat", "err", err) // data and configuration tell of the same
			}
		}
		if !w.wait(ctx, heartbeatPause, nil) {
			return
		}
	}
}

// configure asks for the configuration again and again.
func (c *caller) configure(ctx context.Context) {
	var w pause
	for {
		err := c.fetch(ctx)
		w.warn(ctx, c, "no configuration from the Zabbix server; the one before stays", err)
		every := c.Config.Every
		if every == 0 {
			every = configPause
			if c.dialect() == revisions {
				every = configQuickPause
			}
		}
		if !w.wait(ctx, every, err) {
			return
		}
	}
}

// fetch asks for the configuration once. A server of 6.0 does not look at the
// additional names of 7.0, so the answer tells which it is.
func (c *caller) fetch(ctx context.Context) error {
	asked := revisions
	if c.Config.Protocol == string(legacy) {
		asked = legacy
	}
	c.mu.Lock()
	revision := c.revision
	c.mu.Unlock()
	request := map[string]any{"request": "proxy config", "host": c.Config.Hostname, "version": asked.announced()}
	if asked == revisions {
		request["session"], request["config_revision"] = c.session, revision
	}
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	answer, err := c.exchange(ctx, body, configLimit, configTimeout)
	if err != nil {
		return err
	}
	_, err = c.accept(answer)
	if err != nil && revision != 0 {
		c.mu.Lock()
		c.revision = 0 // ask for everything next time
		c.mu.Unlock()
	}
	return err
}

// reply is what the server says to data.
type reply struct {
	Response string            `json:"response"`
	Info     string            `json:"info"`
	Upload   string            `json:"upload"`
	Tasks    []json.RawMessage `json:"tasks"`
}

func readReply(body []byte) (r reply, err error) {
	if err := checkDepth(body); err != nil {
		return r, fmt.Errorf("read reply: %w", err)
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return r, fmt.Errorf("read reply: %w", err)
	}
	return r, nil
}

// deliver uploads what there is, every second and at once while more waits,
// until ctx ends.
func (c *caller) deliver(ctx context.Context) {
	var w pause
	open := true // whether the server takes data
	for {
		more, upload, err := c.upload(ctx, open)
		if upload != open && err == nil {
			c.Log.Info("upload", "enabled", upload)
		}
		open = upload
		w.warn(ctx, c, "no data to the Zabbix server; values are kept", err)
		if more && err == nil && ctx.Err() == nil {
			w.failures = 0
			continue
		}
		if !w.wait(ctx, dataPause, err) {
			return
		}
	}
}

// upload sends one packet of data, or an empty one if the server takes none,
// and returns whether more waits and whether the server takes data from now on.
func (c *caller) upload(ctx context.Context, open bool) (more, enabled bool, err error) {
	c.sending.Lock()
	defer c.sending.Unlock()
	packet, err := c.pack(open)
	if err != nil {
		return false, open, err
	}
	head := fmt.Appendf(nil, `{"request":"proxy data","host":%s,`, quote(c.Config.Hostname))
	answer, err := c.exchange(ctx, append(head, packet.body...), replyLimit, dataTimeout)
	if err != nil {
		return false, open, err
	}
	r, err := readReply(answer)
	if err != nil {
		return false, open, err
	}
	if r.Upload == "disabled" {
		if r.Response == "success" {
			c.handle(ctx, r.Tasks)
		}
		return false, false, nil
	}
	if r.Response != "success" {
		return false, open, c.suspect(packet, refusal{r.Info})
	}
	c.handle(ctx, r.Tasks)
	if err := c.delivered(packet); err != nil {
		return false, true, err
	}
	return packet.more, true, nil
}
