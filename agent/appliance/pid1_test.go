package appliance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/natrix-os/natrix/agent/config"
	"github.com/natrix-os/natrix/agent/door/shell"
	"github.com/natrix-os/natrix/sysinfo/netif/nettest"
)

// TestMain makes the test binary PID 1 and its services, when it is called as
// those. What it needs is in the root directory that the test made.
func TestMain(m *testing.M) {
	if os.Getenv("NATRIX_PID1_TEST") == "" {
		os.Exit(m.Run())
	}
	switch os.Args[1] {
	case "container":
		container(os.Args[2])
	case "init":
		err := Run(context.Background(), Config{
			Settings: func() (config.Config, error) {
				return config.Config{Appliance: config.Appliance{Hostname: "terminal7"}}, errors.New("a mistake in the file")
			},
			Network: []string{"network"},
			Agent:   []string{"agent"},
		})
		fmt.Fprintln(os.Stderr, "Run returned:", err)
		os.Exit(1)
	case "network":
		untilTold()
		fmt.Println("network told to end")
	case "agent":
		agent()
	case "orphan":
		time.Sleep(50 * time.Millisecond)
	}
}

// container makes root the root directory and goes on as init in there. It
// takes the libraries along: a test binary may need them, for the race detector.
func container(root string) {
	for _, dir := range []string{"lib", "lib64", "usr"} {
		inside := filepath.Join(root, dir)
		if err := os.Mkdir(inside, 0o755); err != nil {
			panic(err)
		}
		if err := unix.Mount("/"+dir, inside, "", unix.MS_BIND|unix.MS_REC, ""); err != nil && !errors.Is(err, unix.ENOENT) {
			panic(err)
		}
	}
	if err := unix.Chroot(root); err != nil {
		panic(err)
	}
	panic(unix.Exec("/init", []string{"/init", "init"}, os.Environ()))
}

// agent leaves an orphan behind and panics the first time, and stays the second.
func agent() {
	if err := os.Mkdir("/tmp/seen", 0o700); err == nil {
		if _, err := os.StartProcess("/proc/self/exe", []string{"natrix", "orphan"}, &os.ProcAttr{Files: []*os.File{nil, os.Stdout, os.Stderr}}); err != nil {
			panic(err)
		}
		panic("out of luck")
	}
	fmt.Println("agent stays")
	untilTold()
}

func untilTold() {
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM)
	<-told
}

// boot starts this test binary as PID 1 of a container: namespaces of its own,
// down to the users, so that it can neither set the clock of the machine nor
// touch its devices.
func boot(t *testing.T) (*exec.Cmd, Client, *bytes.Buffer) {
	t.Helper()
	nettest.Need(t)
	root := t.TempDir()
	copyFile(t, filepath.Join(root, "init"), "/proc/self/exe")
	for _, dir := range []string{"dev", "proc", "sys", "run", "tmp", "etc/natrix"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "dev/null"), nil, 0o666); err != nil { // nobody may make devices in there
		t.Fatal(err)
	}
	out := new(bytes.Buffer)
	cmd := exec.Command(filepath.Join(root, "init"), "container", root)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "NATRIX_PID1_TEST=1")
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS,
		UidMappings: []syscall.SysProcIDMap{{Size: 1, HostID: os.Getuid()}},
		GidMappings: []syscall.SysProcIDMap{{Size: 1, HostID: os.Getgid()}},
		Pdeathsig:   syscall.SIGKILL,
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill() // and with PID 1 all of its children
		cmd.Wait()
	})
	return cmd, Client{fmt.Sprintf("/proc/%d/root%s", cmd.Process.Pid, Socket)}, out
}

func copyFile(t *testing.T, to, from string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	// A process forked meanwhile by another test would hold the file open for
	// writing, and nobody could execute it (ETXTBSY).
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

// services waits until PID 1's answer is right.
func services(t *testing.T, c Client, right func([]shell.Service) bool) []shell.Service {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		got, err := c.Services(t.Context())
		if err == nil && right(got) {
			return got
		}
		if time.Now().After(deadline) {
			t.Fatalf("services: got %#v, %v", got, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestNetnsPID1KeepsServices(t *testing.T) {
	t.Parallel()
	_, c, _ := boot(t)
	got := services(t, c, func(all []shell.Service) bool {
		return len(all) == 2 && all[0].PID > 1 && all[1].PID > 1 && all[1].Restarts == 1 && all[1].Memory > 1<<20
	})
	if want := "exit status 2: panic: out of luck"; got[1].Name != "agent" || got[1].Last != want {
		t.Errorf("agent: got %+v, want it to have ended with %q", got[1], want)
	}
	if got[0].Name != "network" || got[0].Restarts != 0 {
		t.Errorf("network: got %+v, want it never restarted", got[0])
	}
	for _, want := range []string{
		"msg=boot phase=init at=",
		`msg="read the settings" err="a mistake in the file"`,
		`msg="service ended" service=agent how="exit status 2" last="panic: out of luck"`,
		"agent stays",
	} {
		logged(t, c, want)
	}
}

// logged waits until the journal has the words: a service that runs has not
// written anything yet.
func logged(t *testing.T, c Client, want string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		var log bytes.Buffer
		if err := c.Log(t.Context(), &log, 1000, false); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(log.String(), want) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("log has no %q:\n%s", want, &log)
		}
	}
}

func TestNetnsPID1ReapsOrphans(t *testing.T) {
	t.Parallel()
	cmd, c, _ := boot(t)
	services(t, c, func(all []shell.Service) bool { return len(all) == 2 && all[1].Restarts == 1 })
	time.Sleep(100 * time.Millisecond) // the orphan has ended by now
	all, err := os.ReadDir(fmt.Sprintf("/proc/%d/root/proc", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/root/proc/%s/stat", cmd.Process.Pid, p.Name()))
		if err == nil && strings.Contains(string(stat), ") Z ") {
			t.Errorf("a zombie is left: %s", stat)
		}
	}
}

func TestNetnsPID1GoesDown(t *testing.T) {
	t.Parallel()
	// A kernel answers reboot(2) of a container's PID 1 by killing it with one
	// of these, which is how its starter learns what was meant (reboot(2)).
	const restarted, halted = syscall.SIGHUP, syscall.SIGINT
	for name, tt := range map[string]struct {
		ask  func(*exec.Cmd, Client) error
		want syscall.Signal
	}{
		"reboot":   {func(_ *exec.Cmd, c Client) error { return c.Reboot(context.Background()) }, restarted},
		"poweroff": {func(_ *exec.Cmd, c Client) error { return c.PowerOff(context.Background()) }, halted},
		"SIGTERM":  {func(cmd *exec.Cmd, _ Client) error { return cmd.Process.Signal(syscall.SIGTERM) }, restarted},
		"SIGPWR":   {func(cmd *exec.Cmd, _ Client) error { return cmd.Process.Signal(syscall.SIGPWR) }, halted},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd, c, out := boot(t)
			services(t, c, func(all []shell.Service) bool { return len(all) == 2 && all[1].Restarts == 1 })
			follow := new(bytes.Buffer)
			followed := make(chan struct{})
			go func() { defer close(followed); c.Log(context.Background(), follow, 0, true) }()
			start := time.Now()
			if err := tt.ask(cmd, c); err != nil {
				t.Fatal(err)
			}
			cmd.Wait()
			if got := cmd.ProcessState.Sys().(syscall.WaitStatus).Signal(); got != tt.want {
				t.Errorf("ended by %v, want %v; it said:\n%s", got, tt.want, out)
			}
			if d := time.Since(start); d > patience {
				t.Errorf("took %v, want less than %v", d, patience)
			}
			<-followed
			if want := "network told to end"; !strings.Contains(out.String(), want) {
				t.Errorf("console has no %q:\n%s", want, out)
			}
		})
	}
}

func TestNetnsControlSocket(t *testing.T) {
	t.Parallel()
	_, c, _ := boot(t)
	services(t, c, func(all []shell.Service) bool { return len(all) == 2 })
	for request, want := range map[string]string{
		"":           `unknown request ""`,
		"log":        "number of lines",
		"log x":      "number of lines",
		"console x":  `no console "x"`,
		"reboot now": "unknown request",
		"a b c":      "unknown request",
	} {
		err := c.ask(t.Context(), request, to(io.Discard))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", request, err, want)
		}
	}
}
