package pxe

import (
	"net"
	"strings"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
)

// Vendor classes (option 60) by which firmware says that it wants to boot, and
// by which it recognises who knows how (PXE specification 2.1, section 2.2.3;
// UEFI specification 2.10, section 24.7).
const (
	classPXE  = "PXEClient"
	classHTTP = "HTTPClient"
)

// discoveryControl is option 43 that says: load the file named here, without
// asking further servers or the person at the screen (PXE specification 2.1,
// table 2-1, PXE_DISCOVERY_CONTROL), and then the end of the options.
var discoveryControl = []byte{6, 1, 8, 255}

// client is what firmware says that it is.
type client struct {
	class string // classPXE, classHTTP, or "" for one that does not boot
	arch  iana.Arch
	ipxe  bool
}

func classify(m *dhcpv4.DHCPv4) client {
	var c client
	for _, class := range []string{classPXE, classHTTP} {
		if strings.HasPrefix(m.ClassIdentifier(), class) {
			c.class = class
		}
	}
	if archs := m.ClientArch(); len(archs) > 0 {
		c.arch = archs[0] // without the option it is a BIOS, which has 0 (RFC 4578 section 2.1)
	}
	for _, user := range m.UserClass() {
		c.ipxe = c.ipxe || user == "iPXE"
	}
	return c
}

// file is what a client is to load, or "". iPXE must be told another file than
// what loads iPXE, or it loads itself for ever; it is given a script by HTTP,
// whose other files are then beside it.
func (s *server) file(c client) string {
	switch {
	case c.class == "":
		return ""
	case c.ipxe && x86(c.arch) && s.files.has(scriptFile):
		return s.base + scriptFile
	case c.class == classHTTP && c.arch == iana.EFI_X86_64_HTTP && s.files.has(efiFile):
		return s.base + efiFile
	case c.class == classPXE && uefi(c.arch) && s.files.has(efiFile):
		return efiFile
	case c.class == classPXE && c.arch == iana.INTEL_X86PC && s.files.has(biosFile):
		return biosFile
	}
	return ""
}

// uefi reports whether an architecture is that of a PC with UEFI of 64 bits:
// many say that they are EBC (RFC 4578, errata 1 and 2).
func uefi(a iana.Arch) bool { return a == iana.EFI_X86_64 || a == iana.EFI_BC }

func x86(a iana.Arch) bool { return a == iana.INTEL_X86PC || uefi(a) || a == iana.EFI_X86_64_HTTP }

// handleDHCP answers on the port of DHCP servers.
func (s *server) handleDHCP(conn net.PacketConn, peer net.Addr, m *dhcpv4.DHCPv4) {
	answer := s.proxy(m, dhcpv4.MessageTypeDiscover, dhcpv4.MessageTypeOffer)
	if s.pool != nil {
		answer = s.full(m)
	}
	s.send(conn, peer, m, answer)
}

// handleBoot answers on the port where firmware asks whoever has offered to
// boot it, once it has an address.
func (s *server) handleBoot(conn net.PacketConn, peer net.Addr, m *dhcpv4.DHCPv4) {
	s.send(conn, peer, m, s.proxy(m, dhcpv4.MessageTypeRequest, dhcpv4.MessageTypeAck))
}

func (s *server) send(conn net.PacketConn, peer net.Addr, m, answer *dhcpv4.DHCPv4) {
	if answer == nil {
		return
	}
	log := s.log.With("mac", m.ClientHWAddr.String())
	if _, err := conn.WriteTo(answer.ToBytes(), peer); err != nil {
		log.Warn("answer", "err", err)
		return
	}
	log.Info(strings.ToLower(answer.MessageType().String()), "addr", answer.YourIPAddr, "file", answer.BootFileName, "client", m.ClassIdentifier())
}

// proxy answers a message of the type asked from a client that can be booted,
// and gives it no address. It returns nil for all others.
func (s *server) proxy(m *dhcpv4.DHCPv4, asked, answered dhcpv4.MessageType) *dhcpv4.DHCPv4 {
	if m.OpCode != dhcpv4.OpcodeBootRequest || m.MessageType() != asked {
		return nil
	}
	c := classify(m)
	file := s.file(c)
	if file == "" {
		if c.class != "" {
			s.log.Warn("nothing to boot it with", "mac", m.ClientHWAddr.String(), "client", m.ClassIdentifier())
		}
		return nil
	}
	answer := s.reply(m, answered)
	s.boot(answer, m, c.class, file)
	return answer
}

// reply is an answer that says no more than who we are.
func (s *server) reply(m *dhcpv4.DHCPv4, kind dhcpv4.MessageType) *dhcpv4.DHCPv4 {
	answer, err := dhcpv4.New(
		dhcpv4.WithReply(m),
		dhcpv4.WithMessageType(kind),
		dhcpv4.WithRelay(m.GatewayIPAddr),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(s.own())),
	)
	if err != nil {
		return nil // without random numbers; never with WithReply
	}
	return answer
}

// boot adds what to load, and from where.
func (s *server) boot(answer, m *dhcpv4.DHCPv4, class, file string) {
	answer.ServerIPAddr = s.own()
	answer.ServerHostName = s.own().String()
	answer.BootFileName = file
	answer.UpdateOption(dhcpv4.OptClassIdentifier(class))
	if class == classPXE {
		answer.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionVendorSpecificInformation, discoveryControl))
	}
	if id := m.Options.Get(dhcpv4.OptionClientMachineIdentifier); id != nil { // RFC 4578 section 2.3
		answer.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionClientMachineIdentifier, id))
	}
}

func (s *server) own() net.IP { return s.addr.Addr().AsSlice() }
