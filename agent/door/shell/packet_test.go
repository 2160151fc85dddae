package shell

import (
	"encoding/hex"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/natrix-os/natrix/agent/capture"
)

// frame is a packet of the protocol, from hexadecimal digits.
func frame(t testing.TB, protocol uint16, digits string, payload ...byte) capture.Packet {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return capture.Packet{At: time.Date(2026, 7, 1, 12, 0, 0, 1000, time.UTC), Protocol: protocol, Data: append(b, payload...)}
}

const (
	ip4 = "4500 0000 0000 0000 40%s 0000 c0000207 c0000201 " // from 192.0.2.7 to 192.0.2.1
	udp = "4500 0000 0000 0000 4011 0000 c0000207 c0000201 "
)

func TestNetwork(t *testing.T) {
	question := new(dns.Msg)
	question.SetQuestion("www.example.com.", dns.TypeAAAA)
	asked, err := question.Pack()
	if err != nil {
		t.Fatal(err)
	}
	question.Response, question.Rcode = true, dns.RcodeNameError
	answered, err := question.Pack()
	if err != nil {
		t.Fatal(err)
	}
	discover, err := dhcpv4.NewDiscovery(net.HardwareAddr{2, 0, 0, 0, 0, 1})
	if err != nil {
		t.Fatal(err)
	}
	for want, p := range map[string]capture.Packet{
		"arp 192.0.2.7 asks who has 192.0.2.1":                                         frame(t, unix.ETH_P_ARP, "0001 0800 0604 0001 020000000001 c0000207 000000000000 c0000201"),
		"arp 192.0.2.1 is at 02:00:00:00:00:09":                                        frame(t, unix.ETH_P_ARP, "0001 0800 0604 0002 020000000009 c0000201 020000000001 c0000207"),
		"arp 02:00:00:00:00:01 says that it is 192.0.2.7":                              frame(t, unix.ETH_P_ARP, "0001 0800 0604 0001 020000000001 c0000207 000000000000 c0000207"),
		"192.0.2.7 > 192.0.2.1 icmp echo request 7.2":                                  frame(t, unix.ETH_P_IP, strings.Replace(ip4, "%s", "01", 1)+"0800 0000 0007 0002"),
		"192.0.2.7 > 192.0.2.1 icmp unreachable, code 3":                               frame(t, unix.ETH_P_IP, strings.Replace(ip4, "%s", "01", 1)+"0303 0000 0000 0000"),
		"192.0.2.7:4096 > 192.0.2.1:80 tcp syn, 0 bytes":                               frame(t, unix.ETH_P_IP, strings.Replace(ip4, "%s", "06", 1)+"1000 0050 00000000 00000000 5002 0000 0000 0000"),
		"192.0.2.7 > 192.0.2.1 fragment at 1480":                                       frame(t, unix.ETH_P_IP, "4500 0000 0000 00b9 4011 0000 c0000207 c0000201 00"),
		"192.0.2.7 > 192.0.2.1 protocol 47, 2 bytes":                                   frame(t, unix.ETH_P_IP, strings.Replace(ip4, "%s", "2f", 1)+"0000"),
		"192.0.2.7:4096 > 192.0.2.1:9 udp, 1 bytes":                                    frame(t, unix.ETH_P_IP, udp+"1000 0009 0009 0000 00"),
		"192.0.2.7:4096 > 192.0.2.1:53 udp, 2 bytes":                                   frame(t, unix.ETH_P_IP, udp+"1000 0035 0000 0000 ffff"),
		"192.0.2.7:4096 > 192.0.2.1:53 dns AAAA www.example.com.":                      frame(t, unix.ETH_P_IP, udp+"1000 0035 0000 0000", asked...),
		"192.0.2.7:53 > 192.0.2.1:4096 dns AAAA www.example.com.: NXDOMAIN, 0 answers": frame(t, unix.ETH_P_IP, udp+"0035 1000 0000 0000", answered...),
		"192.0.2.7:68 > 192.0.2.1:67 dhcp DISCOVER of 02:00:00:00:00:01 for 0.0.0.0":   frame(t, unix.ETH_P_IP, udp+"0044 0043 0000 0000", discover.ToBytes()...),
		"fe80::1 > ff02::1 icmp6 type 134 code 0": frame(t, unix.ETH_P_IPV6,
			"60000000 0008 3aff fe800000000000000000000000000001 ff020000000000000000000000000001 8600 0000 0000 0000"),
		"type 0x88cc, 3 bytes": frame(t, 0x88cc, "000000"),
		"type 0x0800, 2 bytes": frame(t, unix.ETH_P_IP, "4500"),
	} {
		if got := network(p); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got, want := describe(frame(t, 0x88cc, "00")), "12:00:00.000 in  type 0x88cc, 1 bytes"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func FuzzNetwork(f *testing.F) {
	f.Add(uint16(unix.ETH_P_ARP), frame(f, 0, "0001 0800 0604 0001 020000000001 c0000207 000000000000 c0000201").Data)
	f.Add(uint16(unix.ETH_P_IP), frame(f, 0, udp+"1000 0035 0000 0000 ffff").Data)
	f.Add(uint16(unix.ETH_P_IP), frame(f, 0, "4f00").Data)
	f.Add(uint16(unix.ETH_P_IPV6), make([]byte, 48))
	f.Fuzz(func(t *testing.T, protocol uint16, b []byte) {
		line := network(capture.Packet{Protocol: protocol, Data: b})
		if line == "" || strings.ContainsAny(line, "\x1b\r\n") {
			t.Errorf("%x is described as %q", b, line)
		}
	})
}
