package netif

import (
	"encoding/hex"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
)

// Kind says what sort of link this is, in the words that a Natrix server knows.
type Kind string

// The kinds of link. A server is never told of a Loopback.
const (
	Wired    Kind = "wired"    // Ethernet and what stands for it: veth, bridge, bond, VLAN
	Wireless Kind = "wireless" // IEEE 802.11
	Mobile   Kind = "4G"       // a modem: wwan, ppp
	Other    Kind = "other"    // tunnels, dummies and the rest
	Loopback Kind = "loopback"
)

// Link is one network interface at one moment.
type Link struct {
	Name         string
	Index        int
	MAC          net.HardwareAddr // current; nil if the link has none
	PermanentMAC net.HardwareAddr // burnt in; nil if the driver does not tell
	Kind         Kind
	Driver       string         // the kernel's name for a virtual link ("veth", "bridge"), "device" for hardware
	Up           bool           // set up by the administrator
	Carrier      bool           // able to pass packets: cable plugged in, radio associated
	MTU          int            // bytes
	Addrs        []netip.Prefix // address and prefix length, primary ones first, in the kernel's order
	Leases       Leases         // of those addresses that are lent
	Broadcast4   netip.Addr     // broadcast address of the first IPv4 address that has one
	Gateway4     netip.Addr     // next hop of the best IPv4 default route through this link; zero if there is none
	Gateway6     netip.Addr
	Default4     bool // the best IPv4 default route of the machine leaves by this link
	Default6     bool
	SpeedMbit    int    // negotiated, in Mbit/s; 0 if unknown
	Duplex       string // "full", "half" or "" if unknown
	SignalDBm    int    // of the radio, in dBm, below 0; 0 if unknown
	Counters     Counters
}

// Leases says how much longer addresses are valid that were lent, by DHCP or by
// a router's advertisement. Addresses that last are not in it.
type Leases map[netip.Addr]time.Duration

// Counters are totals since the link was made.
type Counters struct {
	RxBytes, RxPackets, RxErrors, RxDropped uint64
	TxBytes, TxPackets, TxErrors, TxDropped uint64
	Multicast, Collisions                   uint64
}

// Terminal is the name of this link as a terminal of a Natrix server: its
// current MAC address in 12 lower-case hex digits. It is empty for a link
// without an Ethernet address, which cannot be one.
func (l Link) Terminal() string {
	if len(l.MAC) != 6 {
		return ""
	}
	return hex.EncodeToString(l.MAC)
}

// Has tells whether addr, regardless of its zone, is an address of this link.
func (l Link) Has(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	return slices.ContainsFunc(l.Addrs, func(p netip.Prefix) bool { return p.Addr() == addr })
}

// Addr4 returns the link's first IPv4 address, the zero Prefix if it has none.
func (l Link) Addr4() netip.Prefix {
	return l.first(func(a netip.Addr) bool { return a.Is4() })
}

// Addr6 returns the link's first IPv6 address, one that is not link-local if
// there is one, the zero Prefix if it has none.
func (l Link) Addr6() netip.Prefix {
	if p := l.first(func(a netip.Addr) bool { return a.Is6() && !a.IsLinkLocalUnicast() }); p.IsValid() {
		return p
	}
	return l.first(netip.Addr.Is6)
}

func (l Link) first(match func(netip.Addr) bool) netip.Prefix {
	i := slices.IndexFunc(l.Addrs, func(p netip.Prefix) bool { return match(p.Addr()) })
	if i < 0 {
		return netip.Prefix{}
	}
	return l.Addrs[i]
}

// hardware is the Driver of a link that the kernel did not make by itself.
const hardware = "device"

func newLink(d netlink.Link) Link {
	a := d.Attrs()
	l := Link{
		Name:         a.Name,
		Index:        a.Index,
		MAC:          mac(a.HardwareAddr),
		PermanentMAC: mac(a.PermHWAddr),
		Driver:       d.Type(),
		Up:           a.Flags&net.FlagUp != 0,
		Carrier:      a.Flags&net.FlagRunning != 0,
		MTU:          a.MTU,
	}
	if s := a.Statistics; s != nil {
		l.Counters = Counters{
			RxBytes: s.RxBytes, RxPackets: s.RxPackets, RxErrors: s.RxErrors, RxDropped: s.RxDropped,
			TxBytes: s.TxBytes, TxPackets: s.TxPackets, TxErrors: s.TxErrors, TxDropped: s.TxDropped,
			Multicast: s.Multicast, Collisions: s.Collisions,
		}
	}
	var dev device
	if l.Driver == hardware {
		dev = readDevice(sysClassNet, l.Name, l.Index)
	}
	l.SpeedMbit, l.Duplex = dev.speed, dev.duplex
	l.Kind = kind(l, a, dev.devtype)
	return l
}

// mac returns the address, or nil for the all-zero one that links without an
// address of their own (lo, tunnels) report.
func mac(a net.HardwareAddr) net.HardwareAddr {
	for _, b := range a {
		if b != 0 {
			return slices.Clone(a)
		}
	}
	return nil
}

// kind classifies a link by the DEVTYPE its driver announces, then by name for
// drivers that announce none, then by how the kernel made it.
func kind(l Link, a *netlink.LinkAttrs, devtype string) Kind {
	switch {
	case a.Flags&net.FlagLoopback != 0:
		return Loopback
	case devtype == "wlan" || strings.HasPrefix(l.Name, "wl"):
		return Wireless
	case devtype == "wwan" || strings.HasPrefix(l.Name, "ww") || a.EncapType == "ppp":
		return Mobile
	case a.EncapType == "ether" && slices.Contains(ethernets, l.Driver):
		return Wired
	}
	return Other
}

// ethernets are the link types that carry a machine's Ethernet traffic.
var ethernets = []string{hardware, "veth", "bridge", "bond", "vlan", "macvlan", "ipvlan", "team"}

// Terminals returns the links that are terminals of a Natrix server, in order:
// those with a MAC address, loopback excepted. Of links that share an address,
// as a bridge and its first port do, the one with IP addresses counts, or else
// the first.
func Terminals(links []Link) []Link {
	best := make(map[string]Link)
	for _, l := range links {
		held, shared := best[l.Terminal()]
		if !shared || len(held.Addrs) == 0 && len(l.Addrs) > 0 {
			best[l.Terminal()] = l
		}
	}
	return slices.DeleteFunc(slices.Clone(links), func(l Link) bool {
		return l.Terminal() == "" || l.Kind == Loopback || best[l.Terminal()].Index != l.Index
	})
}
