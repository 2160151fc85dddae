package execute

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The bounds of one command where the kernel has cgroups of version 2
// (Documentation/admin-guide/cgroup-v2.rst).
var bounds = map[string]string{
	"memory.max":       strconv.Itoa(64 << 20),
	"memory.swap.max":  "0",
	"memory.oom.group": "1",
	"pids.max":         "64",
	"cpu.max":          "50000 100000",
	"cpu.weight":       "10", // of 100: measuring comes first
}

// groups is the directory that holds a cgroup for each command; "" without
// cgroups.
type groups struct{ dir string }

// group is the cgroup of one command.
type group struct {
	dir  string
	file *os.File
}

// findGroups finds the tree of cgroups, makes a place for commands in it, and
// ends what an earlier executor left there.
func findGroups() groups {
	mounts, _ := os.ReadFile("/proc/self/mounts") // without it there are none
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if len(f) < 3 || f[2] != "cgroup2" {
			continue
		}
		g := groups{filepath.Join(f[1], "natrix-commands-"+strconv.Itoa(os.Getppid()))}
		sweep(f[1])
		if os.Mkdir(g.dir, 0o755) != nil && !isDir(g.dir) {
			continue
		}
		for _, controller := range []string{"+memory", "+pids", "+cpu"} { // those that there are
			os.WriteFile(filepath.Join(f[1], "cgroup.subtree_control"), []byte(controller), 0)
			os.WriteFile(filepath.Join(g.dir, "cgroup.subtree_control"), []byte(controller), 0)
		}
		return g
	}
	return groups{}
}

// sweep ends the commands of agents that are gone.
func sweep(root string) {
	left, _ := filepath.Glob(filepath.Join(root, "natrix-commands-*"))
	for _, dir := range left {
		pid := dir[strings.LastIndexByte(dir, '-')+1:]
		if _, err := os.Stat("/proc/" + pid); err != nil {
			groups{dir}.end()
		}
	}
}

// end kills all that runs in the groups, and takes them away.
func (g groups) end() {
	os.WriteFile(filepath.Join(g.dir, "cgroup.kill"), []byte("1"), 0)
	inner, _ := filepath.Glob(filepath.Join(g.dir, "*", "cgroup.procs"))
	for _, file := range inner {
		group{dir: filepath.Dir(file)}.remove()
	}
	group{dir: g.dir}.remove()
}

func isDir(dir string) bool {
	info, err := os.Stat(dir)
	return err == nil && info.IsDir()
}

// make makes the group of a command, with its bounds; without cgroups, none.
func (g groups) make(name string) (group, error) {
	if g.dir == "" {
		return group{}, nil
	}
	dir := filepath.Join(g.dir, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return group{}, err
	}
	for file, value := range bounds {
		os.WriteFile(filepath.Join(dir, file), []byte(value), 0) // those whose controller there is; rlimits bound the rest
	}
	f, err := os.Open(dir)
	if err != nil {
		return group{}, err
	}
	return group{dir, f}, nil
}

// join has a process begin in the group.
func (g group) join(attr *syscall.SysProcAttr) {
	if g.file != nil {
		attr.UseCgroupFD, attr.CgroupFD = true, int(g.file.Fd())
	}
}

// kill ends all that is in the group, and reports whether it could.
func (g group) kill() bool {
	return g.dir != "" && os.WriteFile(filepath.Join(g.dir, "cgroup.kill"), []byte("1"), 0) == nil
}

// exhausted tells whether something was killed for want of memory.
func (g group) exhausted() bool {
	if g.dir == "" {
		return false
	}
	events, _ := os.ReadFile(filepath.Join(g.dir, "memory.events"))
	for line := range strings.Lines(string(events)) {
		if n, found := strings.CutPrefix(strings.TrimSpace(line), "oom_kill "); found {
			return n != "0"
		}
	}
	return false
}

// remove takes the group away. What was killed takes a moment to be gone; what
// takes longer is swept by the next executor.
func (g group) remove() {
	if g.file != nil {
		g.file.Close()
	}
	for range 200 {
		if g.dir == "" || syscall.Rmdir(g.dir) != syscall.EBUSY {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}
