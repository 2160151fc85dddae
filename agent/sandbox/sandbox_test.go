package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"
)

const insideDir = "NATRIX_SANDBOX_TEST"

// TestMain is the process that enters the sandbox, when it is told to: nothing
// leads out again.
func TestMain(m *testing.M) {
	if dir := os.Getenv(insideDir); dir != "" {
		inside(dir)
		return
	}
	os.Exit(m.Run())
}

func TestEnter(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "writable"), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), insideDir+"="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if problem, ok := strings.CutPrefix(line, "PROBLEM "); ok {
			t.Error(strings.TrimSpace(problem))
		}
	}
	if !strings.HasSuffix(string(out), "all tried\n") {
		t.Errorf("not all was tried:\n%s", out)
	}
}

// inside enters the sandbox and prints what is not as it should be there.
func inside(dir string) {
	for range 4 { // threads that were there before
		go func() { runtime.LockOSThread(); select {} }()
	}
	time.Sleep(50 * time.Millisecond)
	root := os.Getuid() == 0
	if err := Enter(Policy{Capabilities: []cap.Value{cap.NET_RAW}, Writable: []string{filepath.Join(dir, "writable"), filepath.Join(dir, "missing")}}); err != nil {
		fmt.Println("PROBLEM enter:", err)
	}
	want := func(what string, got, want error) {
		if !errors.Is(got, want) {
			fmt.Printf("PROBLEM %s: got %v, want %v\n", what, got, want)
		}
	}
	write := func(file string) error { return os.WriteFile(filepath.Join(dir, file), []byte("x"), 0o600) }
	want("write where it may", write("writable/file"), nil)
	if landlocked() {
		want("write elsewhere", write("file"), unix.EACCES)
		want("remove elsewhere", os.Remove(filepath.Join(dir, "writable")), unix.EACCES)
	}
	_, err := os.ReadFile("/proc/self/stat")
	want("read", err, nil)
	want("mount", unix.Mount("none", dir, "tmpfs", 0, ""), unix.EPERM)
	want("ptrace", unix.PtraceAttach(os.Getppid()), unix.EPERM)
	want("settimeofday", unix.Settimeofday(&unix.Timeval{}), unix.EPERM)
	want("reboot", unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF), unix.EPERM)
	want("start a program", exec.Command("/bin/true").Run(), nil)
	if root {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)
		want("open a raw socket", err, nil)
		unix.Close(fd)
		want("change owner", os.Chown(filepath.Join(dir, "writable", "file"), 1, 1), unix.EPERM)
	}
	statuses, _ := filepath.Glob("/proc/self/task/*/status")
	if len(statuses) < 5 {
		fmt.Println("PROBLEM only", len(statuses), "threads were looked at")
	}
	for _, file := range statuses {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // it ended
		}
		for _, line := range []string{"NoNewPrivs:\t1", "Seccomp:\t2"} {
			if !strings.Contains(string(b), line) {
				fmt.Printf("PROBLEM %s: no %q\n", file, line)
			}
		}
		if root && !strings.Contains(string(b), fmt.Sprintf("CapEff:\t%016x", 1<<cap.NET_RAW)) {
			fmt.Printf("PROBLEM %s: other capabilities than CAP_NET_RAW\n", file)
		}
	}
	fmt.Println("all tried")
}

// landlocked reports whether this kernel has Landlock switched on.
func landlocked() bool {
	version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	return errno == 0 && version > 0
}
