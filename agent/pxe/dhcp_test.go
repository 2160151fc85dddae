package pxe

import (
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
)

var mac = net.HardwareAddr{0x52, 0x54, 0, 0x6e, 0x61, 1}

// tested is a service on 192.0.2.1/24 with all files; with a range it gives
// out addresses.
func tested(t *testing.T, addresses string) *server {
	t.Helper()
	f, err := openFiles(directory(t), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	s := &server{addr: netip.MustParsePrefix("192.0.2.1/24"), base: "http://192.0.2.1/", files: f, log: slog.New(slog.DiscardHandler)}
	if addresses == "" {
		return s
	}
	r, err := ParseRange(addresses)
	if err != nil {
		t.Fatal(err)
	}
	if s.pool, err = newPool(r, s.addr); err != nil {
		t.Fatal(err)
	}
	return s
}

// message is one of a client's, as it comes off the wire.
func message(t *testing.T, kind dhcpv4.MessageType, about ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	t.Helper()
	m, err := dhcpv4.New(append([]dhcpv4.Modifier{dhcpv4.WithHwAddr(mac), dhcpv4.WithMessageType(kind)}, about...)...)
	if err != nil {
		t.Fatal(err)
	}
	return wire(t, m)
}

func wire(t *testing.T, m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
	t.Helper()
	back, err := dhcpv4.FromBytes(m.ToBytes())
	if err != nil {
		t.Fatal(err)
	}
	return back
}

func firmware(class string, arch iana.Arch) dhcpv4.Modifier {
	return func(m *dhcpv4.DHCPv4) {
		m.UpdateOption(dhcpv4.OptClassIdentifier(class))
		m.UpdateOption(dhcpv4.OptClientArch(arch))
	}
}

func TestEachClientGetsItsFile(t *testing.T) {
	s := tested(t, "")
	const pxe = "PXEClient:Arch:00007:UNDI:003016"
	ipxe := dhcpv4.WithOption(dhcpv4.OptUserClass("iPXE"))
	rfc := dhcpv4.WithUserClass("iPXE", true)
	for _, test := range []struct {
		name  string
		about []dhcpv4.Modifier
		want  string // "": no answer
	}{
		{"BIOS", []dhcpv4.Modifier{firmware("PXEClient:Arch:00000:UNDI:002001", 0)}, "pxelinux.0"},
		{"UEFI", []dhcpv4.Modifier{firmware(pxe, iana.EFI_X86_64)}, "natrix.efi"},
		{"UEFI that says EBC", []dhcpv4.Modifier{firmware(pxe, iana.EFI_BC)}, "natrix.efi"},
		{"UEFI over HTTP", []dhcpv4.Modifier{firmware("HTTPClient:Arch:00016", iana.EFI_X86_64_HTTP)}, "http://192.0.2.1/natrix.efi"},
		{"iPXE under BIOS", []dhcpv4.Modifier{firmware(pxe, 0), ipxe}, "http://192.0.2.1/boot.ipxe"},
		{"iPXE under UEFI", []dhcpv4.Modifier{firmware(pxe, iana.EFI_X86_64), rfc}, "http://192.0.2.1/boot.ipxe"},
		{"UEFI of 32 bits", []dhcpv4.Modifier{firmware(pxe, iana.EFI_IA32)}, ""},
		{"ARM", []dhcpv4.Modifier{firmware(pxe, iana.EFI_ARM64)}, ""},
		{"a laptop", nil, ""},
	} {
		answer := s.proxy(message(t, dhcpv4.MessageTypeDiscover, test.about...), dhcpv4.MessageTypeDiscover, dhcpv4.MessageTypeOffer)
		if answer == nil {
			if test.want != "" {
				t.Errorf("%s: no answer, want %s", test.name, test.want)
			}
			continue
		}
		answer = wire(t, answer)
		if answer.BootFileName != test.want {
			t.Errorf("%s: told to load %q, want %q", test.name, answer.BootFileName, test.want)
		}
		if !answer.YourIPAddr.IsUnspecified() || answer.ServerIPAddr.String() != "192.0.2.1" || answer.MessageType() != dhcpv4.MessageTypeOffer {
			t.Errorf("%s: got %v, want an offer without an address", test.name, answer.Summary())
		}
		if class := answer.ClassIdentifier(); class != classPXE && class != classHTTP {
			t.Errorf("%s: class %q", test.name, class)
		}
	}
}

func TestProxyKeepsOut(t *testing.T) {
	s := tested(t, "")
	boots := firmware("PXEClient", 0)
	for name, m := range map[string]*dhcpv4.DHCPv4{
		"request to another server": message(t, dhcpv4.MessageTypeRequest, boots),
		"an answer":                 message(t, dhcpv4.MessageTypeDiscover, boots, func(m *dhcpv4.DHCPv4) { m.OpCode = dhcpv4.OpcodeBootReply }),
	} {
		if answer := s.proxy(m, dhcpv4.MessageTypeDiscover, dhcpv4.MessageTypeOffer); answer != nil {
			t.Errorf("%s is answered: %v", name, answer.Summary())
		}
	}
	if ack := s.proxy(message(t, dhcpv4.MessageTypeRequest, boots), dhcpv4.MessageTypeRequest, dhcpv4.MessageTypeAck); ack == nil || ack.BootFileName != "pxelinux.0" {
		t.Errorf("on its own port the proxy says %v, want pxelinux.0", ack)
	}
}

func TestMachineIdentifierComesBack(t *testing.T) {
	id := append([]byte{0}, make([]byte, 16)...)
	id[5] = 7
	m := message(t, dhcpv4.MessageTypeDiscover, firmware("PXEClient", 0), dhcpv4.WithGeneric(dhcpv4.OptionClientMachineIdentifier, id))
	answer := tested(t, "").proxy(m, dhcpv4.MessageTypeDiscover, dhcpv4.MessageTypeOffer)
	if got := answer.Options.Get(dhcpv4.OptionClientMachineIdentifier); string(got) != string(id) {
		t.Errorf("got %x, want %x", got, id)
	}
}

func TestLeases(t *testing.T) {
	s := tested(t, "192.0.2.1-192.0.2.3") // its own address is in the range
	now := time.Unix(1700000000, 0)
	s.pool.now = func() time.Time { return now }
	ask := func(kind dhcpv4.MessageType, last byte, about ...dhcpv4.Modifier) string {
		t.Helper()
		from := dhcpv4.WithHwAddr(net.HardwareAddr{2, 0, 0, 0, 0, last})
		answer := s.full(message(t, kind, append(about, from)...))
		if answer == nil {
			return ""
		}
		return answer.MessageType().String() + " " + answer.YourIPAddr.String()
	}
	wants := func(addr string) dhcpv4.Modifier {
		return dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.ParseIP(addr)))
	}
	server := func(addr string) dhcpv4.Modifier {
		return dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.ParseIP(addr)))
	}
	for _, step := range []struct{ what, got, want string }{
		{"first", ask(dhcpv4.MessageTypeDiscover, 1), "OFFER 192.0.2.2"},
		{"second", ask(dhcpv4.MessageTypeDiscover, 2), "OFFER 192.0.2.3"},
		{"first again", ask(dhcpv4.MessageTypeRequest, 1, wants("192.0.2.2"), server("192.0.2.1")), "ACK 192.0.2.2"},
		{"renewal", ask(dhcpv4.MessageTypeRequest, 1, dhcpv4.WithClientIP(net.IP{192, 0, 2, 2})), "ACK 192.0.2.2"},
		{"of another network", ask(dhcpv4.MessageTypeRequest, 1, wants("198.51.100.1")), "NAK 0.0.0.0"},
		{"of another server", ask(dhcpv4.MessageTypeRequest, 1, wants("192.0.2.2"), server("192.0.2.9")), ""},
		{"one too many", ask(dhcpv4.MessageTypeDiscover, 3), ""},
	} {
		if step.got != step.want {
			t.Errorf("%s: %q, want %q", step.what, step.got, step.want)
		}
	}
	now = now.Add(2 * leaseTime)
	if got := ask(dhcpv4.MessageTypeDiscover, 3); got != "OFFER 192.0.2.2" {
		t.Errorf("after its time: %q, want the first address again", got)
	}
	ask(dhcpv4.MessageTypeDecline, 3, wants("192.0.2.2"))
	if got := ask(dhcpv4.MessageTypeDiscover, 3); got != "OFFER 192.0.2.3" {
		t.Errorf("after it was declined: %q, want the other address", got)
	}
}

func TestLeaseSaysWhatToBoot(t *testing.T) {
	s := tested(t, "192.0.2.10-192.0.2.20")
	answer := wire(t, s.full(message(t, dhcpv4.MessageTypeDiscover, firmware("PXEClient", iana.EFI_X86_64))))
	if answer.BootFileName != "natrix.efi" || answer.YourIPAddr.String() != "192.0.2.10" {
		t.Errorf("got %s and %s, want natrix.efi and 192.0.2.10", answer.BootFileName, answer.YourIPAddr)
	}
	answer = wire(t, s.full(message(t, dhcpv4.MessageTypeDiscover)))
	if answer.BootFileName != "" || answer.ClassIdentifier() != "" || net.IP(answer.SubnetMask()).String() != "255.255.255.0" {
		t.Errorf("a machine that does not boot gets %v", answer.Summary())
	}
}

func TestParseRange(t *testing.T) {
	for _, text := range []string{"", "192.0.2.1", "192.0.2.9-192.0.2.1", "2001:db8::1-2001:db8::2", "10.0.0.0-10.255.0.0", "a-b"} {
		if r, err := ParseRange(text); err == nil {
			t.Errorf("ParseRange(%q) = %v, want an error", text, r)
		}
	}
	r, err := ParseRange("192.0.2.10 - 192.0.2.50")
	if err != nil || r.First.String() != "192.0.2.10" || r.Last.String() != "192.0.2.50" {
		t.Errorf("got %v, %v", r, err)
	}
	if _, err := newPool(r, netip.MustParsePrefix("198.51.100.1/24")); err == nil {
		t.Error("addresses of another network are given out")
	}
}

func FuzzAnswer(f *testing.F) {
	for _, kind := range []dhcpv4.MessageType{dhcpv4.MessageTypeDiscover, dhcpv4.MessageTypeRequest, dhcpv4.MessageTypeDecline} {
		m, err := dhcpv4.New(dhcpv4.WithHwAddr(mac), dhcpv4.WithMessageType(kind), firmware("PXEClient", 7))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(m.ToBytes())
	}
	dir := directory(f)
	f.Fuzz(func(t *testing.T, packet []byte) {
		m, err := dhcpv4.FromBytes(packet)
		if err != nil {
			return
		}
		opened, err := openFiles(dir, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer opened.Close()
		link := netip.MustParsePrefix("192.0.2.1/24")
		p, err := newPool(Range{link.Addr(), link.Addr().Next()}, link)
		if err != nil {
			t.Fatal(err)
		}
		s := &server{addr: link, base: "http://192.0.2.1/", files: opened, pool: p, log: slog.New(slog.DiscardHandler)}
		for _, answer := range []*dhcpv4.DHCPv4{
			s.full(m),
			s.proxy(m, dhcpv4.MessageTypeDiscover, dhcpv4.MessageTypeOffer),
		} {
			if answer == nil {
				continue
			}
			if _, err := dhcpv4.FromBytes(answer.ToBytes()); err != nil || answer.OpCode != dhcpv4.OpcodeBootReply {
				t.Errorf("answer %v: %v", answer, err)
			}
		}
	})
}
