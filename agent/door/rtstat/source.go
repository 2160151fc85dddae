package rtstat

import (
	"context"
	"time"

	"github.com/natrix-os/natrix/sysinfo"
)

// source is a named part of every push, beside cpu_stat. It is asked by one
// goroutine at a time, and only while somebody looks, except that its last word
// goes into the history.
type source struct {
	name  string
	every time.Duration // how old its last word may be

	// read returns what is to be sent as JSON: nil for nothing. What could not
	// be read is left out of it, and named in the error.
	read func(context.Context, sysinfo.Sample) (any, error)
}

// sources are all there are, in the order in which the original has its own:
// a file each.
func (s *Server) sources() []source {
	return []source{
		memory(),
		s.processes(),
		uptime(s.Machine),
		s.net(),
		disk(),
		temperature(s.Machine),
		s.probes(),
		s.broker(),
	}
}
