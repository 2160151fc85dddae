package packet

import "net/netip"

// match returns the flight that a sighting is of, nil if it is none of ours.
func (e *Engine) match(s *sighting) *flight {
	if s.short {
		return e.table.anywhere(s)
	}
	l := e.table.lane(s.number)
	if l == nil {
		if s.quoted {
			return e.table.anywhere(s) // a NAT may have rewritten the number
		}
		return nil
	}
	first, second := s.idents[0], s.idents[1]
	if s.protocol == UDP && second != 0 {
		first, second = second, first // a NAT rewrites checksums, but no IPv4 ids
	}
	if f := l.flight(first); f != nil && f.is(s) {
		return f
	}
	if f := l.flight(second); f != nil && f.is(s) {
		return f
	}
	if s.protocol == UDP && !s.quoted || s.protocol == SCTP {
		return e.latest.find(conversation{s.protocol, s.peer(), s.number, s.remote})
	}
	return nil
}

// anywhere finds the flight of a quote that lacks our number or has it
// rewritten. The ident has to be in every place where the quote has one.
func (t *table) anywhere(s *sighting) *flight {
	ident := s.idents[1]
	if ident == 0 {
		ident = s.idents[0]
	}
	if ident == 0 {
		return nil
	}
	for _, l := range t.lanes {
		if f := l.flight(ident); f != nil && f.rewritten(s) {
			return f
		}
	}
	return nil
}

// is reports whether s can only be of f.
func (f *flight) is(s *sighting) bool {
	switch {
	case f.state == idle || f.state == staged || f.protocol != s.protocol || f.sport != s.number:
		return false
	case s.seq != 0 && s.seq != f.seq:
		return false
	case s.protocol == ICMP:
		return !s.quoted || s.dst == f.dst // echo replies may come from another address (anycast, multicast)
	}
	return s.remote == f.dport && s.peer() == f.dst
}

// rewritten is is for quotes without a number that can be relied on.
func (f *flight) rewritten(s *sighting) bool {
	if f.state == idle || f.state == staged || f.protocol != s.protocol || s.dst != f.dst {
		return false
	}
	if s.short {
		return true
	}
	switch s.protocol {
	case ICMP:
		return s.idents[0] == f.ident && s.idents[1] == f.ident // both are ours to choose and no NAT changes them
	case UDP:
		return s.remote == f.dport && s.idents[1] == f.ident
	}
	return s.remote == f.dport && s.seq == f.seq
}

// peer is the destination of our packet: quoted, or who answers.
func (s *sighting) peer() netip.Addr {
	if s.quoted {
		return s.dst
	}
	return s.from
}

// conversation is what UDP data and a short SCTP quote tell about our packet.
type conversation struct {
	protocol     Protocol
	peer         netip.Addr
	sport, dport uint16
}

// latest remembers the last packet of each conversation, as many of them as
// fit: answers that carry no ident are taken to be to that one.
type latest struct{ flights map[conversation]*flight }

const maxConversations = 1 << 16

func (l *latest) add(f *flight) {
	if l.flights == nil || len(l.flights) >= maxConversations {
		l.flights = make(map[conversation]*flight)
	}
	l.flights[f.conversation()] = f
}

func (l *latest) find(c conversation) *flight {
	f := l.flights[c]
	if f == nil || f.state == idle || f.state == staged || f.conversation() != c {
		return nil // its ident has been used again since
	}
	return f
}

func (f *flight) conversation() conversation {
	return conversation{f.protocol, f.dst, f.sport, f.dport}
}
