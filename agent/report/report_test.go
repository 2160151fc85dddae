package report

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/natrix-os/natrix/agent/location"
	"github.com/natrix-os/natrix/agent/report/server"
	"github.com/natrix-os/natrix/sysinfo"
	"github.com/natrix-os/natrix/sysinfo/netif"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestReportsOfThisMachinePassTheServersRules(t *testing.T) {
	r := New(Config{Version: "0.1.3", Serial: "test"})
	basic, err := r.Basic(t.Context())
	if err != nil {
		t.Logf("gaps: %v", err)
	}
	pass(t, server.Basic, basic)
	advance, err := r.Advance(t.Context())
	if err != nil {
		t.Logf("gaps: %v", err)
	}
	pass(t, server.Advance, advance)
}

func pass(t *testing.T, judge func([]byte) error, report any) {
	t.Helper()
	body, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	if err := judge(body); err != nil {
		t.Errorf("%v\nin %s", err, body)
	}
}

// A machine that tells nothing at all still makes reports that a server takes.
func TestReportsOfNothingPassTheServersRules(t *testing.T) {
	r := New(Config{Machine: sysinfo.Machine{Root: t.TempDir()}, Version: strings.Repeat("9", 99), Serial: strings.Repeat("ü", 99)})
	advance, err := r.Advance(t.Context())
	if err == nil {
		t.Error("got no error, want the gaps named")
	}
	pass(t, server.Advance, advance)
	pass(t, server.Basic, advance.Basic)
}

func TestReportsEndWithTheirContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := New(Config{}).Basic(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's error", err)
	}
}

// pi is a report with a bit of everything, of the Raspberry Pi in sysinfo's testdata.
func pi(t *testing.T) Advance {
	t.Helper()
	mac := func(s string) net.HardwareAddr { m, _ := net.ParseMAC(s); return m }
	a := netip.MustParseAddr
	m := sysinfo.Machine{Root: filepath.Join("..", "..", "sysinfo", "testdata", "rpi3")}
	report := Advance{Basic: Basic{
		Time:     time.UnixMicro(1557990000_123456),
		Version:  "0.1.3",
		Serial:   "00000000abf94174",
		Hostname: "pi-b827ebf94174",
		Networks: []Network{{
			Link: netif.Link{Name: "eth0", Index: 2, MAC: mac("b8:27:eb:f9:41:74"), Kind: netif.Wired, Up: true, Carrier: true, SpeedMbit: 100, Duplex: "full",
				Addrs:  []netip.Prefix{netip.MustParsePrefix("192.168.31.20/24"), netip.MustParsePrefix("2001:db8::20/64")},
				Leases: netif.Leases{a("192.168.31.20"): 86000 * time.Second}},
			Local:   netip.MustParsePrefix("192.168.31.20/24"),
			Default: true, Gateway: a("192.168.31.1"), Public: a("1.2.3.4"),
			LocalLocation:  location.Of(a("192.168.31.20")),
			PublicLocation: location.Location{Country: "中国", Region: "0", Province: "北京", City: "北京市", ISP: "电信"},
			Intranet:       true, Internet: true,
		}, {
			Link: netif.Link{Name: "wlan0", Index: 3, MAC: mac("b8:27:eb:ac:14:21"), Kind: netif.Wireless, Up: true, Carrier: true, SignalDBm: -53},
		}},
		Sample: sysinfo.Sample{Usage: sysinfo.Usage{Busy: .0351}, Over: time.Minute, Frequency: 600e6,
			Root: sysinfo.Space{Total: 16e9, Used: 3e9, Available: 12.306e9}},
	}}
	s := &report.Sample
	report.Resolver.Servers = []netip.Addr{a("192.168.31.1"), a("2001:db8::53")}
	var err [9]error
	report.System, err[0] = m.System()
	report.System.Arch, report.System.Bits = "armv7l", 32
	report.Identity, err[1] = m.Identity()
	report.CPU, err[2] = m.CPU()
	report.Disks, err[3] = m.Disks()
	report.Throttling, err[4] = m.Throttling()
	s.Stat, err[5] = m.Stat()
	s.Memory, err[6] = m.Memory()
	s.Load, err[7] = m.Load()
	s.Uptime, err[8] = m.Uptime()
	s.Temperatures, _ = m.Temperatures()
	if err := errors.Join(err[1:]...); err != nil { // err[0] is that of the arch, which old kernels do not show
		t.Fatal(err)
	}
	return report
}

func TestGolden(t *testing.T) {
	report := pi(t)
	golden(t, "basic", report.Basic, report.Basic.WriteText)
	golden(t, "advance", report, report.WriteText)
	for _, name := range []string{"system", "hardware", "network"} {
		part := Part{name, report}
		golden(t, name, part, part.WriteText)
	}
}

// Of an unchanged machine a check of the system or its links is the same
// each time but for the heartbeat: servers write to their database otherwise.
func TestChecksAreByteStable(t *testing.T) {
	r := New(Config{Version: "0.1.3"})
	for _, what := range []string{"system", "network"} {
		var want []byte
		for range 5 {
			d, err := r.Check(t.Context(), what)
			if err != nil {
				t.Logf("gaps: %v", err)
			}
			body, err := json.Marshal(d)
			if err != nil {
				t.Fatal(err)
			}
			got, _, _ := bytes.Cut(body, []byte(`"heartbeat"`))
			if want == nil {
				want = got
			}
			if !bytes.Equal(got, want) {
				t.Errorf("got %s\nafter %s", got, want)
			}
		}
	}
}

func TestChecks(t *testing.T) {
	r := New(Config{Version: "0.1.3"})
	for _, what := range Checks() {
		d, err := r.Check(t.Context(), what)
		if err != nil {
			t.Logf("%s has gaps: %v", what, err)
		}
		var page bytes.Buffer
		d.WriteText(&page)
		body, err := json.Marshal(d)
		if err != nil || page.Len() == 0 || !bytes.Contains(body, []byte(`"heartbeat":`)) {
			t.Errorf("%s: got %s, %v and a page of %d bytes", what, body, err, page.Len())
		}
	}
	if d, err := r.Check(t.Context(), "software"); err == nil {
		t.Errorf("got %v of software, want an error", d)
	}
}

// golden compares a report in both its forms with the files of that name.
func golden(t *testing.T, name string, report json.Marshaler, writeText func(io.Writer)) {
	t.Helper()
	body, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	var page bytes.Buffer
	writeText(&page)
	for ext, got := range map[string][]byte{".json": append(body, '\n'), ".txt": page.Bytes()} {
		file := filepath.Join("testdata", name+ext)
		if *update {
			if err := os.WriteFile(file, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if want, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: got %s\nwant %s\n%v", file, got, want, err)
		}
	}
}

// The published reports have the same keys as ours, in the same places.
func TestReportsHaveTheKeysOfTheOriginal(t *testing.T) {
	report := pi(t)
	for file, report := range map[string]json.Marshaler{"report_basic.json": report.Basic, "report_advance.json": report} {
		original, err := os.ReadFile(filepath.Join("server", "testdata", file))
		if err != nil {
			t.Fatal(err)
		}
		ours, err := json.Marshal(report)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := keys(t, ours), keys(t, original); got != want {
			t.Errorf("%s: got keys %s\nwant %s", file, got, want)
		}
	}
}

// keys lists the paths of all values in a document.
func keys(t *testing.T, document []byte) string {
	t.Helper()
	var all []string
	var walk func(path string, v any)
	walk = func(path string, v any) {
		m, ok := v.(map[string]any)
		if !ok {
			all = append(all, path)
		}
		for _, key := range slices.Sorted(maps.Keys(m)) {
			walk(path+"."+key, m[key])
		}
	}
	var v any
	if err := json.Unmarshal(document, &v); err != nil {
		t.Fatal(err)
	}
	walk("", v)
	return strings.Join(all, " ")
}

func TestFirstMACPrefersHardware(t *testing.T) {
	a, b, c := net.HardwareAddr{2, 0, 0, 0, 0, 1}, net.HardwareAddr{2, 0, 0, 0, 0, 2}, net.HardwareAddr{2, 0, 0, 0, 0, 3}
	for _, tt := range []struct {
		links []netif.Link
		want  string
	}{
		{[]netif.Link{{MAC: a, PermanentMAC: a, Driver: "bridge"}, {MAC: b, PermanentMAC: c, Driver: "device"}}, "020000000003"},
		{[]netif.Link{{Driver: "device"}, {MAC: a, Driver: "veth"}, {MAC: b, Driver: "device"}}, "020000000001"},
		{nil, ""},
	} {
		if got := firstMAC(tt.links); got != tt.want {
			t.Errorf("got %q of %+v, want %q", got, tt.links, tt.want)
		}
	}
}

// The bar for a full sample of machine and links is a millisecond of
// processor time, which is not the time that it takes.
func BenchmarkFullSample(b *testing.B) {
	sampler := sysinfo.NewSampler(sysinfo.Machine{}, 0)
	if _, err := sampler.Sample(b.Context()); err != nil { // the first takes a second
		b.Fatal(err)
	}
	before := cpuTime(b)
	for b.Loop() {
		if _, err := sampler.Sample(b.Context()); err != nil {
			b.Fatal(err)
		}
		if _, err := netif.Links(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
}

func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
