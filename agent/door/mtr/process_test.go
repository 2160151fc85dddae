package mtr

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/natrix-os/natrix/agent/packet"
	"github.com/natrix-os/natrix/sysinfo/netif/nettest"
	"golang.org/x/sync/errgroup"
)

// TestMain makes the test program an mtr-packet when it is called by that name.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "mtr-packet" {
		serve := serveProcess
		if kind := os.Getenv(floorEnv); kind != "" {
			serve = func() error { return serveFloor(kind == floorStamps) }
		}
		if err := serve(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// What a test program called mtr-packet is told: the version to claim, and
// whether to offer SCTP that the kernel does not have.
const (
	versionEnv = "NATRIX_TEST_MTR_VERSION"
	sctpEnv    = "NATRIX_TEST_MTR_SCTP"
)

func serveProcess() error {
	parent := os.Getppid()
	version := os.Getenv(versionEnv)
	if version == "" {
		version = VersionFor(parent)
	}
	e, err := packet.Open(packet.Options{InFlight: InFlight})
	if err != nil {
		return err
	}
	defer e.Close()
	if err := DropPrivileges(); err != nil && !errors.Is(err, syscall.ENOTSUP) { // with cgo
		return err
	}
	return Serve(context.Background(), Config{Version: version, Parent: parent, RawSCTP: os.Getenv(sctpEnv) != ""}, e, os.Stdin, os.Stdout)
}

// implementation is an mtr-packet to run.
type implementation struct {
	name string
	path string
	env  []string
}

var debian = implementation{name: "debian", path: "/usr/bin/mtr-packet"}

func natrix(t testing.TB, version string) implementation {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return implementation{"natrix-" + version, path, []string{versionEnv + "=" + version}}
}

// needDebian skips the test, or fails it if it must run, on machines without
// mtr-tiny 0.95.
func needDebian(t testing.TB) {
	t.Helper()
	if _, err := os.Stat(debian.path); err == nil {
		return
	}
	if slices.Contains(strings.Split(os.Getenv(nettest.Must), ","), "mtr") {
		t.Fatalf("%s is required by %s", debian.path, nettest.Must)
	}
	t.Skip("no " + debian.path)
}

func (i implementation) command(ctx context.Context) *exec.Cmd {
	cmd := exec.CommandContext(ctx, i.path)
	cmd.Args[0] = "mtr-packet"
	cmd.Env = append(os.Environ(), i.env...)
	return cmd
}

// converse gives the implementation all of the input at once, inside a host,
// and returns what it says until it ends by itself.
func (i implementation) converse(t *testing.T, h *nettest.Host, input string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := i.command(ctx)
	cmd.Stdin = strings.NewReader(input)
	var out, diagnostics strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &diagnostics
	err := h.Start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		t.Errorf("%s: %v: %s", i.name, err, diagnostics.String())
	}
	return out.String()
}

// atOnce calls f for 0 to n-1, a few at a time: most of the time they wait.
func atOnce(n int, f func(int)) {
	var g errgroup.Group
	g.SetLimit(8)
	for i := range n {
		g.Go(func() error { f(i); return nil })
	}
	g.Wait()
}

var rtt = regexp.MustCompile(`round-trip-time [0-9]+`)

// normal sorts replies by line and hides round-trip times.
func normal(replies string) string {
	lines := strings.Split(rtt.ReplaceAllString(strings.TrimSpace(replies), "round-trip-time N"), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// session is a running mtr-packet that is asked and listened to line by line.
type session struct {
	t   testing.TB
	cmd *exec.Cmd
	in  io.WriteCloser
	out *os.File
}

func (i implementation) start(t testing.TB, h *nettest.Host) *session {
	t.Helper()
	return run(t, h, i.command(context.Background())) // it ends with its input
}

func run(t testing.TB, h *nettest.Host, cmd *exec.Cmd) *session {
	t.Helper()
	s := &session{t: t, cmd: cmd}
	s.cmd.Stderr = os.Stderr
	var err error
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	var write *os.File
	if s.out, write, err = os.Pipe(); err != nil {
		t.Fatal(err)
	}
	s.cmd.Stdout = write
	if err := h.Start(s.cmd); err != nil {
		t.Fatal(err)
	}
	write.Close()
	t.Cleanup(s.end)
	return s
}

// end ends the process by the end of its input.
func (s *session) end() {
	s.in.Close()
	s.cmd.Wait()
	s.out.Close()
}

func (s *session) ask(line string) {
	s.t.Helper()
	if _, err := io.WriteString(s.in, line+"\n"); err != nil {
		s.t.Fatal(err)
	}
}

// read returns what one read(2) brings.
func (s *session) read() string {
	s.t.Helper()
	s.out.SetReadDeadline(time.Now().Add(15 * time.Second))
	buf := make([]byte, 1<<16)
	n, err := s.out.Read(buf)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(buf[:n])
}
