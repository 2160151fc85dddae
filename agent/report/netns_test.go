package report

import (
	"context"
	"encoding/binary"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/natrix-os/natrix/agent/packet"
	"github.com/natrix-os/natrix/agent/report/server"
	"github.com/natrix-os/natrix/sysinfo/netif"
	"github.com/natrix-os/natrix/sysinfo/netif/nettest"
)

// basicIn makes a basic report inside a host, with a packet engine of its own.
func basicIn(t *testing.T, h *nettest.Host, c Config) map[string]Network {
	t.Helper()
	c.Serial, c.Version = "test", "0.1.3"
	networks := make(map[string]Network)
	h.Do(func() {
		engine, err := packet.Open(packet.Options{InFlight: 100})
		if err != nil {
			t.Fatal(err)
		}
		defer engine.Close()
		c.Pinger = engine
		start := time.Now()
		report, err := New(c).Basic(t.Context())
		if err != nil {
			t.Logf("gaps: %v", err)
		}
		if took := time.Since(start); took > accessLimit+2*time.Second {
			t.Errorf("the report took %v, want %v at most", took, accessLimit)
		}
		pass(t, server.Basic, report)
		for _, n := range report.Networks {
			networks[n.Link.Name] = n
		}
	})
	return networks
}

// What one link reaches the other does not: h's way to the target is r1 alone.
func TestNetnsAccessIsByLink(t *testing.T) {
	n := nettest.New(t)
	h, r1, r2, target := n.Host("h"), n.Host("r1"), n.Host("r2"), n.Host("target")
	n.Connect(h, r1)
	n.Connect(h, r2)
	n.Connect(r1, target)
	n.Route()
	r2.AddRoute(netip.PrefixFrom(target.Addr4, 32), unix.RTN_UNREACHABLE)
	got := basicIn(t, h, Config{
		Internet:  []string{"198.51.100.1", target.Addr4.String()},
		Corporate: []string{"http://[" + target.Addr6.String() + "]:80/x"},
		Intranet:  nil,
	})
	if n := got["r1"]; !n.Internet || !n.Corporate || !n.Intranet || n.Local.Addr() != h.Link("r1").Addr4 {
		t.Errorf("got %+v of r1, want every access from %v", n, h.Link("r1").Addr4)
	}
	if n := got["r2"]; n.Internet || n.Corporate || !n.Intranet {
		t.Errorf("got %+v of r2, want access to the intranet only, which has no targets", n)
	}
	if n := got["r1"]; netmask(n.Local) != netip.MustParseAddr("255.255.255.0") || broadcast(n.Local).As4()[3] != 255 {
		t.Errorf("got netmask %v and broadcast %v, want those of a /24", netmask(n.Local), broadcast(n.Local))
	}
}

// Silence is not an answer, and an unplugged link gets none.
func TestNetnsOnlyAnswersCount(t *testing.T) {
	n := nettest.New(t)
	h, good, silent, gone := n.Host("h"), n.Host("good"), n.Host("silent"), n.Host("gone")
	n.Connect(h, good)
	n.Connect(h, silent, nettest.Router{Loss: 1})
	n.Connect(h, gone)
	h.Unplug("gone")
	links := make(map[string]bool)
	for _, peer := range []*nettest.Host{good, silent, gone} {
		r := New(Config{Internet: []string{peer.Addr4.String()}})
		h.Do(func() {
			engine, err := packet.Open(packet.Options{InFlight: 100})
			if err != nil {
				t.Fatal(err)
			}
			defer engine.Close()
			r.config.Pinger = engine
			links[peer.Name] = r.answers(t.Context(), peer.Name, h.Link(peer.Name).Addr4, peer.Addr4)
		})
	}
	if !links["good"] || links["silent"] || links["gone"] {
		t.Errorf("got %v, want an answer by the good link only", links)
	}
}

func TestNetnsPublicAddress(t *testing.T) {
	hosts := nettest.Chain(t, "h", "nat", "echo")
	h, echo := hosts[0], hosts[2]
	src := h.Addr4
	var web net.Listener
	var stun net.PacketConn
	echo.Do(func() {
		var err error
		if web, err = net.Listen("tcp4", ":80"); err != nil {
			t.Fatal(err)
		}
		if stun, err = net.ListenPacket("udp4", ":3478"); err != nil {
			t.Fatal(err)
		}
	})
	s := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/broken" {
			http.Error(w, "192.0.2.99", http.StatusTeapot)
			return
		}
		peer, _, _ := net.SplitHostPort(r.RemoteAddr)
		w.Write([]byte(`{"origin": "` + peer + `, 192.0.2.1"}`))
	})}
	var wg sync.WaitGroup
	wg.Go(func() { s.Serve(web) })
	wg.Go(func() { serveSTUN(stun) })
	defer wg.Wait()
	defer stun.Close()
	defer s.Close()

	ip := echo.Addr4.String()
	byNAT := func(ctx context.Context, network, addr string) (c net.Conn, err error) {
		h.Do(func() { c, err = netif.Dialer("nat", src).DialContext(ctx, network, addr) })
		return c, err
	}
	for _, services := range [][]string{
		{"http://" + ip + "/ip"},
		{"stun:" + ip + ":3478"},
		{"http://" + ip + ":81/refused", "http://" + ip + "/broken", "stun:" + ip + ":3478"},
	} {
		if got, err := ask(t.Context(), services, byNAT); err != nil || got != src {
			t.Errorf("%v: got %v, %v, want %v", services, got, err, src)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if got, err := ask(ctx, []string{"stun:" + ip + ":9", "http://" + ip + "/broken"}, byNAT); err == nil {
		t.Errorf("got %v of services that do not work, want an error", got)
	}
}

// serveSTUN answers every request as RFC 8489 has it, after a message that is none.
func serveSTUN(conn net.PacketConn) {
	b := make([]byte, 1500)
	for {
		n, from, err := conn.ReadFrom(b)
		if err != nil {
			return
		}
		conn.WriteTo([]byte("noise"), from)
		conn.WriteTo(stunAnswer(b[:n], netip.MustParseAddrPort(from.String())), from)
	}
}

// stunAnswer has an attribute of five bytes, padded, before the address.
func stunAnswer(request []byte, from netip.AddrPort) []byte {
	addr := from.Addr().Unmap().AsSlice()
	family := byte(len(addr)/12 + 1)
	for i := range addr {
		addr[i] ^= request[4+i]
	}
	attrs := append([]byte{0x80, 0x22, 0, 5, 'n', 'o', 'n', 'e', '!', 0, 0, 0, 0, 0x20, 0, byte(4 + len(addr)), 0, family, 0, 0}, addr...)
	answer := binary.BigEndian.AppendUint16(nil, stunSuccess)
	answer = binary.BigEndian.AppendUint16(answer, uint16(len(attrs)))
	return append(append(answer, request[4:stunHeader]...), attrs...)
}
