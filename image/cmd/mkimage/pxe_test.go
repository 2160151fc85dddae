package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/server4"
	"github.com/natrix-os/natrix/agent/door/amqp/amqptest"
	"github.com/natrix-os/natrix/image"
	"github.com/natrix-os/natrix/image/qemu"
	"github.com/natrix-os/natrix/sysinfo/netif/nettest"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The network of a test: a bridge with the server's address, and a guest's
// link plugged into it.
const (
	bridge  = "br0"
	hostEnd = qemu.Host
)

// TestPXE boots PCs from natrix pxe to workers that answer a ping command of a
// real broker: iPXE under BIOS beside a DHCP server, and UEFI's own PXE from
// natrix alone.
func TestPXE(t *testing.T) {
	slow(t)
	nettest.Need(t)
	broker := amqptest.ForTest(t)
	dir := t.TempDir()
	if _, err := image.Build(t.Context(), boards()[0], described(t), dir); err != nil {
		t.Fatal(err)
	}
	for i, test := range []struct {
		name   string
		args   []string
		plain  bool // a DHCP server that knows of no booting is there
		uefi   bool
		memory int
		file   string // what the guest must have begun with
	}{
		{"iPXE under BIOS beside a DHCP server", nil, true, false, 0, "boot.ipxe"},
		{"UEFI from natrix alone", []string{"--serve-addresses", "10.0.2.10-10.0.2.20"}, false, true, 512, "natrix.efi"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := lan(t)
			if test.plain {
				plainDHCP(t, h)
			}
			port := bridgeTo(t, h, broker.URL("127.0.0.1"))
			served := servePXE(t, h, dir, append(test.args, "--config", configFor(t, broker.URL(hostEnd), port))...)
			mac := fmt.Sprintf("52:54:00:6e:61:%02x", 0x40+i)
			bootToWorker(t, qemu.Config{
				Board: "amd64", UEFI: test.uefi, Memory: test.memory, Start: h.Start,
				Links: []qemu.Link{{MAC: mac, Tap: "tap0", Boot: true, NoROM: test.uefi}},
			}, broker)
			served(test.file)
		})
	}
}

// lan is a host with a bridge, and a tap on it for a guest.
func lan(t *testing.T) *nettest.Host {
	t.Helper()
	h := nettest.NewHost(t, "lan")
	br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridge}}
	if err := h.Netlink.LinkAdd(br); err != nil {
		t.Fatal(err)
	}
	h.AddAddr(bridge, netip.MustParsePrefix(hostEnd+"/24"))
	if said, err := h.Run("ip", "tuntap", "add", "tap0", "mode", "tap"); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	tap, err := h.Netlink.LinkByName("tap0")
	if err != nil {
		t.Fatal(err)
	}
	for _, do := range []func() error{
		func() error { return h.Netlink.LinkSetMaster(tap, br) },
		func() error { return h.Netlink.LinkSetUp(tap) },
		func() error { return h.Netlink.LinkSetUp(br) },
	} {
		if err := do(); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// plainDHCP gives the one guest an address, and nothing to boot.
func plainDHCP(t *testing.T, h *nettest.Host) {
	t.Helper()
	var s *server4.Server
	var err error
	own := net.ParseIP(hostEnd)
	h.Do(func() {
		s, err = server4.NewServer(bridge, &net.UDPAddr{Port: dhcpv4.ServerPort}, func(conn net.PacketConn, peer net.Addr, m *dhcpv4.DHCPv4) {
			kind := map[dhcpv4.MessageType]dhcpv4.MessageType{dhcpv4.MessageTypeDiscover: dhcpv4.MessageTypeOffer, dhcpv4.MessageTypeRequest: dhcpv4.MessageTypeAck}[m.MessageType()]
			if kind == 0 {
				return
			}
			answer, err := dhcpv4.NewReplyFromRequest(m, dhcpv4.WithMessageType(kind), dhcpv4.WithYourIP(net.ParseIP("10.0.2.99")),
				dhcpv4.WithNetmask(net.CIDRMask(24, 32)), dhcpv4.WithLeaseTime(3600), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(own)))
			if err == nil {
				conn.WriteTo(answer.ToBytes(), peer)
			}
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); s.Serve() }()
	t.Cleanup(func() { s.Close(); <-ended })
}

// bridgeTo leads a port in the network to the broker outside of it.
func bridgeTo(t *testing.T, h *nettest.Host, broker string) (port string) {
	t.Helper()
	u, err := url.Parse(broker)
	if err != nil {
		t.Fatal(err)
	}
	var l net.Listener
	h.Do(func() { l, err = net.Listen("tcp", hostEnd+":0") })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("tcp", u.Host)
			if err != nil {
				from.Close()
				continue
			}
			go func() { io.Copy(to, from); to.Close() }()
			go func() { io.Copy(from, to); from.Close() }()
		}
	}()
	_, port, err = net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// configFor is the file that a guest is configured by.
func configFor(t *testing.T, broker, port string) string {
	t.Helper()
	u, err := url.Parse(broker)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = net.JoinHostPort(u.Hostname(), port)
	name := filepath.Join(t.TempDir(), "natrix.ini")
	text := fmt.Sprintf("[RABBITMQ]\nurl = %s\n[APPLIANCE]\nntp = %s\n", u, hostEnd)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

var sent = regexp.MustCompile(`msg=sent file=/?(\S+)`)

// servePXE runs natrix pxe in the network until the test ends, and returns a
// function that sees that it has served a file.
func servePXE(t *testing.T, h *nettest.Host, dir string, args ...string) func(file string) {
	t.Helper()
	cmd := exec.Command(filepath.Join(dir, image.BinaryFile), append([]string{"pxe", "--link", bridge, "--dir", filepath.Join(dir, image.NetDir)}, args...)...)
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Start(cmd); err != nil {
		t.Fatal(err)
	}
	ready, ended := make(chan struct{}), make(chan struct{})
	var files []string
	go func() {
		defer close(ended)
		lines := bufio.NewScanner(said)
		for lines.Scan() {
			fmt.Fprintln(t.Output(), lines.Text())
			if strings.Contains(lines.Text(), "msg=serving") {
				close(ready)
			}
			if match := sent.FindStringSubmatch(lines.Text()); match != nil {
				files = append(files, match[1])
			}
		}
	}()
	stop := func() {
		cmd.Process.Signal(unix.SIGINT)
		<-ended
		if err := cmd.Wait(); err != nil {
			t.Errorf("natrix pxe ends with: %v", err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	select {
	case <-ready:
	case <-ended:
		t.Fatalf("natrix pxe has ended: %v", cmd.Wait())
	case <-ctx.Done():
		t.Fatal("natrix pxe does not serve")
	}
	stopped := false
	t.Cleanup(func() {
		if !stopped {
			stop()
		}
	})
	return func(file string) {
		stopped = true
		stop()
		for _, f := range files {
			if f == file {
				return
			}
		}
		t.Errorf("the guest was sent %q, want %s among them", files, file)
	}
}
