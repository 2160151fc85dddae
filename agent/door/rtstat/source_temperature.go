package rtstat

import (
	"context"
	"time"

	"github.com/natrix-os/natrix/sysinfo"
)

// heat is how warm the machine is, and what its firmware does about it.
type heat struct {
	Sensors    map[string]float64 `json:"sensors"`              // °C
	Throttling string             `json:"throttling,omitempty"` // of a Raspberry Pi: conditions, or none
	MHz        uint64             `json:"mhz,omitempty"`        // of the first processor
}

func temperature(m sysinfo.Machine) source {
	return source{name: "temp", every: time.Second, read: func(_ context.Context, now sysinfo.Sample) (any, error) {
		h := heat{Sensors: make(map[string]float64), MHz: now.Frequency / 1e6}
		for _, t := range now.Temperatures {
			h.Sensors[t.Sensor] = t.Celsius
		}
		if throttling, err := m.Throttling(); err == nil { // most machines have no such thing
			h.Throttling = throttling.String()
		}
		return h, nil
	}}
}
