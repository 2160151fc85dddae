package lease

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/server4"
	"github.com/vishvananda/netlink"
	"golang.org/x/net/ipv6"

	"github.com/natrix-os/natrix/sysinfo/netif/nettest"
)

// childDir makes the test binary run the client instead of tests, since a
// namespace belongs to threads and Run has goroutines on many.
const childDir = "NATRIX_LEASE_TEST_DIR"

// childFixed, if it is set, gives the child's link an address by hand, with its
// gateway and name server.
const childFixed = "NATRIX_LEASE_TEST_FIXED"

func TestMain(m *testing.M) {
	dir := os.Getenv(childDir)
	if dir == "" {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	config := Config{Dir: filepath.Join(dir, "leases"), Resolv: filepath.Join(dir, "resolv.conf"), Host: "natrix-test"}
	if fixed := strings.Fields(os.Getenv(childFixed)); len(fixed) == 2 {
		gateway := netip.MustParseAddr(fixed[1])
		config.DNS = []netip.Addr{gateway}
		config.Fixed = []Lease{{Link: "server", Addr: netip.MustParsePrefix(fixed[0]), Gateway: gateway, Routes: []Route{{defaultRoute, gateway}}}}
	}
	if err := Run(ctx, config, log); err != nil {
		log.Error("run", "err", err)
		os.Exit(1)
	}
}

// dhcpd is a DHCP server with one address to give.
type dhcpd struct {
	mu      sync.Mutex
	id      net.IP // its identifier
	addr    net.IP
	length  time.Duration
	silent  bool
	refuse  bool // NAK every request
	options []dhcpv4.Option
	heard   []string // what clients sent: DISCOVER, REQUEST, RENEW (unicast), REBIND, REBOOT
}

func (d *dhcpd) set(f func(*dhcpd)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f(d)
}

func (d *dhcpd) count(kind string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for _, h := range d.heard {
		if h == kind {
			n++
		}
	}
	return n
}

func (d *dhcpd) serve(conn net.PacketConn, peer net.Addr, m *dhcpv4.DHCPv4) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.heard = append(d.heard, kind(m))
	if d.silent {
		return
	}
	if id := m.ServerIdentifier(); id != nil && !id.Equal(d.id) {
		return
	}
	answer := map[dhcpv4.MessageType]dhcpv4.MessageType{
		dhcpv4.MessageTypeDiscover: dhcpv4.MessageTypeOffer,
		dhcpv4.MessageTypeRequest:  dhcpv4.MessageTypeAck,
	}[m.MessageType()]
	if wrong := !d.addr.Equal(requested(m)); m.MessageType() == dhcpv4.MessageTypeRequest && (wrong || d.refuse) {
		answer = dhcpv4.MessageTypeNak
	}
	reply, err := dhcpv4.NewReplyFromRequest(m, dhcpv4.WithMessageType(answer), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(d.id)))
	if err != nil {
		return
	}
	if answer != dhcpv4.MessageTypeNak {
		reply.YourIPAddr = d.addr
		reply.UpdateOption(dhcpv4.OptIPAddressLeaseTime(d.length))
		reply.UpdateOption(dhcpv4.OptSubnetMask(net.CIDRMask(24, 32)))
		for _, o := range d.options {
			reply.UpdateOption(o)
		}
	}
	to := net.Addr(&net.UDPAddr{IP: net.IPv4bcast, Port: 68})
	if !m.ClientIPAddr.IsUnspecified() && answer != dhcpv4.MessageTypeNak {
		to = &net.UDPAddr{IP: m.ClientIPAddr, Port: 68}
	}
	conn.WriteTo(reply.ToBytes(), to)
}

// kind tells requests apart as RFC 2131 section 4.3.2 does.
func kind(m *dhcpv4.DHCPv4) string {
	switch {
	case m.MessageType() != dhcpv4.MessageTypeRequest:
		return m.MessageType().String()
	case m.ServerIdentifier() != nil:
		return "REQUEST"
	case m.RequestedIPAddress() != nil:
		return "REBOOT"
	default:
		return "EXTEND"
	}
}

func requested(m *dhcpv4.DHCPv4) net.IP {
	if ip := m.RequestedIPAddress(); ip != nil {
		return ip
	}
	return m.ClientIPAddr
}

// lab is a terminal and a DHCP server on one cable:
//
//	term ───────── server      10.0.1.0/24
//	    .1 to .99  .2, .3
type lab struct {
	*dhcpd
	t            *testing.T
	term, server *nettest.Host
	dir          string
	fixed        string // for childFixed
	child        *exec.Cmd
	log          *syncBuffer
}

func newLab(t *testing.T, d *dhcpd) *lab {
	t.Helper()
	n := nettest.New(t)
	l := &lab{dhcpd: d, t: t, term: n.Host("term"), server: n.Host("server"), dir: t.TempDir(), log: &syncBuffer{}}
	n.Connect(l.term, l.server)
	l.removeAddr(l.term, "server", "10.0.1.1/24") // that nettest gave it
	l.listen()
	l.run()
	return l
}

func (l *lab) removeAddr(h *nettest.Host, name, addr string) {
	l.t.Helper()
	link, err := h.Netlink.LinkByName(name)
	if err != nil {
		l.t.Fatal(err)
	}
	if err := h.Netlink.AddrDel(link, &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix(addr))}); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) listen() {
	l.t.Helper()
	var s *server4.Server
	var err error
	l.server.Do(func() { s, err = server4.NewServer("term", nil, l.serve) })
	if err != nil {
		l.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); s.Serve() }()
	l.t.Cleanup(func() { s.Close(); <-done })
}

func (l *lab) run() {
	l.t.Helper()
	l.child = exec.Command(os.Args[0])
	l.child.Env = append(os.Environ(), childDir+"="+l.dir, childFixed+"="+l.fixed)
	l.child.Stderr = l.log
	if err := l.term.Start(l.child); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(l.end)
}

func (l *lab) end() {
	if l.child.ProcessState != nil {
		return
	}
	l.child.Process.Signal(syscall.SIGTERM)
	if err := l.child.Wait(); err != nil {
		l.t.Errorf("client ended: %v", err)
	}
	if l.t.Failed() {
		l.t.Logf("client's log:\n%s", l.log)
	}
}

// deadline is how long a test waits for what must come, on a busy machine too.
const deadline = time.Minute

// wait waits for the state of the terminal to be want.
func (l *lab) wait(want string) {
	l.t.Helper()
	end := time.Now().Add(deadline)
	for {
		got := l.state()
		if got == want {
			return
		}
		if time.Now().After(end) {
			l.t.Fatalf("state of the terminal:\ngot:\n%s\nwant:\n%s", got, want)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (l *lab) waitFor(what string, ok func() bool) {
	l.t.Helper()
	end := time.Now().Add(deadline)
	for !ok() {
		if time.Now().After(end) {
			l.t.Fatalf("%s: got no, want yes", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (l *lab) addrs(link string, family int) []netip.Addr {
	l.t.Helper()
	list, err := l.term.Netlink.AddrList(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: l.term.Link(link).Index}}, family)
	if err != nil {
		l.t.Fatal(err)
	}
	var addrs []netip.Addr
	for _, a := range list {
		addr, _ := netip.AddrFromSlice(a.IP)
		addrs = append(addrs, addr)
	}
	return addrs
}

// state is the addresses and routes of the kernel, resolv.conf and the record.
func (l *lab) state() string {
	var b strings.Builder
	link, err := l.term.Netlink.LinkByName("server")
	if err != nil {
		return err.Error()
	}
	addrs, _ := l.term.Netlink.AddrList(link, netlink.FAMILY_V4)
	for _, a := range addrs {
		fmt.Fprintf(&b, "address %s\n", a.IPNet)
	}
	routes, _ := l.term.Netlink.RouteList(link, netlink.FAMILY_V4)
	var lines []string
	for _, r := range routes {
		line := fmt.Sprintf("route %s via %s", r.Dst, r.Gw)
		if want := metric(link.Attrs().Index); r.Priority != want {
			line += fmt.Sprintf(" metric %d, not %d", r.Priority, want)
		}
		lines = append(lines, line+"\n")
	}
	slices.Sort(lines)
	b.WriteString(strings.Join(lines, ""))
	resolv, _ := os.ReadFile(filepath.Join(l.dir, "resolv.conf"))
	b.Write(resolv)
	leases, err := Read(filepath.Join(l.dir, "leases"))
	if err != nil {
		return err.Error()
	}
	for _, r := range leases {
		fmt.Fprintf(&b, "lease %s from %s by %s\n", r.Addr, r.Server, r.Gateway)
	}
	return b.String()
}

type syncBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func server1() *dhcpd {
	return &dhcpd{
		id:     net.IPv4(10, 0, 1, 2).To4(),
		addr:   net.IPv4(10, 0, 1, 50).To4(),
		length: time.Hour,
		options: []dhcpv4.Option{
			dhcpv4.OptRouter(net.IPv4(10, 0, 1, 2)),
			dhcpv4.OptDNS(net.IPv4(10, 0, 1, 2), net.IPv4(10, 0, 1, 3)),
			dhcpv4.OptDomainName("example.net"),
		},
	}
}

const bound50 = `address 10.0.1.50/24
route 0.0.0.0/0 via 10.0.1.2
route 10.0.1.0/24 via <nil>
nameserver 10.0.1.2
nameserver 10.0.1.3
search example.net
lease 10.0.1.50/24 from 10.0.1.2 by 10.0.1.2
`

func TestNetnsAcquire(t *testing.T) {
	t.Parallel()
	newLab(t, server1()).wait(bound50)
}

func TestNetnsClasslessRoutesReplaceRouters(t *testing.T) {
	t.Parallel()
	d := server1()
	d.options = append(d.options, dhcpv4.OptClasslessStaticRoute(
		&dhcpv4.Route{Dest: &net.IPNet{IP: net.IPv4(192, 0, 2, 0).To4(), Mask: net.CIDRMask(24, 32)}, Router: net.IPv4(10, 0, 1, 3).To4()},
		&dhcpv4.Route{Dest: &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}, Router: net.IPv4(10, 0, 1, 9).To4()},
	))
	newLab(t, d).wait(`address 10.0.1.50/24
route 0.0.0.0/0 via 10.0.1.9
route 10.0.1.0/24 via <nil>
route 192.0.2.0/24 via 10.0.1.3
nameserver 10.0.1.2
nameserver 10.0.1.3
search example.net
lease 10.0.1.50/24 from 10.0.1.2 by 10.0.1.9
`)
}

func TestNetnsRenewsAtHalfTime(t *testing.T) {
	t.Parallel()
	d := server1()
	d.length = 4 * time.Second
	l := newLab(t, d)
	l.waitFor("renewed twice", func() bool { return d.count("EXTEND") >= 2 })
	if got := d.count("DISCOVER"); got != 1 {
		t.Errorf("discoveries: got %d, want 1", got)
	}
	l.wait(bound50)
}

func TestNetnsRefusedRenewalStartsOver(t *testing.T) {
	t.Parallel()
	d := server1()
	d.length = 4 * time.Second
	l := newLab(t, d)
	l.wait(bound50)
	d.set(func(d *dhcpd) { d.addr = net.IPv4(10, 0, 1, 60).To4(); d.length = time.Hour })
	l.wait(strings.ReplaceAll(bound50, ".50", ".60"))
}

func TestNetnsServerGoneAndBack(t *testing.T) {
	t.Parallel()
	d := server1()
	d.length = 4 * time.Second
	l := newLab(t, d)
	l.wait(bound50)
	d.set(func(d *dhcpd) { d.silent = true })
	l.wait("") // expired
	d.set(func(d *dhcpd) { d.silent = false; d.length = time.Hour })
	l.wait(bound50)
}

func TestNetnsAnotherServerTakesOver(t *testing.T) {
	t.Parallel()
	d := server1()
	d.length = 8 * time.Second
	l := newLab(t, d)
	l.wait(bound50)
	// The first server is gone for good, so that only rebinding, which is for
	// all to hear, finds the second one.
	l.server.AddAddr("term", netip.MustParsePrefix("10.0.1.3/24"))
	l.removeAddr(l.server, "term", "10.0.1.2/24")
	d.set(func(d *dhcpd) { d.id = net.IPv4(10, 0, 1, 3).To4(); d.length = time.Hour })
	l.wait(strings.Replace(bound50, "from 10.0.1.2", "from 10.0.1.3", 1))
	if got := d.count("DISCOVER"); got != 1 {
		t.Errorf("discoveries: got %d, want 1: rebinding keeps the lease", got)
	}
}

func TestNetnsReplugConfirms(t *testing.T) {
	t.Parallel()
	l := newLab(t, server1())
	l.wait(bound50)
	l.server.Unplug("term")
	l.waitFor("carrier lost", func() bool { return strings.Contains(l.log.String(), "carrier lost") })
	if got := l.state(); !strings.Contains(got, "address 10.0.1.50/24") {
		t.Errorf("right after the cable was pulled: got %q, want the address kept", got)
	}
	l.server.Plug("term")
	l.waitFor("asked to confirm", func() bool { return l.count("REBOOT") == 1 })
	l.wait(bound50)
	if got := l.count("DISCOVER"); got != 1 {
		t.Errorf("discoveries: got %d, want 1", got)
	}
}

func TestNetnsReplugIntoAnotherNetwork(t *testing.T) {
	t.Parallel()
	l := newLab(t, server1())
	l.wait(bound50)
	l.server.Unplug("term")
	l.waitFor("carrier lost", func() bool { return strings.Contains(l.log.String(), "carrier lost") })
	l.set(func(d *dhcpd) { d.addr = net.IPv4(10, 0, 1, 70).To4() })
	l.server.Plug("term")
	l.wait(strings.ReplaceAll(bound50, ".50", ".70"))
}

func TestNetnsPulledCableWithdraws(t *testing.T) {
	t.Parallel()
	l := newLab(t, server1())
	l.wait(bound50)
	l.server.Unplug("term")
	l.wait("")
}

func TestNetnsRestartTakesUpTheLease(t *testing.T) {
	t.Parallel()
	l := newLab(t, server1())
	l.wait(bound50)
	l.end()
	if got := l.state(); got != bound50 {
		t.Errorf("after the client ended: got\n%s\nwant\n%s", got, bound50)
	}
	l.run()
	l.waitFor("asked to confirm", func() bool { return l.count("REBOOT") == 1 })
	l.wait(bound50)
}

// TestNetnsByHand gives a link an address by hand that had a lease, and back.
func TestNetnsByHand(t *testing.T) {
	t.Parallel()
	l := newLab(t, server1())
	l.wait(bound50)
	l.end()
	l.fixed = "10.0.1.9/24 10.0.1.3"
	l.run()
	l.wait(`address 10.0.1.9/24
route 0.0.0.0/0 via 10.0.1.3
route 10.0.1.0/24 via <nil>
nameserver 10.0.1.3
lease 10.0.1.9/24 from invalid IP by 10.0.1.3
`)
	if got := l.count("DISCOVER"); got != 1 {
		t.Errorf("discoveries: got %d, want 1: nobody is asked for an address by hand", got)
	}
	l.end()
	l.fixed = ""
	l.run()
	l.wait(bound50)
}

func TestNetnsTwoLinksCoexist(t *testing.T) {
	t.Parallel()
	n := nettest.New(t)
	l := &lab{dhcpd: server1(), t: t, term: n.Host("term"), server: n.Host("server"), dir: t.TempDir(), log: &syncBuffer{}}
	other := &lab{dhcpd: &dhcpd{
		id: net.IPv4(10, 0, 2, 2).To4(), addr: net.IPv4(10, 0, 2, 50).To4(), length: time.Hour,
		options: []dhcpv4.Option{dhcpv4.OptRouter(net.IPv4(10, 0, 2, 2)), dhcpv4.OptDNS(net.IPv4(10, 0, 2, 2))},
	}, t: t, term: l.term, server: n.Host("modem")}
	n.Connect(l.term, l.server)
	n.Connect(other.term, other.server)
	l.removeAddr(l.term, "server", "10.0.1.1/24")
	l.removeAddr(l.term, "modem", "10.0.2.1/24")
	l.listen()
	other.listen()
	l.run()
	both := strings.Replace(bound50, "lease", "lease 10.0.2.50/24 from 10.0.2.2 by 10.0.2.2\nlease", 1)
	l.wait(strings.Replace(both, "10.0.1.3\n", "10.0.1.3\nnameserver 10.0.2.2\n", 1))
	out, err := l.term.Run("ip", "-4", "route", "show", "default")
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], "dev server") || !strings.Contains(lines[1], "dev modem") {
		t.Errorf("default routes: got %q, want that of the first link before that of the second", lines)
	}
	l.server.Unplug("term") // the second link takes over at once
	l.waitFor("way out by the second link", func() bool {
		routes, err := l.term.Netlink.RouteGet(net.IPv4(192, 0, 2, 1))
		return err == nil && routes[0].LinkIndex == l.term.Link("modem").Index
	})
	if got := l.state(); !strings.Contains(got, "address 10.0.1.50/24") {
		t.Errorf("the first link's lease is gone already:\n%s", got)
	}
}

func TestNetnsNameServersFromRouterAdvertisement(t *testing.T) {
	t.Parallel()
	l := newLab(t, server1())
	l.wait(bound50)
	l.advertise(600)
	with := strings.Replace(bound50, "search", "nameserver 2001:db8::53\nsearch", 1)
	l.wait(with)
	l.waitFor("address from the advertised prefix", func() bool {
		return slices.ContainsFunc(l.addrs("server", netlink.FAMILY_V6), netip.MustParsePrefix("2001:db8:1::/64").Contains)
	})
	l.advertise(0)
	l.wait(bound50)
}

// advertise sends a router advertisement (RFC 4861 section 4.2) with a prefix
// and a name server, both for so many seconds.
func (l *lab) advertise(lifetime uint32) {
	l.t.Helper()
	ra := []byte{134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0}
	ra = append(ra, 3, 4, 64, 0xc0) // prefix information, on the link and for addresses
	ra = binary.BigEndian.AppendUint32(ra, lifetime)
	ra = binary.BigEndian.AppendUint32(ra, lifetime)
	ra = append(ra, 0, 0, 0, 0)
	ra = append(ra, netip.MustParseAddr("2001:db8:1::").AsSlice()...)
	ra = append(ra, 25, 3, 0, 0) // recursive name server
	ra = binary.BigEndian.AppendUint32(ra, lifetime)
	ra = append(ra, netip.MustParseAddr("2001:db8::53").AsSlice()...)

	var conn net.PacketConn
	var err error
	l.server.Do(func() { conn, err = net.ListenPacket("ip6:ipv6-icmp", "::") })
	if err != nil {
		l.t.Fatal(err)
	}
	defer conn.Close()
	p := ipv6.NewPacketConn(conn)
	if err := p.SetMulticastHopLimit(255); err != nil {
		l.t.Fatal(err)
	}
	link, err := l.server.Netlink.LinkByName("term")
	if err != nil {
		l.t.Fatal(err)
	}
	to := &net.IPAddr{IP: net.IPv6linklocalallnodes}
	if _, err := p.WriteTo(ra, &ipv6.ControlMessage{IfIndex: link.Attrs().Index}, to); err != nil {
		l.t.Fatal(err)
	}
}
