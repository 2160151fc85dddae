package sysinfo

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// trees are the machines under testdata; see README.md there.
var trees = []string{"x86", "q35", "noname", "rpi2", "rpi2-qemu", "rpi3", "rpi3-qemu", "rpi3-arm64"}

// everything is all that a tree can tell, gaps included, for the golden files.
type everything struct {
	Identity     Identity
	CPU          CPU
	System       System
	Stat         Stat
	Uptime       time.Duration
	Load         Load
	Memory       Memory
	Processes    Processes
	Disks        []Disk
	Temperatures []Temperature
	Throttling   string
	Frequency    uint64
	Gaps         []string
}

func readEverything(m Machine) everything {
	var e everything
	var err [10]error
	e.Identity, err[0] = m.Identity()
	e.CPU, err[1] = m.CPU()
	e.System, err[2] = m.System()
	e.Stat, err[3] = m.Stat()
	e.Uptime, err[4] = m.Uptime()
	e.Load, err[5] = m.Load()
	e.Memory, err[6] = m.Memory()
	e.Processes, err[7] = m.Processes()
	e.Disks, err[8] = m.Disks()
	e.Temperatures, err[9] = m.Temperatures()
	t, throttlingErr := m.Throttling()
	e.Throttling = t.String()
	e.Frequency = m.Frequency()
	if e.System.Bits != 0 {
		e.System.Bits = 64 // of this test, not of the tree
	}
	e.Stat.Boot = e.Stat.Boot.UTC()
	if all := errors.Join(append(err[:], throttlingErr)...); all != nil {
		e.Gaps = strings.Split(all.Error(), "\n")
	}
	return e
}

func TestTrees(t *testing.T) {
	for _, tree := range trees {
		t.Run(tree, func(t *testing.T) {
			got, err := json.MarshalIndent(readEverything(Machine{Root: filepath.Join("testdata", tree)}), "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, '\n')
			golden := filepath.Join("testdata", tree+".golden")
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != string(want) {
				t.Errorf("got %s\nwant %s", got, want)
			}
		})
	}
}

func TestIdentity(t *testing.T) {
	for _, tt := range []struct {
		tree string
		want Identity
	}{
		{"rpi3", Identity{Serial: "00000000abf94174", Source: CPUInfo, Product: "Raspberry Pi 3 Model B Rev 1.2", Vendor: "raspberrypi", Board: "Raspberry Pi 3 Model B Rev 1.2"}},
		{"rpi3-arm64", Identity{Serial: "00000000abf94174", Source: FirmwareSN, Product: "Raspberry Pi 3 Model B Rev 1.2", Vendor: "raspberrypi", Board: "Raspberry Pi 3 Model B Rev 1.2"}},
		{"rpi3-qemu", Identity{Product: "Raspberry Pi 3 Model B", Vendor: "raspberrypi", Board: "Raspberry Pi 3 Model B"}},
		{"q35", Identity{Product: "Standard PC (Q35 + ICH9, 2009)", Vendor: "QEMU", Board: "Standard PC (Q35 + ICH9, 2009)"}},
		{"noname", Identity{Product: "J3455-ITX", Vendor: "ASRock", Board: "J3455-ITX"}},
	} {
		got, _ := Machine{Root: filepath.Join("testdata", tt.tree)}.Identity()
		if got != tt.want {
			t.Errorf("%s: got %+v, want %+v", tt.tree, got, tt.want)
		}
	}
}

// The sources of a serial number, best first: each is used once those before
// it hold none that means anything.
func TestSerialOfDMI(t *testing.T) {
	const uuid = "4c4c4544-0042-3510-8054-b4c04f4e3332"
	for _, tt := range []struct {
		serial, uuid, want string
		source             Source
	}{
		{"4B5N3R2\n", uuid, "4B5N3R2", FirmwareSN},
		{"To Be Filled By O.E.M.\n", uuid, uuid, ProductUUID},
		{"\n", uuid + "\n", uuid, ProductUUID},
		{"Default string\n", "03000200-0400-0500-0006-000700080009\n", "", ""},
		{strings.Repeat("9ab", 30), uuid, strings.Repeat("9ab", 30)[:maxSerial], FirmwareSN},
	} {
		root := t.TempDir()
		dir := filepath.Join(root, "sys/class/dmi/id")
		if err := errors.Join(os.MkdirAll(dir, 0o755),
			os.WriteFile(filepath.Join(dir, "product_serial"), []byte(tt.serial), 0o644),
			os.WriteFile(filepath.Join(dir, "product_uuid"), []byte(tt.uuid), 0o644)); err != nil {
			t.Fatal(err)
		}
		if got, _ := (Machine{Root: root}).Identity(); got.Serial != tt.want || got.Source != tt.source {
			t.Errorf("serial %q, UUID %q: got %q from %q, want %q from %q", tt.serial, tt.uuid, got.Serial, got.Source, tt.want, tt.source)
		}
	}
}

func TestPlaceholder(t *testing.T) {
	for _, v := range []string{
		"", "0", "00000000", "0000000000000000", "00000000-0000-0000-0000-000000000000", "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
		"To Be Filled By O.E.M.", "to be filled by oem", "Default string", "None", "Not Specified", "N/A", "System Serial Number",
		"123456789", "0123456789", "1234567890", "xxxxxxxx", "........", "-", "03000200-0400-0500-0006-000700080009", "System_Product_Name",
	} {
		if !placeholder(v) {
			t.Errorf("%q passed for a value, want it skipped", v)
		}
	}
	for _, v := range []string{"00000000abf94174", "VMware-56 4d 3c", "PF1ABCDE", "4c4c4544-0042-3510-8054-b4c04f4e3332", "12345", "Nonesuch"} {
		if want := v == "12345"; placeholder(v) != want {
			t.Errorf("placeholder(%q) = %v, want %v", v, !want, want)
		}
	}
}

func TestCleanTakesOffWhatFirmwareLeaves(t *testing.T) {
	for in, want := range map[string]string{
		"Raspberry Pi 3 Model B Rev 1.2\x00": "Raspberry Pi 3 Model B Rev 1.2",
		"  x\x00\x00\n":                      "x",
		"a\xffb\x7f":                         "ab",
	} {
		if got := clean(in); got != want {
			t.Errorf("clean(%q) = %q, want %q", in, got, want)
		}
	}
}

// The live machine must tell all that every Linux tells.
func TestThisMachine(t *testing.T) {
	var m Machine
	stat, err := m.Stat()
	if err != nil || len(stat.Cores) == 0 || stat.Boot.After(time.Now()) {
		t.Errorf("got %+v, %v, want cores and a boot time in the past", stat, err)
	}
	mem, err := m.Memory()
	if err != nil || mem.Total < 1<<20 || mem.Used() > mem.Total {
		t.Errorf("got %+v, %v, want a plausible memory", mem, err)
	}
	space, err := m.Space("/")
	if err != nil || space.Used > space.Total || space.Share() < 0 || space.Share() > 1 {
		t.Errorf("got %+v, %v, want a plausible root file system", space, err)
	}
	procs, err := m.Processes()
	if err != nil || procs.Running+procs.Sleeping+procs.Stopped+procs.Zombie != procs.Total {
		t.Errorf("got %+v, %v, want states that add up", procs, err)
	}
	sys, err := m.System()
	if host, _ := os.Hostname(); sys.Type != "Linux" || sys.Hostname != host || sys.Arch == "" {
		t.Errorf("got %+v, %v, want Linux on %s", sys, err, host)
	}
	if up, err := m.Uptime(); err != nil || up <= 0 {
		t.Errorf("got uptime %v, %v", up, err)
	}
}

// A directory without anything in it has gaps everywhere, each with its name.
func TestEmptyTreeNamesItsGaps(t *testing.T) {
	e := readEverything(Machine{Root: t.TempDir()})
	all := strings.Join(e.Gaps, "\n")
	for _, want := range []string{"serial number", "product name", "proc/cpuinfo", "ostype", "hostname", "os-release", "proc/stat",
		"proc/uptime", "proc/loadavg", "proc/meminfo", "no such file", "sys/block", "temperature", "throttling"} {
		if !strings.Contains(all, want) {
			t.Errorf("gaps do not name %q: %s", want, all)
		}
	}
	e.Gaps, e.Throttling, e.System.Bits = nil, "", 0
	if want := (everything{Stat: Stat{Boot: time.Time{}.UTC()}}); !reflect.DeepEqual(e, want) {
		t.Errorf("got %+v of nothing, want nothing", e)
	}
}
