package chaos

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// fault is what a proxy does to its connections.
type fault string

const (
	cut     fault = "cut"       // both sides closed
	reset   fault = "reset"     // both sides reset
	stall   fault = "stall"     // nothing passes, and nobody is told, for a while
	trickle fault = "trickle"   // a few bytes at a time, for a while
	garbage fault = "garbage"   // bytes that nobody sent
	half    fault = "half-open" // what the terminal sends is lost without a word
)

var faults = []fault{cut, reset, stall, trickle, garbage, half}

// proxy stands between a terminal and its broker.
type proxy struct {
	listener net.Listener
	target   string

	mu    sync.Mutex
	conns map[*pair]bool
	wait  sync.WaitGroup
}

// pair is one connection through the proxy.
type pair struct {
	terminal, broker *net.TCPConn

	mu      sync.Mutex
	slow    time.Time // until when it trickles
	still   time.Time // until when nothing passes
	deaf    bool      // what the terminal sends is thrown away
	spoiled bool      // the next bytes for the terminal are spoilt
}

func newProxy(l net.Listener, target string) *proxy {
	p := &proxy{listener: l, target: target, conns: make(map[*pair]bool)}
	p.wait.Go(p.accept)
	return p
}

func (p *proxy) close() {
	p.listener.Close()
	p.do(cut, 0)
	p.wait.Wait()
}

func (p *proxy) accept() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.wait.Go(func() { p.serve(conn.(*net.TCPConn)) })
	}
}

func (p *proxy) serve(terminal *net.TCPConn) {
	defer terminal.Close()
	conn, err := net.DialTimeout("tcp", p.target, 5*time.Second)
	if err != nil {
		return
	}
	defer conn.Close()
	c := &pair{terminal: terminal, broker: conn.(*net.TCPConn)}
	p.mu.Lock()
	p.conns[c] = true
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.conns, c)
	}()
	var both sync.WaitGroup
	both.Go(func() { c.copy(c.broker, c.terminal, true) })
	both.Go(func() { c.copy(c.terminal, c.broker, false) })
	both.Wait()
}

// copy passes on what one side sends, as the faults let it.
func (c *pair) copy(to, from *net.TCPConn, fromTerminal bool) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 16<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if !c.pass(to, buf[:n], fromTerminal) {
			return
		}
	}
}

func (c *pair) pass(to io.Writer, b []byte, fromTerminal bool) bool {
	for len(b) > 0 {
		c.mu.Lock()
		slow, still, drop := time.Until(c.slow), time.Until(c.still), c.deaf && fromTerminal
		spoil := c.spoiled && !fromTerminal
		c.spoiled = c.spoiled && !spoil
		c.mu.Unlock()
		n := len(b)
		switch {
		case drop:
			return true
		case still > 0:
			time.Sleep(min(still, 100*time.Millisecond))
			continue
		case slow > 0:
			n = min(n, 7)
			time.Sleep(5 * time.Millisecond)
		case spoil:
			for i := range b {
				b[i] = byte(rand.Uint32())
			}
		}
		if _, err := to.Write(b[:n]); err != nil {
			return false
		}
		b = b[n:]
	}
	return true
}

// do brings a fault over every connection that there is.
func (p *proxy) do(f fault, lasts time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.mu.Lock()
		switch f {
		case stall:
			c.still = time.Now().Add(lasts)
		case trickle:
			c.slow = time.Now().Add(lasts)
		case garbage:
			c.spoiled = true
		case half:
			c.deaf = true
		case reset:
			c.terminal.SetLinger(0)
			c.broker.SetLinger(0)
			fallthrough
		case cut:
			c.terminal.Close()
			c.broker.Close()
		}
		c.mu.Unlock()
	}
}
