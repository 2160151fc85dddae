package rtstat

import (
	"context"
	"time"

	"github.com/natrix-os/natrix/sysinfo"
)

// processCounts are by what they do; threads of the kernel that have nothing to
// do are in none.
type processCounts struct {
	All     int `json:"all"`
	Running int `json:"running"`
	Sleep   int `json:"sleep"`
	Stopped int `json:"stopped"`
	Zombie  int `json:"zombie"`
}

// processes counts while somebody looks: it is by far the dearest source. The
// process that counts is not counted as running, as ps is not by the original.
func (s *Server) processes() source {
	return source{name: "processes", every: time.Second, read: func(ctx context.Context, _ sysinfo.Sample) (any, error) {
		if !s.hub.watched() {
			return processCounts{}, nil
		}
		p, err := s.Sampler.Processes(ctx)
		c := processCounts{Running: max(0, p.Running-1), Sleep: p.Sleeping - p.Idle, Stopped: p.Stopped, Zombie: p.Zombie}
		c.All = c.Running + c.Sleep + c.Stopped + c.Zombie
		return c, err
	}}
}
