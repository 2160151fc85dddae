package sysinfo

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

// seed adds the files of that name of every tree, whole and cut in half.
func seed(f *testing.F, name string) {
	for _, tree := range trees {
		b, err := os.ReadFile(filepath.Join("testdata", tree, name))
		if err == nil {
			f.Add(b)
			f.Add(b[:len(b)/2])
		}
	}
}

func FuzzStat(f *testing.F) {
	seed(f, "proc/stat")
	f.Add([]byte("cpu 18446744073709551615 -1 x\ncpu99999999999999999999 1\nbtime -1"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, _ := parseStat(b)
		for _, earlier := range []CPUTimes{{}, s.Total} {
			for _, c := range append(s.Cores, Core{CPUTimes: s.Total}) {
				u := c.Usage(earlier)
				for _, share := range []float64{u.Busy, u.User, u.System, u.IOWait, u.Steal} {
					if !(share >= 0 && share <= 1+1e-9) {
						t.Errorf("got share %v of %+v since %+v, want 0 to 1", share, c, earlier)
					}
				}
			}
		}
	})
}

func FuzzMeminfo(f *testing.F) {
	seed(f, "proc/meminfo")
	f.Add([]byte("MemTotal: 18446744073709551615 kB\nMemFree: 1 kB\nSwapFree: 9 kB"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m := parseMeminfo(b)
		if m.Used() > m.Total || m.SwapUsed() > m.SwapTotal {
			t.Errorf("got more used than there is: %+v", m)
		}
	})
}

func FuzzCPUInfo(f *testing.F) {
	seed(f, "proc/cpuinfo")
	f.Fuzz(func(t *testing.T, b []byte) {
		c := parseCPUInfo(b)
		for _, s := range []string{c.name(), c.serial, c.machine, genuine(c.serial)} {
			if !utf8.ValidString(s) || strings.ContainsAny(s, "\x00\n") {
				t.Errorf("got %q, want clean text", s)
			}
		}
	})
}

func FuzzRelease(f *testing.F) {
	seed(f, "etc/os-release")
	f.Add([]byte("NAME='\nVERSION_ID=.\nID=\"\\\"\nVERSION=9 (\nID_LIKE= x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s System
		s.release(b)
		s.Version = strings.ToLower(s.Version)
		if len(s.Major())+len(s.Minor()) > len(s.Version)+1 {
			t.Errorf("got %q and %q of version %q", s.Major(), s.Minor(), s.Version)
		}
	})
}

func FuzzResolver(f *testing.F) {
	f.Add([]byte("nameserver 192.0.2.53\nsearch a b\nnameserver fe80::1%eth0\ndomain\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, a := range parseResolver(b).Servers {
			if !a.IsValid() {
				t.Errorf("got an invalid name server of %q", b)
			}
		}
	})
}

func FuzzOneLiners(f *testing.F) {
	f.Add("0.08 0.03 0.01 1/112 1543")
	f.Add("1000.53 3958.72")
	f.Add("NaN Inf -1 /")
	f.Add("12 (a) b) S 1")
	f.Add("0x02 0x01")
	f.Fuzz(func(t *testing.T, s string) {
		l, ok := parseLoad(s)
		for _, avg := range []float64{l.One, l.Five, l.Fifteen} {
			if ok && (math.IsNaN(avg) || math.IsInf(avg, 0) || avg < 0) {
				t.Errorf("got load %v of %q", avg, s)
			}
		}
		parseState([]byte(s))
		if w := parseWear(s, s); w.LifeUsed < 0 || w.LifeUsed > 110 {
			t.Errorf("got wear %+v of %q", w, s)
		}
	})
}

// FuzzTree puts the same nonsense into every file that is read.
func FuzzTree(f *testing.F) {
	f.Add([]byte(""))
	f.Add([]byte("\x00\xff: \n=\n"))
	f.Add([]byte("processor: 1\ncpu 1 1 1 1\nMemTotal: 1 kB\n"))
	root := f.TempDir()
	files := []string{"proc/stat", "proc/cpuinfo", "proc/meminfo", "proc/loadavg", "proc/uptime", "proc/1/stat",
		"proc/sys/kernel/ostype", "proc/sys/kernel/hostname", "etc/os-release",
		"sys/class/dmi/id/product_serial", "sys/class/dmi/id/product_name", "sys/block/mmcblk0/size", "sys/block/mmcblk0/device/life_time",
		"sys/class/thermal/thermal_zone0/temp", "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq"}
	for _, name := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, name := range files {
			if err := os.WriteFile(filepath.Join(root, name), b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		e := readEverything(Machine{Root: root})
		if len(e.Identity.Serial) > maxSerial {
			t.Errorf("got a serial number of %d bytes, want %d at most", len(e.Identity.Serial), maxSerial)
		}
	})
}
