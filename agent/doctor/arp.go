package doctor

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/mdlayher/packet"

	"github.com/natrix-os/natrix/sysinfo/netif"
)

// examineConflict asks who has our address, as one who does not have it yet
// (an ARP probe, RFC 5227 section 2.1.1). Who answers has it as well: our own
// kernel does not hear our own question.
func (p *patient) examineConflict(ctx context.Context) Finding {
	own := p.link.Addr4().Addr()
	if !own.IsValid() || len(p.link.MAC) != 6 {
		return found(ConflictNoARP)
	}
	mac, err := p.arp(ctx, p.link, p.own(), netip.IPv4Unspecified(), own)
	switch {
	case err == nil:
		return found(ConflictFound, mac.String(), own)
	case errors.Is(err, errSilent):
		return found(ConflictNone, own)
	}
	return found(ConflictHidden, err)
}

// examineGateway asks the gateway for its MAC address. Routers that do not
// answer pings do answer this.
func (p *patient) examineGateway(ctx context.Context) Finding {
	gateway, own := p.link.Gateway4, p.link.Addr4().Addr()
	if !gateway.IsValid() {
		return p.noGateway()
	}
	if !own.IsValid() || len(p.link.MAC) != 6 {
		return found(GatewayNoARP, p.link.Name)
	}
	mac, err := p.arp(ctx, p.link, p.own(), own, gateway)
	switch {
	case err == nil:
		return found(GatewayFine, gateway, mac.String())
	case errors.Is(err, errSilent):
		return found(GatewaySilent, gateway, p.link.Name)
	}
	return found(GatewayHidden, gateway, err)
}

func (p *patient) noGateway() Finding {
	if p.link.Gateway6.IsValid() || p.link.Default4 || p.link.Default6 {
		return found(GatewayNoARP, p.link.Name)
	}
	if links, err := p.links(); err == nil {
		for _, l := range links {
			if l.Default4 || l.Default6 {
				return found(GatewayElsewhere, p.link.Name, l.Name)
			}
		}
	}
	return found(GatewayNone, p.link.Name)
}

// own are the MAC addresses of this machine: with two links in one network the
// kernel answers on each for the addresses of both.
func (p *patient) own() []string {
	own := []string{p.link.MAC.String()}
	links, _ := p.links() // has worked in the first step
	for _, l := range links {
		own = append(own, l.MAC.String())
	}
	return own
}

const (
	arpRequests = 3 // RFC 5227, PROBE_NUM
	arpGap      = 400 * time.Millisecond
)

// errSilent is that nobody answered.
var errSilent = errors.New("no answer")

// askARP asks who has target and returns the MAC address of the first machine
// that says it has, if that is none of our own. The gaps are shorter than RFC
// 5227 has them for a machine that starts: a person waits.
func askARP(ctx context.Context, l netif.Link, own []string, sender, target netip.Addr) (net.HardwareAddr, error) {
	link := &net.Interface{Index: l.Index, Name: l.Name, HardwareAddr: l.MAC, MTU: l.MTU}
	conn, err := packet.Listen(link, packet.Datagram, etherTypeARP, nil)
	if err != nil {
		return nil, fmt.Errorf("listen for ARP on %s: %w", l.Name, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	everybody := &packet.Addr{HardwareAddr: net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}
	question := arpMessage{arpRequest, [6]byte(l.MAC), sender, [6]byte{}, target}
	for range arpRequests {
		if _, err := conn.WriteTo(question.bytes(), everybody); err != nil {
			return nil, fmt.Errorf("send ARP on %s: %w", l.Name, err)
		}
		if mac, err := hearARP(conn, own, target, time.Now().Add(arpGap)); err == nil {
			return mac, nil
		} else if ctx.Err() != nil {
			return nil, errSilent
		}
	}
	return nil, errSilent
}

// hearARP waits until the deadline for somebody who says that he has target.
func hearARP(conn *packet.Conn, own []string, target netip.Addr, deadline time.Time) (net.HardwareAddr, error) {
	if err := conn.SetReadDeadline(deadline); err != nil {
		return nil, err
	}
	buf := make([]byte, 128)
	for {
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			return nil, err
		}
		if m, ok := parseARP(buf[:n]); ok && m.senderIP == target {
			if mac := net.HardwareAddr(m.senderMAC[:]); !slices.Contains(own, mac.String()) {
				return mac, nil
			}
		}
	}
}

const (
	etherTypeARP = 0x0806
	arpRequest   = 1
	arpLength    = 28
)

// arpMessage is one for IPv4 on Ethernet (RFC 826).
type arpMessage struct {
	operation uint16
	senderMAC [6]byte
	senderIP  netip.Addr
	targetMAC [6]byte
	targetIP  netip.Addr
}

// arpHeader says that Ethernet asks for IPv4, with addresses of 6 and 4 bytes.
var arpHeader = [6]byte{0, 1, 8, 0, 6, 4}

func (m arpMessage) bytes() []byte {
	b := binary.BigEndian.AppendUint16(arpHeader[:6:6], m.operation)
	b = append(b, m.senderMAC[:]...)
	b = append(b, m.senderIP.AsSlice()...)
	b = append(b, m.targetMAC[:]...)
	return append(b, m.targetIP.AsSlice()...)
}

// parseARP reads a message, which Ethernet may have padded.
func parseARP(b []byte) (arpMessage, bool) {
	if len(b) < arpLength || [6]byte(b) != arpHeader {
		return arpMessage{}, false
	}
	return arpMessage{
		operation: binary.BigEndian.Uint16(b[6:]),
		senderMAC: [6]byte(b[8:]),
		senderIP:  netip.AddrFrom4([4]byte(b[14:])),
		targetMAC: [6]byte(b[18:]),
		targetIP:  netip.AddrFrom4([4]byte(b[24:])),
	}, true
}
