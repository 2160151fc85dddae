package contract

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/natrix-os/natrix/agent/config"
	rules "github.com/natrix-os/natrix/agent/report/server"
	"github.com/vishvananda/netlink"
)

// reported is what a report says.
type reported struct {
	System struct {
		Operating map[string]string
	}
	Hardware struct {
		SN      string
		Product string
	}
	Networks map[string]struct {
		Name     string
		MAC      string  `json:"macaddress"`
		Local    *string `json:"local_ip"`
		Public   *string `json:"public_ip"`
		Gateway  *string
		Default  bool `json:"is_default"`
		Intranet bool `json:"access_intranet"`

		Corporate bool `json:"access_corporate"`
		Internet  bool `json:"access_internet"`
	}
	Heartbeat float64
}

// report waits for report number n on a queue, which passes the rules.
func (s *server) report(queue string, n int) reported {
	s.Helper()
	body := s.next(queue, n)
	judge := rules.Basic
	if queue == advance {
		judge = rules.Advance
	}
	if err := judge(body); err != nil {
		s.Errorf("the server refuses the report: %v\n%s", err, body)
	}
	var r reported
	if err := json.Unmarshal(body, &r); err != nil {
		s.Fatalf("%v: %s", err, body)
	}
	return r
}

// Basic and advance reports pass the rules; the first come within seconds of
// the network, the others at least as often as they have to.
func (l *lab) check21(t *testing.T) {
	if c := config.Default().AMQP; c.Basic > time.Minute || c.Advance > 30*time.Minute {
		t.Errorf("reports every %v and %v, want 60 s and 30 min at most", c.Basic, c.Advance)
	}
	l.halt(t)
	s := newServer(t, l.broker)
	s.reset()
	s.declareDurable(basic)
	s.declareDurable(advance)
	s.watch(basic)
	s.watch(advance)
	l.unplug()
	l.start(t, untargeted+"basic = 1\nadvance = 2\n", nil)
	eventually(t, "the agent to see that there is no broker", func() bool { return strings.Contains(l.agent.log.String(), "no broker") })
	l.plug(t)
	up := time.Now()
	first := s.report(basic, 0)
	if took := time.Since(up); took > 25*time.Second {
		t.Errorf("the first report took %v", took)
	}
	s.report(advance, 0)
	before := first.Heartbeat
	for n := 1; n <= 3; n++ {
		now := s.report(basic, n).Heartbeat
		if gap := now - before; gap <= 0 || gap > 10 { // of a second and what a loaded machine adds
			t.Errorf("report %d came %v s after the one before", n+1, gap)
		}
		before = now
	}
	s.report(advance, 1)
	a, b := parts(t, s.next(basic, 2)), parts(t, s.next(basic, 3))
	for _, part := range []string{"system", "networks"} { // what the server writes to its database when it changes
		if !bytes.Equal(a[part], b[part]) {
			t.Errorf("%s changed, though nothing did:\n%s\n%s", part, a[part], b[part])
		}
	}
	l.halt(t)
}

func parts(t *testing.T, report []byte) (p map[string]json.RawMessage) {
	t.Helper()
	if err := json.Unmarshal(report, &p); err != nil {
		t.Fatalf("%v: %s", err, report)
	}
	return p
}

// networks is an object without null or doubled MAC addresses, whatever links
// there are, and advance reports are whole: the rules look at types, sizes and
// all 18 keys of operating.
func (l *lab) check22(t *testing.T) {
	double := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "double", HardwareAddr: hardware(eth0), TxQLen: -1}, PeerName: "peer", PeerHardwareAddr: hardware("0200000000aa")}
	if err := l.terminal.Netlink.LinkAdd(double); err != nil {
		t.Fatal(err)
	}
	defer l.terminal.Netlink.LinkDel(double)
	s := l.restarted(t, shipped)
	r := s.report(advance, 0)
	if len(r.Networks) != 3 || r.Networks["eth0"].MAC != eth0 || r.Networks["eth1"].MAC != eth1 {
		t.Errorf("got networks %+v, want eth0, eth1 and peer", r.Networks)
	}
	n := r.Networks["eth0"]
	if n.Local == nil || *n.Local != l.terminal.Link("eth0").Addr4.String() || n.Gateway == nil || *n.Gateway != l.lan.Link("terminal").Addr4.String() || !n.Default || r.Networks["eth1"].Default {
		t.Errorf("got %+v", r.Networks)
	}
	blank := 0
	for key, value := range r.System.Operating {
		if strings.TrimSpace(value) == "" && !strings.HasSuffix(key, "_path") {
			blank++
			t.Errorf("%s is blank", key)
		}
	}
	if len(r.System.Operating) < 18 {
		t.Errorf("got %d keys of operating, want 18 at least", len(r.System.Operating))
	}
	s.report(basic, 0)
	l.halt(t)
}

// A link has an access if it reaches one of the targets, and not if they are
// reached by another link only; without targets it has.
func (l *lab) check23(t *testing.T) {
	ini := strings.NewReplacer(
		quote("www.baidu.com.com", "www.alibaba.com", "www.qq.com"), quote("missing.site.test", "http://far.site.test/x"),
		quote("test1.natrix.com", "test2.natrix.com"), "",
		quote("192.168.31.166", "192.168.31.188"), quote("hole.site.test"),
	).Replace(shipped)
	s := l.restarted(t, ini)
	networks := s.report(basic, 0).Networks
	if n := networks["eth0"]; !n.Internet || !n.Corporate || n.Intranet {
		t.Errorf("got %+v of eth0, want access to internet and corporate", n)
	}
	if n := networks["eth1"]; n.Internet || !n.Corporate || n.Intranet {
		t.Errorf("got %+v of eth1, want access to corporate, which has no targets", n)
	}
	l.halt(t)
}

// sn of a Raspberry Pi is the Serial of its cpuinfo, and the same after a reboot
// and on a new card.
func (l *lab) check24(t *testing.T) {
	cpuinfo, err := filepath.Abs("../../sysinfo/testdata/rpi3/proc/cpuinfo")
	if err != nil {
		t.Fatal(err)
	}
	body, err := os.ReadFile(cpuinfo)
	if err != nil {
		t.Fatal(err)
	}
	_, serial, _ := strings.Cut(string(body), "Serial")
	serial = strings.Fields(serial)[1] // what `cut -d ' ' -f 2` makes of the line
	defer func(etc string) { l.etc = etc }(l.etc)
	for range 2 {
		l.halt(t)
		l.etc = l.newEtc(t)
		s := newServer(t, l.broker)
		s.reset()
		s.declareDurable(basic)
		l.start(t, shipped, map[string]string{"/proc/cpuinfo": cpuinfo})
		if got := s.report(basic, 0).Hardware.SN; got != serial {
			t.Errorf("got sn %q, want %q", got, serial)
		}
	}
	l.halt(t)
}

// Nothing is published before the clock has been set.
func (l *lab) check30(t *testing.T) {
	l.halt(t)
	s := newServer(t, l.broker)
	s.reset()
	for _, queue := range []string{responses, basic, advance} {
		s.declareDurable(queue)
		s.watch(queue)
	}
	order := newOrder(eth0, "dns", "www.site.test", nil).String()
	s.send(eth0, order)
	set := time.Now().Add(5 * time.Second)
	l.startUnset(t, set)
	eventually(t, "the agent to wait for its clock", func() bool { return strings.Contains(l.agent.log.String(), "waiting for the clock") })
	for _, queue := range []string{basic, advance} {
		if at := s.report(queue, 0).Heartbeat; at < float64(set.UnixMicro())/1e6 {
			t.Errorf("a report of %f, before the clock was set at %v", at, set)
		}
	}
	got := s.answer(order, 0)
	for _, stamp := range []string{"terminal_request_receive_time", "terminal_response_return_time"} {
		var at float64
		if err := json.Unmarshal(got.Stamp[stamp], &at); err != nil || at < float64(set.UnixMicro())/1e6 {
			t.Errorf("%s is %s, before the clock was set at %v", stamp, got.Stamp[stamp], set)
		}
	}
	l.halt(t)
}

// Public addresses are those that the first service which works sees, for each
// link by that link.
func (l *lab) publicAddresses(t *testing.T) {
	ini := untargeted + "basic = 1\n[NETWORK]\npublic_ip_services = " + quote("http://any.site.test:81/", "http://any.site.test/status/500", "http://any.site.test/echo") + "\n"
	s := l.restarted(t, ini)
	own0, own1 := l.terminal.Link("eth0").Addr4.String(), l.terminal.Link("eth1").Addr4.String()
	number := -1
	eventually(t, "public addresses in a report", func() bool {
		number++
		n := s.report(basic, number).Networks
		return n["eth0"].Public != nil && *n["eth0"].Public == own0 && n["eth1"].Public != nil && *n["eth1"].Public == own1
	})
	l.halt(t)
}
