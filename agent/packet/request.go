package packet

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Protocol is what a packet carries above IP.
type Protocol uint8

// The protocols that the engine can send.
const (
	ICMP Protocol = iota // echo request, ICMP or ICMPv6 by the family of the destination
	UDP
	TCP  // a single SYN; the handshake is never completed
	SCTP // a single INIT
)

// String returns the lower-case name of the protocol.
func (p Protocol) String() string {
	switch p {
	case ICMP:
		return "icmp"
	case UDP:
		return "udp"
	case TCP:
		return "tcp"
	case SCTP:
		return "sctp"
	}
	return fmt.Sprintf("protocol %d", uint8(p))
}

// Defaults of a Request's zero fields.
const (
	DefaultTTL     = 64
	DefaultSize    = 64
	DefaultTimeout = 10 * time.Second
	DefaultPort    = 80    // destination of TCP and SCTP
	FirstUDPPort   = 33434 // destination ports of UDP count up from here, as traceroute's always did
)

// MaxSize is the size of the largest packet, IP header included. Packets
// larger than the link's MTU leave in fragments unless DontFragment is set.
const MaxSize = 65535

// Request describes one packet. The zero value of every field but Dst means
// "the engine's choice".
type Request struct {
	Tag      uint64     // returned with the Result of a Stream; the engine does not look at it
	Protocol Protocol   // default ICMP
	Dst      netip.Addr // with a zone if it is link-local
	Src      netip.Addr // default: what the route says
	Link     string     // output link by name; default: by route

	// SrcPort and DstPort belong to UDP, TCP and SCTP. An unset source port is
	// one that no other engine of this network namespace uses, and one that
	// another engine has is EADDRINUSE: what an open UDP port sends back names
	// nothing but ports, so two engines would take each other's answers. An unset
	// destination port is DefaultPort, and for UDP counts up from FirstUDPPort
	// with every packet.
	SrcPort, DstPort uint16

	TTL          int           // 1 to 255; default DefaultTTL
	TOS          int           // IPv4 type of service or IPv6 traffic class, 0 to 255
	Size         int           // bytes of the IP packet with its header; default DefaultSize, raised to what the protocol needs; TCP and SCTP ignore it
	Pattern      byte          // fills the payload; UDP and flows use the first two payload bytes for the checksum
	Mark         uint32        // firewall mark, needs CAP_NET_ADMIN or CAP_NET_RAW
	DontFragment bool          // sets DF and forbids fragmentation here: too big for the link is EMSGSIZE
	Timeout      time.Duration // until NoReply; default DefaultTimeout

	// Flow names a path through load balancers (Paris traceroute): packets to
	// one destination with the same non-zero Flow agree in everything that a
	// router hashes, which is the ports, the IPv6 flow label and the first four
	// bytes of an ICMP message. Different flows differ in one of these.
	Flow uint16
}

// Errors of a Request or an Engine that callers decide by. What the kernel
// refuses is wrapped as its errno instead: errors.Is(err, unix.ENETUNREACH).
var (
	ErrInvalid     = errors.New("invalid request")
	ErrNoLink      = errors.New("no such link")
	ErrTooMany     = errors.New("too many packets in flight")
	ErrClosed      = errors.New("engine is closed")
	ErrUnsupported = errors.New("not possible without CAP_NET_RAW")
)

// complete replaces zero fields by their defaults and rejects what cannot be sent.
func (r *Request) complete() error {
	r.Dst, r.Src = r.Dst.Unmap(), r.Src.Unmap()
	if r.TTL == 0 {
		r.TTL = DefaultTTL
	}
	if r.Timeout == 0 {
		r.Timeout = DefaultTimeout
	}
	if r.Protocol == ICMP {
		r.SrcPort, r.DstPort = 0, 0
	}
	if r.DstPort == 0 && (r.Protocol == TCP || r.Protocol == SCTP) {
		r.DstPort = DefaultPort
	}
	if r.Size == 0 {
		r.Size = DefaultSize
	}
	if err := r.check(); err != nil {
		return err
	}
	r.Size = max(r.Size, r.smallest())
	return nil
}

func (r *Request) check() error {
	switch {
	case !r.Dst.IsValid():
		return fmt.Errorf("no destination: %w", ErrInvalid)
	case r.Src.IsValid() && r.Src.Is4() != r.Dst.Is4():
		return fmt.Errorf("source %s for destination %s: %w", r.Src, r.Dst, ErrInvalid)
	case r.Protocol > SCTP:
		return fmt.Errorf("%s: %w", r.Protocol, ErrInvalid)
	case r.TTL < 0 || r.TTL > 255:
		return fmt.Errorf("ttl %d: %w", r.TTL, ErrInvalid)
	case r.TOS < 0 || r.TOS > 255:
		return fmt.Errorf("tos %d: %w", r.TOS, ErrInvalid)
	case r.Size < 0 || r.Size > MaxSize:
		return fmt.Errorf("size %d: %w", r.Size, ErrInvalid)
	case r.Timeout < 0:
		return fmt.Errorf("timeout %s: %w", r.Timeout, ErrInvalid)
	}
	return nil
}

// smallest is the least number of bytes that carries the packet's identity.
func (r *Request) smallest() int {
	header := ip4Len
	if r.Dst.Is6() {
		header = ip6Len
	}
	switch {
	case r.Protocol == UDP:
		return header + udpLen + 4
	case r.Protocol == ICMP && r.Flow != 0:
		return header + icmpLen + 2
	case r.Protocol == ICMP:
		return header + icmpLen
	case r.Protocol == TCP:
		return header + tcpLen
	}
	return header + sctpLen
}

// length is the size of the packet with its IP header. A SYN and an INIT
// have no room for a payload that every target would accept.
func (r *Request) length() int {
	if r.Protocol == TCP || r.Protocol == SCTP {
		return r.smallest()
	}
	return r.Size
}
