package rtstat

import (
	"context"
	"time"

	"github.com/natrix-os/natrix/sysinfo"
)

// diskUse is the room in the root file system, in bytes.
type diskUse struct {
	Total     uint64 `json:"total"`
	Used      uint64 `json:"used"`
	Available uint64 `json:"available"`
}

func disk() source {
	return source{name: "disk", every: time.Second, read: func(_ context.Context, now sysinfo.Sample) (any, error) {
		return diskUse{now.Root.Total, now.Root.Used, now.Root.Available}, nil
	}}
}
