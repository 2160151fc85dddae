package mtr

import (
	"cmp"
	"net/netip"
	"strings"
	"testing"

	"github.com/natrix-os/natrix/sysinfo/netif/nettest"
	"golang.org/x/sys/unix"
)

// laboratory is where the contract is checked, from h1:
//
//	        cable 1      cable 2
//	     ┌───────── r1 ───────── h2
//	     │  .101: MPLS  .102
//	h1 ──┼───────── ● ── ● ───── h3     cable 3
//	     ├───────── ● ────────── h4     cable 4, a black hole
//	     ├───────── ● ────────── h5     cable 5, refuses as if it were a closed port
//	     ├───────── ● ────────── h6     cable 6, host unreachable
//	     ├───────── ● ────────── h7     cable 7, prohibited
//	     ├───────── ● ────────── h8     cable 8, IPv4 options in its answers
//	     ├───────── ● ── ● ───── h9     cable 9, NAT that forgets the quotes, then short quotes
//	     └───────── ● ────────── h10    cable 10, a quote of 200 bytes before MPLS
//
// Its own routes make 203.0.113.1 and 2001:db8:3::1 unreachable, .2 and ::2 prohibited.
func laboratory(t testing.TB) *nettest.Host {
	t.Helper()
	n := nettest.New(t)
	h1, r1 := n.Host("h1"), n.Host("r1")
	n.Connect(h1, r1)
	n.Connect(r1, n.Host("h2"))
	labels := nettest.MPLS(nettest.Label{Label: 16001, TC: 5, TTL: 1}, nettest.Label{Label: 3, TTL: 254})
	n.Connect(h1, n.Host("h3"), nettest.Router{Extensions: []nettest.Extension{labels}}, nettest.Router{})
	n.Connect(h1, n.Host("h4"), nettest.Router{BlackHole: true})
	n.Connect(h1, n.Host("h5"), nettest.Router{Refuse: nettest.PortUnreachable})
	n.Connect(h1, n.Host("h6"), nettest.Router{Refuse: nettest.HostUnreachable})
	n.Connect(h1, n.Host("h7"), nettest.Router{Refuse: nettest.Prohibited})
	n.Connect(h1, n.Host("h8"), nettest.Router{Options: []byte{1, 1, 1, 1}})
	nat := nettest.Router{NAT4: netip.MustParseAddr("10.0.9.200"), NAT6: netip.MustParseAddr("fd00:0:0:9::200"), KeepQuote: true}
	n.Connect(h1, n.Host("h9"), nat, nettest.Router{Quote: 48})
	n.Connect(h1, n.Host("h10"), nettest.Router{Extensions: []nettest.Extension{labels}, Quote: 200})
	n.Route()
	for addr, kind := range map[string]int{
		"203.0.113.1": unix.RTN_UNREACHABLE, "203.0.113.2": unix.RTN_PROHIBIT,
		"2001:db8:3::1": unix.RTN_UNREACHABLE, "2001:db8:3::2": unix.RTN_PROHIBIT,
	} {
		a := netip.MustParseAddr(addr)
		h1.AddRoute(netip.PrefixFrom(a, a.BitLen()), kind)
	}
	return h1
}

// statement is a line of the contract: an input, and the replies to it in any
// order. Where a version or Debian's program says something else, it has its own.
type statement struct {
	in   string
	want string // of natrix in both versions, and of Debian's mtr-packet 0.95
	v96  string // of natrix in version 0.96, if it differs
	or   string // what else may come, by chance; "" if nothing
	real string // of Debian's, if it differs; "-" where it hangs, crashes or leaves it to chance
}

const lo4, lo6 = "reply ip-4 127.0.0.1 round-trip-time N", "reply ip-6 ::1 round-trip-time N"

// Section 2, the syntax of lines, with a command that needs no network.
func syntax() []statement {
	const ask = "check-support feature icmp"
	const yes = "feature-support support ok"
	pairs := func(n int) string { return strings.Repeat(" x y", n) }
	// filler makes a line of n bytes of the question of token 1.
	filler := func(n int) string { return "1 " + ask + strings.Repeat(" ", n-2-len(ask)) }
	return []statement{
		{in: "1 " + ask, want: "1 " + yes},
		{in: " \t 1\v\f" + strings.ReplaceAll(ask, " ", "\t\t") + "  \r", want: "1 " + yes},
		{in: "1 " + ask + "\r\n2 " + ask, want: "1 " + yes + "\n2 " + yes},
		{in: "", want: "0 command-parse-error"},
		{in: "   ", want: "0 command-parse-error"},
		{in: "5", want: "0 command-parse-error"},
		{in: "5 send-probe ip-4", want: "0 command-parse-error"},
		{in: "5 check-support feature icmp x", want: "0 command-parse-error"},
		{in: "5 " + ask + pairs(15), want: "5 " + yes},
		{in: "5 " + ask + pairs(16), want: "0 command-parse-error"},
		{in: "5 " + ask + pairs(15) + " x", want: "0 command-parse-error"},
		{in: "5 " + ask + pairs(200), want: "0 command-parse-error"},
		{in: "5 nonsense", want: "5 unknown-command"},
		{in: "5 nonsense a b", want: "5 unknown-command"},
		{in: "5 SEND-PROBE ip-4 127.0.0.1", want: "5 unknown-command"},
		{in: "5 send-probe", want: "5 invalid-argument reason ip-version-not-supported"},
		{in: "abc " + ask, want: "0 " + yes},
		{in: "12abc " + ask, want: "12 " + yes},
		{in: "1.5 " + ask, want: "1 " + yes},
		{in: "0x10 " + ask, want: "0 " + yes},
		{in: "+5 " + ask, want: "5 " + yes},
		{in: "-5 " + ask, want: "-5 " + yes},
		{in: "- " + ask, want: "0 " + yes},
		{in: "+-5 " + ask, want: "0 " + yes},
		{in: "007 " + ask, want: "7 " + yes},
		{in: "2147483647 " + ask, want: "2147483647 " + yes},
		{in: "2147483648 " + ask, want: "-2147483648 " + yes},
		{in: "4294967296 " + ask, want: "0 " + yes},
		{in: "99999999999 " + ask, want: "1215752191 " + yes},
		{in: "9223372036854775807 " + ask, want: "-1 " + yes},
		{in: "-9223372036854775808 " + ask, want: "0 " + yes},
		{in: "9223372036854775808 " + ask, want: "0 command-parse-error"},
		{in: "-9223372036854775809 " + ask, want: "0 command-parse-error"},
		{in: "99999999999999999999x " + ask, want: "0 command-parse-error"},
		{in: "7 " + ask + "\n7 " + ask, want: "7 " + yes + "\n7 " + yes},
		{in: filler(4094), want: "1 " + yes},
		{in: filler(4095), want: "0 command-buffer-overflow\n0 command-parse-error"},
		{in: strings.Repeat("x", 4095) + "3 " + ask, want: "0 command-buffer-overflow\n3 " + yes},
		{in: strings.Repeat("x", 1<<16), want: strings.Repeat("0 command-buffer-overflow\n", 16) + "0 command-parse-error"},
		{in: "1 " + ask + "\n" + strings.Repeat("x", 8190) + "3 " + ask,
			want: "1 " + yes + "\n0 command-buffer-overflow\n0 command-buffer-overflow\n3 " + yes},
		{in: "1 " + ask + " \x00\n2 " + ask, want: "0 command-parse-error\n2 " + yes, real: "-"},
	}
}

// Section 3.1.
func features() []statement {
	ask := func(feature, value string) statement {
		return statement{in: "1 check-support feature " + feature, want: "1 feature-support support " + value}
	}
	version := ask("version", "0.95")
	version.v96 = "1 feature-support support 0.96"
	list := []statement{
		version,
		ask("ip-4", "ok"), ask("ip-6", "ok"), ask("send-probe", "ok"),
		ask("icmp", "ok"), ask("udp", "ok"), ask("tcp", "ok"), ask("mark", "ok"),
		ask("tos", "no"), ask("local-device", "no"), ask("mpls", "no"), ask("ICMP", "no"), ask("-", "no"),
		{in: "1 check-support", want: "1 invalid-argument"},
		{in: "1 check-support Feature icmp", want: "1 invalid-argument"},
		{in: "1 check-support x y feature icmp feature nonsense", want: "1 feature-support support ok"},
		{in: "1 check-support feature nonsense feature icmp", want: "1 feature-support support no"},
	}
	if opens(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP) {
		return append(list, ask("sctp", "ok"))
	}
	return append(list, ask("sctp", "no"), statement{
		in: "1 send-probe ip-4 127.0.0.1 protocol sctp", want: "1 invalid-argument reason protocol-not-supported",
	})
}

// Section 3.2, the arguments of send-probe, on the loopback link. Each names a
// local port of its own, because engines do not share them.
func arguments() []statement {
	probe := func(args, want string) statement {
		return statement{in: "1 send-probe " + args, want: "1 " + want}
	}
	ours := func(args, want, real string) statement {
		s := probe(args, want)
		s.real = "1 " + real
		return s
	}
	const invalid = "invalid-argument"
	return []statement{
		probe("ip-4 127.0.0.1", lo4), probe("ip-6 ::1", lo6),
		probe("timeout 1", invalid+" reason ip-version-not-supported"),
		probe("timeout 1x", invalid),
		probe("protocol nonsense", invalid), probe("ip-4 127.0.0.1 protocol ICMP", invalid),
		probe("ip-4 127.0.0.1 bogus 1 local-address x", lo4),
		probe("ip-4 ::1", invalid), probe("ip-6 127.0.0.1", invalid), probe("ip-4 localhost", invalid),
		probe("ip-4 127.1", invalid), probe("ip-4 127.0.0.01", invalid), probe("ip-4 127.0.0.1.", invalid),
		probe("ip-4 0x7f.0.0.1", invalid), probe("ip-4 256.0.0.1", invalid), probe("ip-4 1", invalid),
		probe("ip-6 ::1%lo", invalid), probe("ip-6 :::1", invalid), probe("ip-6 1::2::3", invalid),
		probe("ip-6 12345::", invalid), probe("ip-6 0:0:0:0:0:0:0:1", lo6), probe("ip-6 0:0:0:0:0:0:0.0.0.1", lo6),
		probe("ip-4 127.0.0.9 ip-4 127.0.0.1", lo4),
		probe("ip-6 ::1 ip-4 127.0.0.1", lo4), probe("ip-4 127.0.0.1 ip-6 ::1", lo6),
		probe("ip-4 127.0.0.1 local-ip-4 127.0.0.1", lo4), probe("ip-4 127.0.0.1 local-ip-4 127.0.0.77", lo4),
		probe("ip-6 ::1 local-ip-6 ::1", lo6),
		probe("ip-4 127.0.0.1 local-ip-4 x", invalid), probe("ip-4 127.0.0.1 local-ip-4 ::1", invalid),
		probe("ip-4 127.0.0.1 local-ip-6 127.0.0.1", lo4), probe("ip-4 127.0.0.1 local-ip-6 ::1", invalid),
		probe("ip-6 ::1 local-ip-4 127.0.0.1", invalid),
		probe("ip-4 127.0.0.1 protocol icmp port 7", lo4),
		probe("ip-4 127.0.0.1 protocol udp", lo4), probe("ip-6 ::1 protocol udp", lo6),
		probe("ip-4 127.0.0.1 protocol udp port 7", lo4), probe("ip-6 ::1 protocol udp port 7", lo6),
		probe("ip-4 127.0.0.1 protocol udp local-port 1024", lo4), probe("ip-6 ::1 protocol udp local-port 1025", lo6),
		probe("ip-4 127.0.0.1 protocol udp port 7 local-port 5000", lo4),
		ours("ip-6 ::1 protocol udp port 7 local-port 5001 timeout 1", lo6, "no-reply"),
		probe("ip-4 127.0.0.1 protocol udp port 70000", lo4), probe("ip-4 127.0.0.1 protocol udp port -1", lo4),
		probe("ip-4 127.0.0.1 protocol udp local-port 70000", lo4),
		probe("ip-4 127.0.0.1 protocol udp port 7x", invalid), probe("ip-4 127.0.0.1 protocol udp port http", invalid),
		probe("ip-4 127.0.0.1 local-port 1023", invalid), probe("ip-4 127.0.0.1 local-port 0", invalid),
		probe("ip-4 127.0.0.1 local-port -1", invalid), probe("ip-4 127.0.0.1 protocol tcp local-port 80", invalid),
		probe("ip-4 127.0.0.1 protocol tcp", lo4), probe("ip-6 ::1 protocol tcp", lo6),
		probe("ip-4 127.0.0.1 protocol tcp port 9 local-port 5000", lo4),
		probe("ip-4 127.0.0.1 tos 184", lo4), probe("ip-4 127.0.0.1 tos 256", lo4), probe("ip-4 127.0.0.1 tos -1", lo4),
		probe("ip-6 ::1 tos 255", lo6), probe("ip-6 ::1 tos -1", lo6),
		probe("ip-6 ::1 tos 256", invalid), probe("ip-6 ::1 tos -2", invalid),
		probe("ip-4 127.0.0.1 mark 7", lo4), probe("ip-6 ::1 mark 7", lo6), probe("ip-4 127.0.0.1 mark 0", lo4),
		probe("ip-4 127.0.0.1 size 0", lo4), probe("ip-4 127.0.0.1 size -1", lo4), probe("ip-4 127.0.0.1 size 1", lo4),
		probe("ip-4 127.0.0.1 protocol udp size 0", lo4), probe("ip-6 ::1 size 0", lo6), probe("ip-6 ::1 protocol udp size 0", lo6),
		probe("ip-4 127.0.0.1 size 9000", lo4), probe("ip-4 127.0.0.1 size 9001", invalid),
		probe("ip-6 ::1 size 9040", lo6), probe("ip-6 ::1 size 9041", invalid),
		probe("ip-4 127.0.0.1 protocol tcp size 99999", lo4),
		probe("ip-4 127.0.0.1 size 0x10", invalid), probe("ip-4 127.0.0.1 size 3.0", invalid), probe("ip-4 127.0.0.1 size +", invalid),
		probe("ip-4 127.0.0.1 size +100", lo4), probe("ip-4 127.0.0.1 size 4294967396", lo4),
		probe("ip-4 127.0.0.1 bit-pattern 255", lo4), probe("ip-4 127.0.0.1 bit-pattern -1", lo4), probe("ip-4 127.0.0.1 bit-pattern 4000", lo4),
		probe("ip-4 127.0.0.1 ttl 1", lo4), probe("ip-4 127.0.0.1 ttl -1", lo4), probe("ip-6 ::1 ttl -1", lo6), probe("ip-6 ::1 ttl 255", lo6),
		ours("ip-4 127.0.0.1 ttl 0", invalid, lo4), ours("ip-4 127.0.0.1 ttl 256", invalid, lo4),
		ours("ip-6 ::1 ttl 0", invalid, lo6), probe("ip-6 ::1 ttl 256", invalid), probe("ip-6 ::1 ttl -2", invalid),
		probe("ip-4 127.0.0.1 timeout 1.5", invalid), probe("ip-4 127.0.0.1 timeout x", invalid),
		// An answer of this machine is there before anybody looks at the time, unless the machine is busy.
		{in: "1 send-probe ip-4 127.0.0.1 timeout 0", want: "1 " + lo4, or: "1 no-reply"},
		{in: "1 send-probe ip-4 127.0.0.1 timeout -1", want: "1 " + lo4, or: "1 no-reply"},
		{in: "1 send-probe ip-4 127.0.0.1 local-device nowhere0", want: "1 " + lo4, v96: "1 unexpected-error errno 19"},
		{in: "1 send-probe ip-4 127.0.0.1 local-device lo", want: "1 " + lo4},
		{in: "1 send-probe ip-4 10.0.1.2 local-device r1", want: "1 reply ip-4 10.0.1.2 round-trip-time N"},
		{in: "1 send-probe ip-4 10.0.1.2 local-device h3 timeout 1", want: "1 reply ip-4 10.0.1.2 round-trip-time N", v96: "1 no-reply"},
	}
}

// Section 4, what the network answers, for each protocol and family.
func outcomes() []statement {
	var list []statement
	for _, family := range []struct{ key, network, colon, absent, unreachable, prohibited string }{
		{"ip-4", "10.0.", ".", "100.64.0.1", "203.0.113.1", "203.0.113.2"},
		{"ip-6", "fd00:0:0:", "::", "2001:db8:9::1", "2001:db8:3::1", "2001:db8:3::2"},
	} {
		host := func(cable, number string) string { return family.network + cable + family.colon + number }
		at := func(word, addr string) string { return word + " " + family.key + " " + addr + " round-trip-time N" }
		for _, protocol := range []string{"icmp", "udp", "tcp"} {
			add := func(dst, args, want string, change func(*statement)) {
				s := statement{in: "9 send-probe protocol " + protocol + " " + family.key + " " + dst + " " + args, want: "9 " + want}
				change(&s)
				list = append(list, s)
			}
			same := func(*statement) {}
			// Debian's TCP loses the race between its two sockets now and then.
			chance := func(s *statement) {
				if protocol == "tcp" {
					s.real = "-"
				}
			}
			newWord := func(s *statement) { s.v96 = strings.Replace(s.want, "no-route ", "no-route-host ", 1); chance(s) }
			h2, h3, h4, h5, h6, h7 := host("2", "2"), host("3", "2"), host("4", "2"), host("5", "2"), host("6", "2"), host("7", "2")
			add(h2, "", at("reply", h2), same)
			add(h2, "ttl 1", at("ttl-expired", host("1", "2")), chance)
			add(h2, "ttl 2", at("reply", h2), same)
			add(h3, "ttl 1", at("ttl-expired", host("3", "101"))+" mpls 16001,5,0,1,3,0,1,254", chance)
			add(h3, "ttl 2", at("ttl-expired", host("3", "102")), chance)
			add(h4, "timeout 1", "no-reply", same)
			add(h4, "ttl 1", at("ttl-expired", host("4", "101")), chance)
			add(h5, "", at("reply", host("5", "101")), chance)
			add(h6, "", at("no-route", host("6", "101")), newWord)
			add(h7, "", at("no-route", host("7", "101")), newWord)
			// Debian's fails to select a source address without a route, and
			// crashes when the route refuses.
			add(family.absent, "", "no-route", func(s *statement) { s.v96, s.real = "9 no-route-network", "9 invalid-argument" })
			add(family.unreachable, "", "no-route", func(s *statement) { s.v96, s.real = "9 no-route-host", "-" })
			add(family.prohibited, "", "permission-denied", func(s *statement) { s.real = "9 invalid-argument" })
		}
	}
	return list
}

// Section 9 and what the other sections say mtr-packet gets wrong: natrix
// recognises answers that it does not.
func troubles() []statement {
	expired := func(family, addr string) string { return "1 ttl-expired " + family + " " + addr + " round-trip-time N" }
	const labels = " mpls 16001,5,0,1,3,0,1,254"
	return []statement{
		{in: "1 send-probe ip-4 10.0.8.2 ttl 1 timeout 1", want: expired("ip-4", "10.0.8.101"), real: "1 no-reply"},
		{in: "1 send-probe ip-4 10.0.8.2 ttl 1 protocol udp timeout 1", want: expired("ip-4", "10.0.8.101"), real: "1 no-reply"},
		{in: "1 send-probe ip-4 10.0.9.2 ttl 2 protocol udp timeout 1", want: expired("ip-4", "10.0.9.102"), real: "1 no-reply"},
		{in: "1 send-probe ip-4 10.0.9.2 ttl 2 timeout 1", want: expired("ip-4", "10.0.9.102")},
		{in: "1 send-probe ip-4 10.0.9.2 ttl 2 protocol tcp timeout 1", want: expired("ip-4", "10.0.9.102"), real: "-"},
		{in: "1 send-probe ip-6 fd00:0:0:9::2 ttl 2 timeout 1", want: expired("ip-6", "fd00:0:0:9::102")},
		{in: "1 send-probe ip-4 10.0.9.2 timeout 1", want: "1 reply ip-4 10.0.9.2 round-trip-time N"},
		{in: "1 send-probe ip-4 10.0.10.2 ttl 1 size 300 timeout 1", want: expired("ip-4", "10.0.10.101") + labels, real: expired("ip-4", "10.0.10.101")},
		{in: "1 send-probe ip-6 fd00:0:0:a::2 ttl 1 size 300 timeout 1", want: expired("ip-6", "fd00:0:0:a::101") + labels, real: expired("ip-6", "fd00:0:0:a::101")},
		{in: "1 send-probe ip-4 10.0.10.2 ttl 1 size 100 timeout 1", want: expired("ip-4", "10.0.10.101") + labels},
	}
}

// The contract holds for natrix in both versions and, so that it is true, for
// Debian's program.
func TestNetnsContract(t *testing.T) {
	h1 := laboratory(t)
	for name, statements := range map[string][]statement{
		"syntax": syntax(), "features": features(), "arguments": arguments(), "outcomes": outcomes(), "troubles": troubles(),
	} {
		t.Run(name+" 0.95", func(t *testing.T) {
			checkAll(t, natrix(t, "0.95"), h1, statements, func(s statement) string { return s.want })
		})
		t.Run(name+" 0.96", func(t *testing.T) {
			checkAll(t, natrix(t, "0.96"), h1, statements, func(s statement) string { return cmp.Or(s.v96, s.want) })
		})
		t.Run(name+" by Debian", func(t *testing.T) {
			needDebian(t)
			checkAll(t, debian, h1, statements, func(s statement) string { return cmp.Or(s.real, s.want) })
		})
	}
}

// checkAll gives each statement to a process of its own.
func checkAll(t *testing.T, i implementation, h *nettest.Host, all []statement, want func(statement) string) {
	t.Helper()
	atOnce(len(all), func(n int) {
		s := all[n]
		if want(s) == "-" {
			return
		}
		if got, want := normal(i.converse(t, h, s.in+"\n")), normal(want(s)); got != want && (s.or == "" || got != normal(s.or)) {
			t.Errorf("%s: %.200q:\n got %q\nwant %q", i.name, s.in, got, want)
		}
	})
}
