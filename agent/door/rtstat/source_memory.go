package rtstat

import (
	"context"

	"github.com/natrix-os/natrix/sysinfo"
)

// meminfo is in KiB.
type meminfo struct {
	Memory memoryUse `json:"memory"`
	Swap   swapUse   `json:"swap"`
}

type memoryUse struct {
	Total      uint64 `json:"total"`
	Used       uint64 `json:"used"` // all that is not free, caches too
	Free       uint64 `json:"free"`
	Apps       uint64 `json:"apps"`
	Buffers    uint64 `json:"buffers"`
	Cached     uint64 `json:"cached"`
	SwapCached uint64 `json:"swapCached"`
}

type swapUse struct {
	Total uint64 `json:"total"`
	Used  uint64 `json:"used"`
	Free  uint64 `json:"free"`
}

func memory() source {
	return source{name: "meminfo", read: func(_ context.Context, now sysinfo.Sample) (any, error) {
		m := now.Memory
		caches := m.Free + m.Buffers + m.Cached + m.SwapCached
		return meminfo{
			memoryUse{kib(m.Total), kib(m.Total - m.Free), kib(m.Free), kib(m.Total - min(caches, m.Total)), kib(m.Buffers), kib(m.Cached), kib(m.SwapCached)},
			swapUse{kib(m.SwapTotal), kib(m.SwapTotal - m.SwapFree), kib(m.SwapFree)},
		}, nil
	}}
}

func kib(bytes uint64) uint64 { return bytes >> 10 }
