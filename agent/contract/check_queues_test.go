package contract

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// With the server having declared natrix_dial_response, keep_alive_basic and
// keep_alive_advance durable, the agent publishes to all three.
func (l *lab) check01(t *testing.T) {
	l.halt(t)
	s := newServer(t, l.broker)
	s.reset()
	for _, queue := range []string{responses, basic, advance} {
		s.declareDurable(queue)
		s.watch(queue)
	}
	l.start(t, shipped, nil)
	s.awaitConsumer(eth0)
	s.ask("dns", "www.site.test", nil)
	s.next(basic, 0)
	s.next(advance, 0)
	if log := l.agent.log.String(); strings.Contains(log, "406") || strings.Contains(log, "PRECONDITION") {
		t.Errorf("the agent was refused a queue:\n%s", log)
	}
	for _, queue := range []string{responses, basic, advance} {
		s.declareDurable(queue) // and so can the server go on doing
	}
}

// With a documented consumer having declared natrix_dial_response auto_delete
// first, the agent still delivers its response; likewise with a documented
// producer's queue for commands.
func (l *lab) check02(t *testing.T) {
	l.halt(t)
	s := newServer(t, l.broker)
	s.reset()
	for _, queue := range []string{responses, requests(eth0)} {
		if _, err := s.ch.QueueDeclare(queue, false, true, false, false, nil); err != nil {
			t.Fatal(err)
		}
	}
	s.watch(responses)
	l.start(t, shipped, nil)
	s.awaitConsumer(eth0)
	body := newOrder(eth0, "DNS", "www.site.test", nil).String()
	s.publish("", requests(eth0), body)
	s.answer(body, 0)
}

// For each link except lo the agent consumes natrix_request_<12 lower hex>, and
// the queue it makes is the server's. Links that come get theirs, and those
// that go lose it.
func (l *lab) check03(t *testing.T) {
	s := l.restarted(t, shipped)
	for _, id := range []string{eth0, eth1} {
		s.awaitConsumer(id)
		s.declareRequests(id) // refused if an argument differs
	}
	if _, consumers := s.state(requests("000000000000")); consumers >= 0 {
		t.Error("lo has a queue")
	}
	const plugged, other = "02000000aa01", "02000000aa02"
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "usb0", HardwareAddr: hardware(plugged), TxQLen: -1}, PeerName: "usb1", PeerHardwareAddr: hardware(other)}
	if err := l.terminal.Netlink.LinkAdd(veth); err != nil {
		t.Fatal(err)
	}
	s.awaitConsumer(plugged)
	s.awaitConsumer(other)
	if err := l.terminal.Netlink.LinkDel(veth); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{plugged, other} {
		eventually(t, "no consumer of "+id, func() bool {
			_, consumers := s.state(requests(id))
			return consumers == 0
		})
		s.ch.QueueDelete(requests(id), false, false, false)
	}
	s.ask("dns", "www.site.test", nil)
}

// The agent survives its broker and its link: it connects again by itself,
// consumes again, and delivers what it could not.
func (l *lab) check25(t *testing.T) {
	s := l.running(t)
	s.ask("dns", "www.site.test", nil)

	l.unplug()
	waiting := newOrder(eth0, "dns", "www.site.test", nil).String()
	s.send(eth0, waiting)
	time.Sleep(time.Second) // an outage, not a condition
	l.plug(t)
	s.answer(waiting, 0)

	if err := l.broker.Sync(t.Context()); err != nil { // the queues are to survive
		t.Fatal(err)
	}
	before := len(l.lanTargets.askedFor("outage.silent.test"))
	order := newOrder(eth0, "dns", "outage.silent.test", map[string]any{"timeout": 3}).String()
	s.send(eth0, order)
	eventually(t, "the command to run", func() bool { return len(l.lanTargets.askedFor("outage.silent.test")) > before })
	l.broker.Kill()
	if err := l.broker.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	s = newServer(t, l.broker)
	s.watch(responses)
	s.answer(order, 0).failsWith(t, 102)
	s.awaitConsumer(eth0)
	s.ask("dns", "www.site.test", nil)
}

// Commands are acknowledged: once answered, nothing is left in the queue nor
// in hand, and an agent that starts again does not run them.
func (l *lab) check26(t *testing.T) {
	s := l.restarted(t, shipped)
	for range 5 {
		s.ask("dns", "once.site.test", nil).failsWith(t, 101)
	}
	l.halt(t) // what was not acknowledged returns to the queue
	if messages, _ := s.state(requests(eth0)); messages != 0 {
		t.Errorf("%d commands are left in the queue", messages)
	}
	asked := len(l.lanTargets.askedFor("once.site.test"))
	l.start(t, shipped, nil)
	s.awaitConsumer(eth0)
	s.ask("dns", "www.site.test", nil)
	if got := len(s.all(responses)); got != 6 {
		t.Errorf("got %d responses to 6 commands", got)
	}
	if now := len(l.lanTargets.askedFor("once.site.test")); now != asked {
		t.Errorf("commands were run again: %d queries after %d", now, asked)
	}
}

// Garbage never kills the agent, and what has a uuid gets a response.
func (l *lab) check28(t *testing.T) {
	s := l.running(t)
	s.watch(responses)
	for _, body := range []string{"", "not JSON", "[]", "{}", "null", "\x00\xff", `{"protocol":"ping","destination":"x"}`, strings.Repeat("[", 1<<16)} {
		s.send(eth0, body)
	}
	const form = `{"uuid":"78b05299-8f64-4d0b-af42-b3df4ab904%02x","generate_timestamp":%d.5,"terminal":"b827ebf94174"%s}`
	for i, c := range []struct {
		rest   string
		status int
	}{
		{``, 1},
		{`,"destination":"www.site.test"`, 1},
		{`,"protocol":"dns"`, 1},
		{`,"protocol":7,"destination":[]`, 1},
		{`,"protocol":"telepathy","destination":"www.site.test"`, 1},
		{`,"protocol":"CHECK","destination":"www.site.test","parameters":{"type":"basic"}`, 1},
		{`,"protocol":"dns","destination":"www.site.test","parameters":[1]`, 1},
		{`,"protocol":"dns","destination":"www.site.test","parameters":{"timeout":"soon"}`, 1},
		{`,"protocol":"http","destination":"www.site.test","parameters":{"operation":"steal"}`, 1},
		{`,"protocol":"DNS","destination":"www.site.test"`, 0},
		{`,"protocol":"dns","destination":"www.site.test","parameters":null`, 0},
		{`,"protocol":"dns","destination":"www.site.test","parameters":{"dns_server":null,"timeout":"10","is_default":"true","unheard":{"of":1}}`, 0},
	} {
		body := fmt.Sprintf(form, i, time.Now().Unix(), c.rest)
		if got := s.exchange(eth0, body); got.Status != c.status {
			t.Errorf("%s: got %s, want status %d", body, got.raw, c.status)
		}
	}
	if got := s.ask("performance", "www.site.test", nil); got.Status == 1 && !json.Valid(got.Data) {
		t.Errorf("got %s", got.raw)
	}
	for _, raw := range s.all(responses) {
		if bytes.Contains(raw, []byte("goroutine")) {
			t.Errorf("a stack trace is not for the server: %s", raw)
		}
	}
}
