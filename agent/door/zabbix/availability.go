package zabbix

import (
	"sync"
	"time"
)

// Zabbix's defaults, of its proxies too.
const (
	unreachableDelay  = 15 * time.Second
	unreachablePeriod = 45 * time.Second
	unavailableDelay  = time.Minute
)

// state is whether an interface can be asked, as the server takes it.
type state struct {
	Interface uint64 `json:"interfaceid"`
	Available int    `json:"available"` // 0 unknown, 1 yes, 2 no
	Error     string `json:"error"`
}

// states are those of the interfaces of agents.
type states struct {
	mu  sync.Mutex
	all map[uint64]*watched
}

// watched is an interface and what is known of it.
type watched struct {
	state
	told  bool      // the server has the state
	since time.Time // of the first failure in a row; zero if there is none
	retry time.Time // when it may be asked again
}

func newStates() *states { return &states{all: make(map[uint64]*watched)} }

// set watches the interfaces of a configuration, and forgets others.
func (s *states) set(c *snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.all {
		if c.interfaces[id] == nil {
			delete(s.all, id)
		}
	}
	for id := range c.interfaces {
		if s.all[id] == nil {
			s.all[id] = &watched{state: state{Interface: id}}
		}
	}
}

// may reports whether an interface may be asked now.
func (s *states) may(id uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.all[id]
	if w == nil || w.retry.IsZero() {
		return true
	}
	if time.Now().Before(w.retry) {
		return false
	}
	w.retry = time.Now().Add(unreachableDelay) // one asks, the others wait for what it finds
	return true
}

// note takes down what asking an interface came to.
func (s *states) note(id uint64, failure error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.all[id]
	if w == nil {
		return
	}
	before := w.state
	now := time.Now()
	switch {
	case failure == nil:
		w.Available, w.Error, w.since, w.retry = 1, "", time.Time{}, time.Time{}
	case w.since.IsZero():
		w.since, w.retry = now, now.Add(unreachableDelay)
	case now.Sub(w.since) < unreachablePeriod:
		w.retry = now.Add(unreachableDelay)
	default:
		w.Available, w.Error, w.retry = 2, failure.Error(), now.Add(unavailableDelay)
	}
	if w.state != before {
		w.told = false
	}
}

// changed are the states that the server does not have.
func (s *states) changed() (all []state) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.all {
		if !w.told {
			all = append(all, w.state)
		}
	}
	return all
}

// delivered notes what the server has.
func (s *states) delivered(all []state) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, told := range all {
		if w := s.all[told.Interface]; w != nil && w.state == told {
			w.told = true
		}
	}
}
