package rtstat

import (
	"context"
	"time"

	"github.com/natrix-os/natrix/sysinfo"
)

// State is how the terminal stands with its server.
type State struct {
	Broker  string `json:"broker"`         // "connected", "away" or "none"
	Waiting int    `json:"spool_waiting"`  // results that the server is still to get
	Bytes   int    `json:"spool_bytes"`    // of all results that are kept
	Dropped int    `json:"spool_dropped"`  // results given up
	Stuck   string `json:"stuck"`          // what makes no progress; "" if all is well
	Boot    string `json:"boot,omitempty"` // why the machine started last; "" if nobody knows
}

// terminal is that, and what the machine and this door add.
type terminal struct {
	State
	Version string      `json:"version"`
	Clients int         `json:"clients"` // of this door
	Clock   *clockState `json:"clock,omitempty"`
}

// clockState says how far the wall clock can be trusted.
type clockState struct {
	Synchronised bool    `json:"synchronised"`
	Offset       float64 `json:"offset"`    // s, still to be corrected
	MaxError     float64 `json:"max_error"` // s
}

func (s *Server) broker() source {
	return source{name: "broker", every: time.Second, read: func(context.Context, sysinfo.Sample) (any, error) {
		t := terminal{State: State{Broker: "none"}, Version: s.Version, Clients: s.gate.count()}
		if s.State != nil {
			t.State = s.State()
		}
		now, err := s.Machine.Clock()
		if err == nil {
			t.Clock = &clockState{now.Synchronised, now.Offset.Seconds(), now.MaxError.Seconds()}
		}
		return t, err
	}}
}
