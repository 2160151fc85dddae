package packet

// collectStamps reads the stamps of sent packets that the kernel has put into
// the error queues. A software stamp is there before the packet has left, so
// after reading an answer this finds the stamp of its request.
func (e *Engine) collectStamps(six bool) {
	family := 0
	if six {
		family = 1
	}
	if s := e.senders[family]; s != nil && s.hasStamps() {
		e.collect(s)
	}
	for _, s := range e.fragmenters[family] {
		if s != nil && s.hasStamps() {
			e.collect(s)
		}
	}
}

func (e *Engine) collect(s *sender) {
	s.stamping.Lock()
	defer s.stamping.Unlock()
	unread := s.unread.Load()
	defer s.unread.Add(-unread) // only now, so that others wait for this to end
	for {
		n := s.readStamps()
		if n <= 0 {
			break
		}
		e.mu.Lock()
		for i := range n {
			if p, ok := s.stamped(i); ok {
				e.depart(p)
			}
		}
		e.mu.Unlock()
		if n < batchSize {
			break
		}
	}
}

// departure is a packet of ours that came back with the kernel's stamp.
type departure struct {
	sighting
	stamps stamps
}

func (e *Engine) depart(d departure) {
	f := e.match(&d.sighting)
	if f == nil {
		return
	}
	if d.stamps.software != 0 {
		f.stamps.software = d.stamps.software
	}
	if d.stamps.hardware != 0 {
		f.stamps.hardware = d.stamps.hardware
	}
}
