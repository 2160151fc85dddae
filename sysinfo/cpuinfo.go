package sysinfo

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// CPU is what the processors are.
type CPU struct {
	Model string // "Intel(R) Core(TM) i5-6500 CPU @ 3.20GHz", "ARMv7 Processor rev 4 (v7l)"
	Cores int    // logical processors on line
	Clock uint64 // of the first one, at present, in Hz; 0 if not known
}

// CPU reads the processors' model and number.
func (m Machine) CPU() (CPU, error) {
	info, err := m.cpuinfo()
	c := CPU{Model: info.name(), Cores: info.processors, Clock: m.Frequency()}
	if c.Clock == 0 {
		c.Clock = info.clock
	}
	var gaps []error
	if err != nil {
		gaps = append(gaps, err)
	}
	if c.Cores == 0 {
		stat, _ := m.Stat()
		c.Cores = len(stat.Cores)
	}
	if c.Cores == 0 {
		gaps = append(gaps, errors.New("no processor in /proc/cpuinfo or /proc/stat"))
	}
	if err == nil && c.Model == "" {
		gaps = append(gaps, unreadable(m, "model name", "proc/cpuinfo"))
	}
	return c, errors.Join(gaps...)
}

// cpuinfo is /proc/cpuinfo, whose keys differ between architectures.
type cpuinfo struct {
	processors                         int
	model                              string
	clock                              uint64 // Hz; x86 only
	implementer, part, variant, patch  string // ARM: fields of the MIDR register
	serial, machine, hardware, olderID string // ARM: after the processors
}

func (m Machine) cpuinfo() (cpuinfo, error) {
	b, err := m.read("proc/cpuinfo")
	return parseCPUInfo(b), err
}

func parseCPUInfo(b []byte) cpuinfo {
	var c cpuinfo
	for l := range bytes.Lines(b) {
		k, v, ok := bytes.Cut(l, []byte(":"))
		if !ok {
			continue
		}
		key, value := string(bytes.TrimSpace(k)), clean(string(v))
		switch key {
		case "processor":
			if _, err := strconv.Atoi(value); err == nil {
				c.processors++
			}
		case "Processor": // ARM kernels before 3.8 say it once, for all
			c.olderID = value
		case "model name", "cpu model": // x86 and ARM; MIPS
			set(&c.model, value)
		case "cpu MHz":
			if mhz, ok := decimal(value); ok && c.clock == 0 {
				c.clock = uint64(mhz * 1e6)
			}
		case "CPU implementer":
			set(&c.implementer, value)
		case "CPU part":
			set(&c.part, value)
		case "CPU variant":
			set(&c.variant, value)
		case "CPU revision":
			set(&c.patch, value)
		case "Serial":
			// The original takes the second word of the line.
			value, _, _ = strings.Cut(value, " ")
			set(&c.serial, value)
		case "Model", "machine":
			set(&c.machine, value)
		case "Hardware":
			set(&c.hardware, value)
		}
	}
	return c
}

// set keeps the first value: processors are alike as far as a model goes.
func set(field *string, value string) {
	if *field == "" {
		*field = value
	}
}

// parts names the cores that ARM Ltd. (implementer 0x41) puts into boards;
// the numbers are those of arch/arm64/include/asm/cputype.h.
var parts = map[string]string{
	"0xb76": "ARM1176", "0xc05": "Cortex-A5", "0xc07": "Cortex-A7", "0xc08": "Cortex-A8", "0xc09": "Cortex-A9",
	"0xc0e": "Cortex-A17", "0xc0f": "Cortex-A15", "0xd03": "Cortex-A53", "0xd04": "Cortex-A35", "0xd05": "Cortex-A55",
	"0xd07": "Cortex-A57", "0xd08": "Cortex-A72", "0xd09": "Cortex-A73", "0xd0a": "Cortex-A75", "0xd0b": "Cortex-A76",
	"0xd0c": "Neoverse-N1", "0xd0d": "Cortex-A77", "0xd40": "Neoverse-V1", "0xd41": "Cortex-A78", "0xd49": "Neoverse-N2",
}

// name is the model in words. 64-bit ARM kernels give only numbers.
func (c cpuinfo) name() string {
	switch {
	case c.model != "":
		return c.model
	case c.olderID != "":
		return c.olderID
	case c.implementer == "0x41" && parts[c.part] != "":
		variant, err1 := strconv.ParseUint(c.variant, 0, 8)
		patch, err2 := strconv.ParseUint(c.patch, 0, 8)
		if err1 != nil || err2 != nil {
			return "ARM " + parts[c.part]
		}
		return fmt.Sprintf("ARM %s r%dp%d", parts[c.part], variant, patch)
	case c.implementer != "" && c.part != "":
		return "ARM implementer " + c.implementer + " part " + c.part
	}
	return c.hardware
}

// Frequency returns the present clock of the first processor in Hz as cpufreq
// tells it, 0 where there is no such thing, as in most virtual machines. Asking
// for each processor would wake those that sleep.
func (m Machine) Frequency() uint64 {
	if s, err := m.line("sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq"); err == nil {
		if khz, err := strconv.ParseUint(s, 10, 32); err == nil {
			return khz * 1000
		}
	}
	return 0
}
