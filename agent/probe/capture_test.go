package probe

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/natrix-os/natrix/agent/capture"
	"github.com/natrix-os/natrix/agent/command"
	"github.com/natrix-os/natrix/sysinfo/netif/nettest"
)

// tcpdump is the lines that it prints of a file.
func tcpdump(t *testing.T, file string, options ...string) []string {
	t.Helper()
	path, err := exec.LookPath("tcpdump")
	if err != nil {
		if strings.Contains(os.Getenv(nettest.Must), "tcpdump") {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	out, err := exec.CommandContext(t.Context(), path, append(options, "-nnr", file)...).Output()
	if err != nil {
		t.Fatalf("tcpdump %s: %v", file, err)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

// h1 ── r1 ── h2, and somebody else who pings h2 all the time.
func TestNetnsCaptureOfPackets(t *testing.T) {
	t.Parallel()
	hosts := nettest.Chain(t, "h1", "r1", "h2")
	h1, h2 := hosts[0], hosts[2]
	other := New()
	defer other.Close()
	ctx, stop := context.WithCancel(t.Context())
	var noise sync.WaitGroup
	defer noise.Wait()
	defer stop()
	noise.Go(func() {
		h1.Do(func() {
			params := DefaultPing()
			params.Count, params.Interval = 1000, 5*time.Millisecond
			other.Ping(ctx, h2.Addr4.String(), params)
		})
	})

	for _, test := range []struct {
		name string
		run  func(p *Prober, file, dst string) (*Recording, error)
		want map[string]int // lines that hold it
		all  int
	}{
		{"ping", func(p *Prober, file, dst string) (*Recording, error) {
			params := DefaultPing()
			params.Interval, params.Capture = 10*time.Millisecond, file
			r, err := p.Ping(t.Context(), dst, params)
			return r.Capture, err
		}, map[string]int{"echo request": 3, "echo reply": 3}, 6},
		{"ping in fragments", func(p *Prober, file, dst string) (*Recording, error) {
			params := DefaultPing()
			params.Count, params.Size, params.Capture = 1, 2000, file
			r, err := p.Ping(t.Context(), dst, params)
			return r.Capture, err
		}, map[string]int{"echo request": 1, "echo reply": 1}, 4},
		{"traceroute", func(p *Prober, file, dst string) (*Recording, error) {
			params := DefaultTraceroute()
			params.Protocol, params.Queries, params.Numeric, params.MaxHops, params.Capture = "udp", 1, true, 2, file
			r, err := p.Traceroute(t.Context(), dst, params)
			return r.Capture, err
		}, map[string]int{"exceeded": 1, "ICMP": 2}, 4},
		{"mtr", func(p *Prober, file, dst string) (*Recording, error) {
			params := DefaultMTR()
			params.Count, params.Numeric, params.MaxHops, params.Capture = 1, true, 2, file
			r, err := p.MTR(t.Context(), dst, params)
			return r.Capture, err
		}, map[string]int{"echo request": 2, "exceeded": 1, "echo reply": 1}, 4},
	} {
		for _, dst := range addrs(h2) {
			file := filepath.Join(t.TempDir(), "packets.pcapng")
			inside(t, h1, func(p *Prober) {
				recording, err := test.run(p, file, dst.String())
				if err != nil {
					t.Fatalf("%s: %v", test.name, err)
				}
				lines := tcpdump(t, file)
				if len(lines) != test.all || recording.Packets != test.all || recording.Dropped != 0 || recording.Left != 0 {
					t.Errorf("%s of %v: got %+v and %d packets, want %d:\n%s", test.name, dst, recording, len(lines), test.all, strings.Join(lines, "\n"))
				}
				for text, want := range test.want {
					if got := strings.Count(strings.Join(lines, "\n"), text); got != want {
						t.Errorf("%s of %v: got %q %d times, want %d:\n%s", test.name, dst, text, got, want, strings.Join(lines, "\n"))
					}
				}
			})
		}
	}
}

// Names and requests on the loopback, where others talk to the same servers.
func TestCaptureOfSockets(t *testing.T) {
	nettest.Need(t) // the privilege
	names, _ := nameServer(t, loopback("127.0.0.1"))
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	_, port, _ := net.SplitHostPort(web.Listener.Addr().String())
	for _, test := range []struct {
		name, destination string
		params            map[string]string
		want              []string
	}{
		{"dns", "www.example.com", map[string]string{"dns_server": names}, []string{"UDP", "www.example.com"}},
		{"dns", "www.example.com", map[string]string{"dns_server": "tcp://" + names}, []string{"Flags [S]", "www.example.com", "Flags [F."}},
		{"http", "http://www.example.com:" + port, map[string]string{"dns_servers": names}, []string{"UDP", "Flags [S]", "GET / HTTP/1.1", "HTTP/1.1 404 Not Found"}},
		{"performance", web.URL, nil, []string{"Flags [S]", "GET / HTTP/1.1"}},
		{"http", "http://127.0.0.1:1", nil, []string{"Flags [S]", "Flags [R"}},
	} {
		file := filepath.Join(t.TempDir(), "packets.pcapng")
		p := New()
		defer p.Close()
		d, found := command.NewSet(p.Commands()...).Lookup(test.name)
		if !found {
			t.Fatalf("no command %s", test.name)
		}
		run := d.Prepare()
		for name, value := range test.params {
			if err := run.Flags.Set(map[string]string{"dns_server": "server", "dns_servers": "dns-servers"}[name], value); err != nil {
				t.Fatal(err)
			}
		}
		if err := run.Flags.Set("capture-packets", file); err != nil {
			t.Fatal(err)
		}
		result := run.Execute(t.Context(), command.Command{Name: test.name, Destination: test.destination, Received: time.Now()})
		lines := strings.Join(tcpdump(t, file, "-A"), "\n")
		for _, want := range test.want {
			if !strings.Contains(lines, want) {
				t.Errorf("%s %s (%v): missing %q in\n%s", test.name, test.destination, result.Err, want, lines)
			}
		}
		if result.Err == nil && !strings.Contains(string(command.Encode(result)), `"capture":{"file":"`+file) {
			t.Errorf("the result does not tell of the file: %s", command.Encode(result))
		}
		if result.Err != nil && !strings.Contains(result.Err.Error(), "packets captured in "+file) {
			t.Errorf("the error does not tell of the file: %v", result.Err)
		}
	}
}

func TestCaptureForAServer(t *testing.T) {
	nettest.Need(t)
	p := New()
	defer p.Close()
	p.Captures = t.TempDir()
	r, body := run(t, p, "ping", "127.0.0.1", map[string]string{"count": "1", "capture_packets": "true"})
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	file := r.Data.(*PingResult).Capture.File
	if lines := tcpdump(t, file); len(lines) != 2 || filepath.Dir(file) != p.Captures || !strings.Contains(body, `"capture":{"file":"`+file+`","packets":2,`) {
		t.Errorf("got %s, and in %s\n%s", body, file, strings.Join(lines, "\n"))
	}
}

func TestRemoteCaptures(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.Symlink(outside, filepath.Join(dir, "link.pcapng")); err != nil {
		t.Fatal(err)
	}
	ctx := command.WithRemote(t.Context())
	for _, test := range []struct {
		dir, name string
		want      error
	}{
		{"", "true", command.ErrPermission},
		{"", outside, command.ErrPermission},
		{dir, outside, command.ErrParameter},
		{dir, "../outside", command.ErrParameter},
		{dir, ".hidden", command.ErrParameter},
		{dir, "a\x00b", command.ErrParameter},
		{dir, strings.Repeat("a", 200), command.ErrParameter},
		{dir, "true", nil},
		{dir, "monday-1", nil},
		{dir, "monday-1.pcapng", nil},
	} {
		p := &Prober{Captures: test.dir}
		file, err := p.captureFile(ctx, test.name)
		if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
			t.Errorf("%q in %q: got %v, want %v", test.name, test.dir, err, test.want)
		}
		if err == nil && (filepath.Dir(file.Name()) != dir || !strings.HasSuffix(file.Name(), captureEnding)) {
			t.Errorf("%q in %q: got the file %s", test.name, test.dir, file.Name())
		}
		file.Close()
	}
	if file, err := (&Prober{Captures: dir}).captureFile(ctx, "link"); err == nil {
		t.Errorf("a link leads to %s", file.Name())
	}
	if _, err := os.Lstat(outside); err == nil {
		t.Errorf("%s has been written", outside)
	}
}

func TestRemoteCapturesAreBounded(t *testing.T) {
	dir := t.TempDir()
	for i, name := range []string{"1.pcapng", "2.pcapng", "3.pcapng", "4.pcapng", "5.pcapng", "notes.txt"} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, capture.DefaultLimit), os.Chtimes(path, time.Time{}, time.Unix(int64(1000*i), 0))); err != nil {
			t.Fatal(err)
		}
	}
	file, err := (&Prober{Captures: dir}).captureFile(command.WithRemote(t.Context()), "6")
	if err != nil {
		t.Fatal(err)
	}
	file.Close()
	entries, err := os.ReadDir(dir)
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if want := "3.pcapng 4.pcapng 5.pcapng 6.pcapng notes.txt"; err != nil || strings.Join(got, " ") != want {
		t.Errorf("got %v, %v, want %s", got, err, want)
	}
}

func TestCaptureOverAWireIsRefused(t *testing.T) {
	set := command.NewSet(New().Commands()...)
	for _, name := range []string{"ping", "traceroute", "mtr", "dns", "http", "performance"} {
		file := filepath.Join(t.TempDir(), "packets.pcapng")
		execute := func(value string) error {
			params := map[string]string{"capture_packets": value}
			return set.Execute(t.Context(), command.Command{Name: name, Destination: "::bad::", Params: params, Received: time.Now()}).Err
		}
		err := execute(file)
		if _, missing := os.Stat(file); !errors.Is(err, command.ErrPermission) || missing == nil {
			t.Errorf("%s: got %v, want %v", name, err, command.ErrPermission)
		}
		if err := execute("false"); errors.Is(err, command.ErrPermission) {
			t.Errorf("%s: false is not a file: %v", name, err)
		}
	}
}
