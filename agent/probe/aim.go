package probe

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/natrix-os/natrix/agent/command"
	"github.com/natrix-os/natrix/agent/packet"
)

// Way is the parameters that all probes made of packets share: how to get to
// the destination.
type Way struct {
	Interface string // link to send from, by name or by one of its addresses; "" is by route
	Family    string // "ipv4" or "ipv6"; "" is IPv4 for a destination that has both
	DNS       string // name servers to resolve with; "" is the system's
	TOS       int    // type of service or traffic class of the packets, 0 to 255
	Capture   string // file for the probe's packets; "" for none
}

// flags declares the parameters; short and wire are further names of the link.
func (w *Way) flags(f *command.Flags, short string, wire ...string) {
	f.Text(&w.Interface, "interface", short, "link to send from: its name, or one of its addresses", wire...)
	f.Choice(&w.Family, "ipv4", "4", "IPv4 only")
	f.Choice(&w.Family, "ipv6", "6", "IPv6 only")
	f.Text(&w.DNS, "dns", "d", "name server to resolve with", "dns_server")
	captureFlag(f, &w.Capture)
	f.Int(&w.TOS, "tos", "Q", "type of service or traffic class of the packets: DSCP times 4 plus ECN", 0, 255)
}

// aim resolves a destination and fills in what all packets to it share.
func (p *Prober) aim(ctx context.Context, destination string, way Way) (sender, packet.Request, error) {
	host, err := hostOf(destination)
	if err != nil {
		return nil, packet.Request{}, err
	}
	servers, err := serverList(way.DNS)
	if err != nil {
		return nil, packet.Request{}, err
	}
	via, err := pathOf(ctx, way.Interface)
	if err != nil {
		return nil, packet.Request{}, err
	}
	via.family = way.Family
	addrs, err := via.resolve(ctx, host, servers)
	if err != nil {
		return nil, packet.Request{}, err
	}
	route, err := via.to(addrs[0])
	if err != nil {
		return nil, packet.Request{}, err
	}
	engine, err := p.sender()
	if err == nil {
		err = captureEngine(ctx, engine, addrs[0])
	}
	request := packet.Request{Dst: addrs[0], Src: route.Src, TOS: way.TOS}
	if via.spec != "" {
		request.Link = route.Link
	}
	return engine, request, err
}

// only is the addresses of a family; "" is all.
func only(addrs []netip.Addr, family string) []netip.Addr {
	var kept []netip.Addr
	for _, a := range addrs {
		if a = a.Unmap(); family == "" || a.Is4() == (family == "ipv4") {
			kept = append(kept, a)
		}
	}
	return kept
}

// familyNames are the values of Way.Family as people write them.
var familyNames = map[string]string{"ipv4": "IPv4", "ipv6": "IPv6"}

func errFamily(host, family string) error {
	return fmt.Errorf("%w: %s has no %s address", command.ErrResolve, host, familyNames[family])
}

// headers is the bytes before the payload: IP and ICMP or UDP, which are 8 both.
func headers(dst netip.Addr) int {
	if dst.Is4() {
		return 20 + 8
	}
	return 40 + 8
}
