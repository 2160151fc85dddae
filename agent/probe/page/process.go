package page

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"
)

// Users that nobody has: the range that systemd gives to services for as long
// as they run (DynamicUser).
const (
	firstUser = 61184
	users     = 65519 - firstUser
)

const (
	lastWords = 4 << 10         // bytes kept of what a browser prints
	leaveTime = 5 * time.Second // for what a browser started to be gone, once it has been killed
)

// process is a browser that runs as long as its page does. A browser of root
// runs as a user of its own, so that its sandbox works and nothing that a page
// may break out to belongs to it.
type process struct {
	cmd    *exec.Cmd
	dir    string // its home and its profile
	user   int    // its own; 0 if it runs as whoever called
	output *tail
	ended  chan struct{} // closed when it has
}

// program is a browser to be started.
type program struct {
	names     []string // that it can have
	packet    string   // of Debian, that has it
	arguments func(home string) []string
	pipes     []*os.File        // its file descriptors from 3 on
	files     map[string]string // that its home has from the beginning
	heard     func(line string) // given what it prints; nil is nobody
}

// launch starts a program, if it is installed. It runs until it is closed, or ctx ends.
func launch(ctx context.Context, it program) (*process, error) {
	path := installed(it.names)
	if path == "" {
		return nil, fmt.Errorf("none of %s is installed (Debian: apt-get install %s)", strings.Join(it.names, ", "), it.packet)
	}
	p := &process{output: &tail{heard: it.heard}, ended: make(chan struct{})}
	if err := p.home(it.files); err != nil {
		return nil, fmt.Errorf("home for %s: %w", path, err)
	}
	p.cmd = exec.Command(path, it.arguments(p.dir)...)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr, p.cmd.ExtraFiles = p.dir, p.output, p.output, it.pipes
	p.cmd.WaitDelay = leaveTime // a child of it can hold its output open
	p.cmd.Env = []string{
		"HOME=" + p.dir, "TMPDIR=" + p.dir, "XDG_RUNTIME_DIR=" + p.dir, "PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8",
		"MOZ_HEADLESS=1", "DBUS_SESSION_BUS_ADDRESS=disabled:", "DBUS_SYSTEM_BUS_ADDRESS=disabled:",
	}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if p.user != 0 {
		p.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(p.user), Gid: uint32(p.user)}
	}
	started := make(chan error)
	go p.run(started)
	if err := <-started; err != nil {
		p.clear()
		return nil, err
	}
	context.AfterFunc(ctx, p.kill)
	return p, nil
}

// Installed are the programs of the browsers that there are.
func Installed() []string {
	return slices.DeleteFunc([]string{installed(chromes), installed(firefoxes)}, func(path string) bool { return path == "" })
}

func installed(names []string) string {
	for _, name := range names {
		if found, err := exec.LookPath(name); err == nil {
			return found
		}
	}
	return ""
}

// run starts the process and waits for it, on one thread: the signal for the
// death of the parent comes when its thread ends (prctl(2), PR_SET_PDEATHSIG).
func (p *process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	started <- err
	if err == nil {
		p.cmd.Wait()
		close(p.ended)
	}
}

// home makes a directory for the browser alone, with the files given.
func (p *process) home(files map[string]string) error {
	if err := p.settle(); err != nil {
		return err
	}
	for name, content := range files {
		if err := p.furnish(filepath.Join(p.dir, name), content); err != nil {
			return errors.Join(err, os.RemoveAll(p.dir))
		}
	}
	if p.user == 0 {
		return nil
	}
	return os.Chown(p.dir, p.user, p.user) // last: without CAP_DAC_OVERRIDE nothing can be put into it from here on
}

// furnish puts a file of the browser's own into its home.
func (p *process) furnish(file, content string) error {
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil || p.user == 0 {
		return err
	}
	return os.Chown(file, p.user, p.user)
}

// clear removes the home of a browser that has ended. Its directories become
// ours first: without CAP_DAC_OVERRIDE, root can empty no others.
func (p *process) clear() {
	if p.user != 0 {
		filepath.WalkDir(p.dir, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				return errors.Join(os.Lchown(path, 0, 0), os.Chmod(path, 0o700))
			}
			return nil
		})
	}
	os.RemoveAll(p.dir)
}

// settle chooses the browser's user, and makes the directory: that nobody
// else has it keeps others from choosing the same user.
func (p *process) settle() (err error) {
	if os.Getuid() != 0 {
		p.dir, err = os.MkdirTemp("", "natrix-browser-")
		return err
	}
	if !privileged() {
		return errors.New("root without the capabilities to run it as another user (CHOWN, KILL, SETGID, SETUID): see the service's unit")
	}
	for range 16 {
		user := firstUser + rand.IntN(users)
		dir := filepath.Join(os.TempDir(), "natrix-browser-"+strconv.Itoa(user))
		if len(processesOf(user)) == 0 && os.Mkdir(dir, 0o700) == nil {
			p.dir, p.user = dir, user
			return nil
		}
	}
	return errors.New("no user to be had")
}

// privileged reports whether this process may give a browser a user of its own.
func privileged() bool {
	for _, needed := range []cap.Value{cap.CHOWN, cap.KILL, cap.SETGID, cap.SETUID} {
		if held, err := cap.GetProc().GetFlag(cap.Effective, needed); err != nil || !held {
			return false
		}
	}
	return true
}

// kill ends the process and those that it started, also where they have left its group.
func (p *process) kill() {
	unix.Kill(-p.cmd.Process.Pid, unix.SIGKILL)
	for _, pid := range p.all() {
		unix.Kill(pid, unix.SIGKILL)
	}
}

// all are the processes of the browser: of its own user, or else those of ours
// with its home.
func (p *process) all() []int {
	if p.user != 0 {
		return processesOf(p.user)
	}
	return slices.DeleteFunc(processesOf(os.Getuid()), func(pid int) bool {
		environment, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		return err != nil || !bytes.Contains(environment, []byte("HOME="+p.dir+"\x00"))
	})
}

// close ends the browser and leaves nothing of it.
func (p *process) close() {
	p.kill()
	<-p.ended
	for deadline := time.Now().Add(leaveTime); len(p.all()) > 0 && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		p.kill() // what it was just forking
	}
	p.clear()
}

// processesOf are the processes of a user, except those that have ended.
func processesOf(user int) []int {
	entries, _ := os.ReadDir("/proc")
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		info, err := e.Info()
		if err != nil {
			continue
		}
		if owner, ok := info.Sys().(*syscall.Stat_t); ok && int(owner.Uid) == user && !zombie(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// zombie reports whether a process has ended and only waits for its parent.
func zombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, state, found := strings.Cut(string(stat), ") ")
	return err != nil || found && strings.HasPrefix(state, "Z")
}

// failed is why the browser could not be spoken to, with its last words.
func (p *process) failed(err error) error {
	if words := p.output.line(); words != "" {
		return fmt.Errorf("%w: %s", err, words)
	}
	return err
}

// tail keeps the end of what is written to it.
type tail struct {
	heard func(line string) // nil is nobody

	mu   sync.Mutex
	kept []byte
	part []byte // that has not ended
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, b...)
	t.kept = t.kept[max(0, len(t.kept)-lastWords):]
	t.tell(b)
	return len(b), nil
}

// tell passes on the lines that have ended.
func (t *tail) tell(b []byte) {
	if t.heard == nil {
		return
	}
	t.part = append(t.part, b...)
	for {
		line, rest, ended := bytes.Cut(t.part, []byte("\n"))
		if !ended {
			t.part = t.part[:min(len(t.part), lastWords)]
			return
		}
		t.heard(string(line))
		t.part = rest
	}
}

// line is the last line that says something.
func (t *tail) line() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(string(t.kept)), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}
