package zabbix

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	callersMost  = 32               // connections at the same time
	firstFrame   = 10 * time.Second // for a caller to say what it wants
	laterFrame   = 60 * time.Second
	answersBound = 30 * time.Second
)

// call is one connection of a server, a sender or an active agent.
type call struct {
	*proxy
	conn       net.Conn
	from       netip.Addr
	compressed bool // whether the caller compresses
}

// serve answers calls until ctx ends.
func (p *proxy) serve(ctx context.Context, l net.Listener, id *identity) {
	var running sync.WaitGroup
	defer running.Wait()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	defer l.Close()
	places := make(chan struct{}, callersMost)
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			p.Log.Warn("listen for the Zabbix server", "err", err)
			select {
			case <-time.After(time.Second): // too many open files, as a rule
				continue
			case <-ctx.Done():
				return
			}
		}
		from := remote(conn)
		if !p.allowed(from) {
			conn.Close()
			p.Log.Debug("a stranger was not let in", "dst", from)
			continue
		}
		select {
		case places <- struct{}{}:
		default:
			conn.Close()
			continue
		}
		running.Go(func() {
			defer func() { <-places }()
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { conn.Close() })()
			if err := p.answer(ctx, conn, from, id); err != nil && ctx.Err() == nil {
				p.Log.Warn("a call was not answered", "dst", from, "err", err)
			}
		})
	}
}

func remote(conn net.Conn) netip.Addr {
	a, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return a.AddrPort().Addr().Unmap()
}

func (p *proxy) allowed(from netip.Addr) bool {
	for _, network := range p.Config.Allowed {
		if network.Contains(from.WithZone("")) {
			return true
		}
	}
	return false
}

// answer does what one connection asks for.
func (p *proxy) answer(ctx context.Context, conn net.Conn, from netip.Addr, id *identity) error {
	conn.SetDeadline(time.Now().Add(firstFrame))
	if id != nil {
		secure := id.server(conn)
		if err := secure.HandshakeContext(ctx); err != nil {
			return fmt.Errorf("TLS: %w", err)
		}
		conn = secure
	}
	c := &call{proxy: p, conn: conn, from: from}
	body, err := c.read(configLimit)
	if errors.Is(err, io.EOF) {
		return nil // a port check
	}
	if err != nil {
		return err
	}
	if err := checkDepth(body); err != nil {
		return err
	}
	var q struct {
		Request string          `json:"request"`
		Data    json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(body, &q); err != nil {
		return fmt.Errorf("read request: %w", err)
	}
	conn.SetDeadline(time.Now().Add(answersBound + laterFrame))
	passive := p.Config.Mode == "passive"
	switch {
	case q.Request == "sender data" || q.Request == "agent data":
		return c.trap(body)
	case q.Request == "active checks":
		return c.activeChecks(body)
	case !passive:
		return c.write(map[string]string{"response": "failed", "info": "this proxy is active"})
	case q.Request == "proxy data":
		return c.data(ctx)
	case q.Request == "proxy tasks":
		return c.tasks(ctx)
	case q.Request == "proxy config" && q.Data != nil:
		return c.configLegacy(q.Data)
	case q.Request == "proxy config":
		return c.configRevision()
	}
	return fmt.Errorf("%q is nothing that is done here", cut(q.Request, 64))
}

// read receives one frame.
func (c *call) read(l limit) (body []byte, err error) {
	body, c.compressed, err = readFrame(c.conn, l)
	return body, err
}

func (c *call) write(answer any) error {
	body, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	return writeFrame(c.conn, body, true)
}

// data hands out what there is. The server's word comes after it has read the
// packet: without that the same records go out again.
func (c *call) data(ctx context.Context) error {
	c.sending.Lock()
	defer c.sending.Unlock()
	c.mu.Lock()
	configured := c.current.items != nil && len(c.tables) > 0
	c.mu.Unlock()
	k, err := c.pack(configured) // the dialect is known from a configuration only
	if err != nil {
		return err
	}
	return c.hand(ctx, append([]byte("{"), k.body...), k)
}

// tasks hands out results of tasks alone.
func (c *call) tasks(ctx context.Context) error {
	c.sending.Lock()
	defer c.sending.Unlock()
	k, err := c.pack(false)
	if err != nil {
		return err
	}
	return c.hand(ctx, append([]byte("{"), k.body...), k)
}

func (c *call) hand(ctx context.Context, body []byte, k *packet) error {
	if err := writeFrame(c.conn, body, true); err != nil {
		return err
	}
	answer, err := c.read(replyLimit)
	if err != nil {
		return fmt.Errorf("the server does not confirm: %w", err)
	}
	r, err := readReply(answer)
	if err != nil {
		return err
	}
	if r.Response != "success" {
		return refusal{r.Info}
	}
	c.handle(ctx, r.Tasks)
	return c.delivered(k)
}

func (c *call) configLegacy(data []byte) error {
	t, err := parseTables(data)
	if err == nil {
		err = c.activate(t, 0, legacy)
	}
	if err != nil {
		return errors.Join(err, c.write(map[string]string{"response": "failed", "info": err.Error(), "version": legacy.announced()}))
	}
	return c.write(map[string]string{"response": "success", "version": legacy.announced()})
}

// configRevision is the dialogue of servers from 6.4 on: they ask first which
// configuration there is.
func (c *call) configRevision() error {
	c.mu.Lock()
	revision := c.revision
	c.mu.Unlock()
	version := revisions.announced()
	if err := c.write(map[string]any{"version": version, "session": c.session, "config_revision": revision}); err != nil {
		return err
	}
	body, err := c.read(configLimit)
	if err != nil {
		return err
	}
	if _, err := c.accept(body); err != nil {
		c.mu.Lock()
		c.revision = 0
		c.mu.Unlock()
		return errors.Join(err, c.write(map[string]string{"response": "failed", "info": err.Error(), "version": version}))
	}
	return c.write(map[string]string{"response": "success", "version": version})
}
