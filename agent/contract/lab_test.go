package contract

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/natrix-os/natrix/agent/door/amqp/amqptest"
	"github.com/natrix-os/natrix/sysinfo/netif/nettest"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// patience is how long a check waits for what has to come.
const patience = 40 * time.Second

// eth0 and eth1 are the ids of the terminal's links; the first is the one that
// the examples of the server are for.
const (
	eth0 = "b827ebf94174"
	eth1 = "b827ebac1421"
)

// lab is a terminal between two networks. It reaches the server by eth0:
//
//	         ╭ server
//	    lan ─┼─ 100 ms each way ─ far
//	eth0 │   ├─ nothing passes ─ hole
//	     │   ├─ !H ─ closed
//	     │   ╰─ !X ─ barred
//	 terminal
//	eth1 │
//	   other
//
// The addresses anycast and those of the examples' name servers are both of
// lan and of other: who answers tells by which link a packet left.
type lab struct {
	broker                                          *amqptest.Broker
	terminal, lan, other, far, hole, closed, barred *nettest.Host

	lanTargets, otherTargets *targets

	binary string   // natrix
	etc    string   // becomes the terminal's /etc
	agent  *process // that runs; nil if none does
}

// anycast is the address of services in lan and in other.
var anycast = netip.MustParseAddr("10.53.0.1")

// shipped is the configuration file that the original client came with.
const shipped = `[RABBITMQ]
host = rabbitmq.natrix.com
port = 5672
username = natrix
password = natrix
vhost = /natrix

[NETWORK]
internet_websites = ["www.baidu.com.com", "www.alibaba.com", "www.qq.com"]
corporate_websites = ["test1.natrix.com", "test2.natrix.com"]
intranet_ips = ["192.168.31.166", "192.168.31.188"]
`

// untargeted is the shipped file as far as the broker goes. Targets that are
// not there take their time.
var untargeted, _, _ = strings.Cut(shipped, "\n[NETWORK]")

func newLab(t testing.TB) *lab {
	nettest.Need(t)
	l := &lab{broker: amqptest.ForTest(t), binary: filepath.Join(t.TempDir(), "natrix")}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", l.binary, "../cmd/natrix").CombinedOutput(); err != nil {
		t.Fatalf("build natrix: %v\n%s", err, out)
	}
	l.connect(t)
	l.lanTargets, l.otherTargets = serveTargets(t, l.lan, l), serveTargets(t, l.other, l)
	l.etc = l.newEtc(t)
	t.Cleanup(func() {
		if l.agent != nil {
			l.agent.stop(t)
		}
	})
	return l
}

// connect builds the network.
func (l *lab) connect(t testing.TB) {
	n := nettest.New(t)
	l.terminal, l.lan, l.other = n.Host("terminal"), n.Host("eth0"), n.Host("eth1") // a link is called like who is at its other end
	l.far, l.hole, l.closed, l.barred = n.Host("far"), n.Host("hole"), n.Host("closed"), n.Host("barred")
	n.Connect(l.terminal, l.lan)
	n.Connect(l.terminal, l.other)
	for name, id := range map[string]string{"eth0": eth0, "eth1": eth1} {
		link, err := l.terminal.Netlink.LinkByName(name)
		if err == nil {
			err = l.terminal.Netlink.LinkSetHardwareAddr(link, hardware(id))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	n.Connect(l.lan, l.far, nettest.Router{Delay: 100 * time.Millisecond})
	n.Connect(l.lan, l.hole, nettest.Router{BlackHole: true})
	n.Connect(l.lan, l.closed, nettest.Router{Refuse: nettest.HostUnreachable})
	n.Connect(l.lan, l.barred, nettest.Router{Refuse: nettest.Prohibited})
	n.Route()
	for _, h := range []*nettest.Host{l.lan, l.other} {
		for _, a := range []string{anycast.String(), "8.8.8.8", "114.114.114.114"} {
			h.AddAddr("terminal", netip.PrefixFrom(netip.MustParseAddr(a), 32))
		}
	}
	l.other.AddRoute(netip.MustParsePrefix("10.0.0.0/14"), unix.RTN_UNREACHABLE)
	l.route(t)
}

// unplug takes the terminal off its networks, and its routes with it.
func (l *lab) unplug() {
	l.terminal.Unplug("eth0")
	l.terminal.Unplug("eth1")
}

// plug brings back what a lease would: the default route is that of eth0.
func (l *lab) plug(t testing.TB) {
	t.Helper()
	for _, link := range []string{"eth0", "eth1"} {
		l.terminal.Plug(link)
		l.terminal.AddAddr(link, netip.PrefixFrom(l.terminal.Link(link).Addr6, 64))
	}
	l.route(t)
}

func (l *lab) route(t testing.TB) {
	t.Helper()
	near := l.lan.Link("terminal").Addr4
	l.terminal.AddRoute(netip.MustParsePrefix("0.0.0.0/0"), unix.RTN_UNICAST, near)
	for _, far := range []*nettest.Host{l.far, l.hole, l.closed, l.barred} {
		l.terminal.AddRoute(netip.PrefixFrom(far.Addr4, 24).Masked(), unix.RTN_UNICAST, near)
	}
	second := &netlink.Route{Gw: l.other.Link("terminal").Addr4.AsSlice(), Priority: 100}
	if err := l.terminal.Netlink.RouteReplace(second); err != nil {
		t.Fatal(err)
	}
}

func hardware(id string) net.HardwareAddr {
	var h net.HardwareAddr
	fmt.Sscanf(id, "%12x", &h)
	return h
}

// newEtc makes the terminal's /etc.
func (l *lab) newEtc(t testing.TB) string {
	dir := t.TempDir()
	for name, body := range map[string]string{
		"resolv.conf":                   "nameserver " + anycast.String() + "\noptions timeout:2 attempts:2\n",
		"hosts":                         "127.0.0.1 localhost\n",
		"os-release":                    "ID=raspbian\nNAME=\"Raspbian GNU/Linux\"\nVERSION_ID=\"9\"\nVERSION=\"9 (stretch)\"\nID_LIKE=debian\n",
		"ssl/certs/ca-certificates.crt": l.lanTargets.authority + l.otherTargets.authority,
		"natrix/natrix.ini":             shipped,
		"chromium.d/none":               "", // Debian's chromium wants to read one
	} {
		write(t, filepath.Join(dir, name), body)
	}
	return dir
}

func write(t testing.TB, path, body string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(body), 0o644); err != nil {
		t.Fatal(err)
	}
}

// command is a program on the terminal, with its /etc and further files in
// place of the machine's own.
func (l *lab) command(ctx context.Context, files map[string]string, words ...string) *exec.Cmd {
	const enter = `while [ "$1" != -- ]; do mount --bind "$1" "$2" || exit 99; shift 2; done; shift; exec "$@"`
	args := []string{"-m", "sh", "-c", enter, "sh"}
	for path, instead := range files {
		args = append(args, instead, path)
	}
	args = append(args, l.etc, "/etc", "--")
	return exec.CommandContext(ctx, "unshare", append(args, words...)...)
}

// natrix runs the program on the terminal and returns what it printed, and its
// exit code.
func (l *lab) natrix(t testing.TB, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := l.command(ctx, nil, append([]string{l.binary}, args...)...)
	var out, err bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &err
	if e := l.terminal.Start(cmd); e != nil {
		t.Fatal(e)
	}
	cmd.Wait()
	return out.String(), err.String(), cmd.ProcessState.ExitCode()
}

// process is a running agent.
type process struct {
	cmd   *exec.Cmd
	log   *record
	ended chan struct{}
}

// record is what a program wrote, which may be read while it writes.
type record struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (r *record) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.b.Write(b)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.b.String()
}

// running sees to it that an agent with the shipped file runs, if need be one
// that ran for the check before.
func (l *lab) running(t testing.TB) *server {
	t.Helper()
	if l.agent == nil {
		return l.restarted(t, shipped)
	}
	l.agent.tellIfFailed(t)
	return newServer(t, l.broker)
}

// restarted is an agent of its own for a check, and a server without queues
// that others left.
func (l *lab) restarted(t testing.TB, ini string) *server {
	t.Helper()
	l.halt(t)
	s := newServer(t, l.broker)
	s.reset()
	l.start(t, ini, nil)
	s.awaitConsumer(eth0)
	return s
}

// halt ends the agent that runs.
func (l *lab) halt(t testing.TB) {
	t.Helper()
	if l.agent != nil {
		l.agent.stop(t)
		l.agent = nil
	}
}

// start starts an agent, which runs on after the check unless it ends it.
func (l *lab) start(t testing.TB, ini string, files map[string]string) {
	t.Helper()
	write(t, filepath.Join(l.etc, "natrix/natrix.ini"), ini)
	l.startProgram(t, files, l.binary, "agent")
}

func (l *lab) startProgram(t testing.TB, files map[string]string, words ...string) {
	t.Helper()
	a := &process{cmd: l.command(context.Background(), files, words...), log: new(record), ended: make(chan struct{})}
	a.cmd.Stderr = a.log
	started := make(chan error)
	go a.run(l.terminal, started)
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	l.agent = a
	a.tellIfFailed(t)
}

// run is the life of the program. It stays on the thread that started it, with
// which the signal goes that ends the program when the tests are killed.
func (p *process) run(h *nettest.Host, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.ended)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err := h.Start(p.cmd)
	started <- err
	if err == nil {
		p.cmd.Wait()
	}
}

// stop ends the agent as an operator would.
func (p *process) stop(t testing.TB) {
	t.Helper()
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
		if code := p.cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("the agent ended with %d\n%s", code, p.log)
		}
	case <-time.After(patience):
		p.kill()
		t.Errorf("the agent does not end\n%s", p.log)
	}
}

func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.ended
}

// tellIfFailed shows the log of a check that failed.
func (p *process) tellIfFailed(t testing.TB) {
	before := len(p.log.String())
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the agent said:\n%s", p.log.String()[before:])
		}
	})
}

// forward passes connections to a port of h on to the broker, as a route would.
func (l *lab) forward(t testing.TB, h *nettest.Host, port string) {
	listener := listen(t, h, ":"+port)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() { relay(near, l.broker.Port) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		l.broker.Kill() // ends the connections
		all.Wait()
	})
}

func relay(near net.Conn, port int) {
	defer near.Close()
	far, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return
	}
	defer far.Close()
	var both sync.WaitGroup
	both.Go(func() { io.Copy(far, near); far.Close() })
	both.Go(func() { io.Copy(near, far); near.Close() })
	both.Wait()
}

func listen(t testing.TB, h *nettest.Host, address string) net.Listener {
	t.Helper()
	var listener net.Listener
	h.Do(func() {
		var err error
		if listener, err = net.Listen("tcp", address); err != nil {
			t.Fatal(err)
		}
	})
	return listener
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// quote is a list as the file has it.
func quote(words ...string) string { return `["` + strings.Join(words, `", "`) + `"]` }
