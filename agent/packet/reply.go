package packet

import (
	"fmt"
	"net/netip"
	"time"
)

// Kind says what a packet met.
type Kind uint8

// The kinds of outcome. The first block are answers of the destination itself;
// the kinds of destination unreachable follow RFC 792, RFC 1812 section 5.2.7.1
// and RFC 4443 section 3.1, where ICMPv6 codes join the ICMP kind of the same meaning.
const (
	NoReply Kind = iota // nothing came before the timeout

	EchoReply  // ICMP
	UDPReply   // data came back from the port
	TCPOpen    // SYN-ACK
	TCPClosed  // RST
	SCTPOpen   // INIT-ACK
	SCTPClosed // ABORT

	TTLExpired        // time exceeded in transit
	ReassemblyExpired // time exceeded while waiting for fragments

	NetUnreachable // also ICMPv6 "no route to destination"
	HostUnreachable
	ProtoUnreachable
	PortUnreachable
	TooBig // ICMP "fragmentation needed", ICMPv6 "packet too big"; Reply.MTU says what fits
	SourceRouteFailed
	NetUnknown
	HostUnknown
	SourceIsolated
	NetProhibited
	HostProhibited
	NetTOS  // network unreachable for this type of service
	HostTOS // host unreachable for this type of service
	AdminProhibited
	HostPrecedence
	PrecedenceCutoff
	BeyondScope  // ICMPv6 only, as the next three
	SourcePolicy // the source address failed an ingress or egress policy
	RouteRejected
	SourceRoutingError

	SourceQuench
	ParameterProblem
	OtherError // an ICMP error of a type or code that none of the above names
)

// String returns the kind in words.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

var kindNames = [...]string{
	NoReply: "no reply", EchoReply: "echo reply", UDPReply: "udp reply",
	TCPOpen: "port open", TCPClosed: "port closed", SCTPOpen: "port open", SCTPClosed: "port closed",
	TTLExpired: "ttl expired", ReassemblyExpired: "reassembly time expired",
	NetUnreachable: "network unreachable", HostUnreachable: "host unreachable",
	ProtoUnreachable: "protocol unreachable", PortUnreachable: "port unreachable", TooBig: "packet too big",
	SourceRouteFailed: "source route failed", NetUnknown: "network unknown", HostUnknown: "host unknown",
	SourceIsolated: "source isolated", NetProhibited: "network prohibited", HostProhibited: "host prohibited",
	NetTOS: "network unreachable for tos", HostTOS: "host unreachable for tos",
	AdminProhibited: "administratively prohibited", HostPrecedence: "precedence violation",
	PrecedenceCutoff: "precedence cutoff", BeyondScope: "beyond scope of source address",
	SourcePolicy: "source address failed policy", RouteRejected: "route rejected",
	SourceRoutingError: "error in source routing header", SourceQuench: "source quench",
	ParameterProblem: "parameter problem", OtherError: "other icmp error",
}

// FromDestination reports whether the kind is an answer that only the
// destination gives: something listens there, or says that nothing does.
func (k Kind) FromDestination() bool { return k >= EchoReply && k <= SCTPClosed }

// Unreachable reports whether a router or the destination refused the packet.
func (k Kind) Unreachable() bool { return k >= NetUnreachable && k <= SourceRoutingError }

// Clock says how an RTT was measured.
type Clock uint8

// The clocks, from coarse to fine.
const (
	Monotonic Clock = iota // this process's clock: the RTT includes waiting for the CPU
	Kernel                 // the kernel's stamps at the driver, both ways
	Hardware               // the network card's stamps, both ways
)

// String returns the lower-case name of the clock.
func (c Clock) String() string {
	switch c {
	case Monotonic:
		return "monotonic"
	case Kernel:
		return "kernel"
	case Hardware:
		return "hardware"
	}
	return fmt.Sprintf("clock %d", uint8(c))
}

// Reply is the outcome of one Request. After NoReply only Kind and Sent mean something.
type Reply struct {
	Kind  Kind
	Clock Clock
	From  netip.Addr    // who answered; with a zone if it is link-local
	RTT   time.Duration // by Clock; wall-clock steps do not change it
	Sent  time.Time     // departure, by the wall clock of that moment

	ICMPType, ICMPCode uint8 // of an ICMP answer
	TTL                int   // left in the answer; -1 unknown
	Size               int   // bytes of the answer with its IP header
	MTU                int   // what TooBig says fits, 0 if it does not say

	// What the answering router saw, from the header that it quotes; -1
	// unknown. A QuotedTTL above 1 in TTLExpired is a router that does not
	// count hops like others; a QuotedTOS other than the one sent was rewritten on the way.
	QuotedTTL, QuotedTOS int
	Rewritten            bool // the quoted addresses, ports or UDP checksum are not those sent: a NAT is on the way

	MPLS       []Label     // label stack (RFC 4950), outermost first; nil without one
	Interfaces []Interface // interface information (RFC 5837); nil without any
	Extensions []Extension // every other extension object (RFC 4884), as it came

	Late       bool // the answer came after NoReply was given
	Duplicate  bool // an answer to this packet had already come
	OutOfOrder bool // a later packet to this destination with the same TTL was answered earlier
}

// Label is one entry of an MPLS label stack (RFC 3032 section 2.1).
type Label struct {
	Label  uint32 // 20 bits
	TC     uint8  // traffic class, 3 bits
	Bottom bool   // last of the stack
	TTL    uint8
}

// Interface is what a router says about one of its interfaces (RFC 5837).
type Interface struct {
	Role  InterfaceRole
	Index uint32     // ifIndex, 0 unknown
	Addr  netip.Addr // zero unknown
	Name  string     // "" unknown
	MTU   int        // 0 unknown
}

// InterfaceRole says what an interface was to the packet (RFC 5837 section 4.1).
type InterfaceRole uint8

// The roles.
const (
	Incoming    InterfaceRole = iota // the packet arrived here
	SubIncoming                      // member of an incoming bundle
	Outgoing                         // it would have left here
	NextHop                          // and gone there
)

// Extension is an ICMP extension object that has no type here.
type Extension struct {
	Class, CType uint8
	Data         []byte
}
