package sysinfo

import "bytes"

// Memory is /proc/meminfo, in bytes.
type Memory struct {
	Total, Free, Available  uint64
	Buffers, Cached         uint64
	Reclaimable, Shared     uint64 // SReclaimable, Shmem
	SwapTotal, SwapFree     uint64
	SwapCached              uint64
	Dirty, Writeback, Slab  uint64
	KernelStack, PageTables uint64
}

// Used is the memory that is neither free nor only a cache, as free(1)
// counted it until procps 4.
func (m Memory) Used() uint64 {
	unused := m.Free + m.Buffers + m.Cached + m.Reclaimable
	if unused > m.Total {
		unused = min(m.Free, m.Total)
	}
	return m.Total - unused
}

// SwapUsed is the swap space in use.
func (m Memory) SwapUsed() uint64 {
	return m.SwapTotal - min(m.SwapFree, m.SwapTotal)
}

// Memory reads /proc/meminfo.
func (m Machine) Memory() (Memory, error) {
	b, err := m.read("proc/meminfo")
	if err != nil {
		return Memory{}, err
	}
	mem := parseMeminfo(b)
	if mem.Total == 0 {
		return mem, unreadable(m, "MemTotal", "proc/meminfo")
	}
	return mem, nil
}

// maxKiB keeps sums in bytes from overflowing; it is 16 PiB.
const maxKiB = 1 << 44

func parseMeminfo(b []byte) Memory {
	var m Memory
	fields := map[string]*uint64{
		"MemTotal": &m.Total, "MemFree": &m.Free, "MemAvailable": &m.Available,
		"Buffers": &m.Buffers, "Cached": &m.Cached, "SReclaimable": &m.Reclaimable, "Shmem": &m.Shared,
		"SwapTotal": &m.SwapTotal, "SwapFree": &m.SwapFree, "SwapCached": &m.SwapCached,
		"Dirty": &m.Dirty, "Writeback": &m.Writeback, "Slab": &m.Slab,
		"KernelStack": &m.KernelStack, "PageTables": &m.PageTables,
	}
	for l := range bytes.Lines(b) {
		key, rest, _ := bytes.Cut(l, []byte(":"))
		if field := fields[string(key)]; field != nil {
			kib, _, _ := bytes.Cut(bytes.TrimSpace(rest), []byte(" "))
			*field = min(number(kib), maxKiB) << 10
		}
	}
	return m
}
