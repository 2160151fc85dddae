package mtr

import (
	"errors"
	"net/netip"
	"strconv"
	"time"

	"github.com/natrix-os/natrix/agent/packet"
	"golang.org/x/sys/unix"
)

// maxLabels is how many MPLS labels a reply tells.
const maxLabels = 8

// tagOf and tokenOf carry a token through the engine.
func tagOf(token int32) uint64     { return uint64(uint32(token)) }
func tokenOf(tag uint64) int32     { return int32(uint32(tag)) }
func micros(d time.Duration) int64 { return d.Microseconds() }

func appendReply(b []byte, token int32, words string) []byte {
	b = strconv.AppendInt(b, int64(token), 10)
	b = append(b, ' ')
	b = append(b, words...)
	return append(b, '\n')
}

func (d *dialect) appendResults(b []byte, results []packet.Result) []byte {
	for i := range results {
		b = d.appendResult(b, &results[i])
	}
	return b
}

// appendResult writes the reply to a probe, and nothing for answers that are
// late or duplicate, because theirs has been given.
func (d *dialect) appendResult(b []byte, r *packet.Result) []byte {
	switch {
	case r.Reply.Late || r.Reply.Duplicate:
		return b
	case r.Err != nil:
		return d.appendError(b, tokenOf(r.Tag), r.Err)
	case r.Reply.Kind == packet.NoReply:
		return appendReply(b, tokenOf(r.Tag), "no-reply")
	}
	b = strconv.AppendInt(b, int64(tokenOf(r.Tag)), 10)
	b = append(b, ' ')
	b = append(b, d.outcome(r.Reply.Kind)...)
	b = appendAddr(b, r.Reply.From)
	b = append(b, " round-trip-time "...)
	b = strconv.AppendInt(b, micros(r.Reply.RTT), 10)
	b = appendMPLS(b, r.Reply.MPLS)
	return append(b, '\n')
}

// outcome is the word for an answer. mtr knows three: the destination
// answered, the TTL ran out, or something was in the way.
func (d *dialect) outcome(k packet.Kind) string {
	switch {
	case k.FromDestination(), k == packet.PortUnreachable:
		return "reply"
	case k == packet.TTLExpired, k == packet.ReassemblyExpired:
		return "ttl-expired"
	}
	return d.word("no-route-host")
}

// appendAddr writes the family and the address without its zone, for which
// the protocol has no place.
func appendAddr(b []byte, a netip.Addr) []byte {
	if a.Is4() {
		b = append(b, " ip-4 "...)
	} else {
		b = append(b, " ip-6 "...)
	}
	return a.WithZone("").AppendTo(b)
}

// appendMPLS writes label, traffic class, bottom of stack and TTL of each label.
func appendMPLS(b []byte, stack []packet.Label) []byte {
	for i, l := range stack[:min(len(stack), maxLabels)] {
		if i == 0 {
			b = append(b, " mpls "...)
		} else {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(l.Label), 10)
		b = append(b, ',')
		b = strconv.AppendUint(b, uint64(l.TC), 10)
		if l.Bottom {
			b = append(b, ",1,"...)
		} else {
			b = append(b, ",0,"...)
		}
		b = strconv.AppendUint(b, uint64(l.TTL), 10)
	}
	return b
}

// refusals are the words for what kept a probe from being sent. The first one
// that matches counts.
var refusals = [...]struct {
	err  error
	word string
}{
	{packet.ErrTooMany, "probes-exhausted"},
	{packet.ErrInvalid, invalid},
	{packet.ErrUnsupported, "permission-denied"},
	{unix.EINVAL, invalid},
	{unix.ENETUNREACH, "no-route-network"},
	{unix.EHOSTUNREACH, "no-route-host"},
	{unix.ENETDOWN, "network-down"},
	{unix.EHOSTDOWN, "host-down"},
	{unix.EPERM, "permission-denied"},
	{unix.EACCES, "permission-denied"},
	{unix.EADDRINUSE, "address-in-use"},
	{unix.EADDRNOTAVAIL, "address-not-available"},
	{unix.ETIMEDOUT, "wait-tcp-respone-timeout"}, // spelled so
}

// appendError writes the reply to a probe that could not be sent.
func (d *dialect) appendError(b []byte, token int32, err error) []byte {
	for _, r := range refusals {
		if errors.Is(err, r.err) && d.word(r.word) != "" {
			return appendReply(b, token, d.word(r.word))
		}
	}
	errno := unix.EIO
	if errors.Is(err, packet.ErrNoLink) {
		errno = unix.ENODEV
	} else {
		errors.As(err, &errno)
	}
	b = strconv.AppendInt(b, int64(token), 10)
	b = append(b, " unexpected-error errno "...)
	b = strconv.AppendInt(b, int64(errno), 10)
	return append(b, '\n')
}
