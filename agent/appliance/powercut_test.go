package appliance

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/renameio/v2"

	"github.com/natrix-os/natrix/agent/spool"
)

// TestDataSurvivesPowerCuts has a spool and the file of the clock written on a
// data partition, whose disk keeps a log of all writes in their order. Then it
// cuts the power after every 64 KiB of them: each time the partition can be
// mounted, and has all that was confirmed until then.
func TestDataSurvivesPowerCuts(t *testing.T) {
	needDisks(t)
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	if err := os.WriteFile(data, make([]byte, 32<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := format(data); err != nil {
		t.Fatal(err)
	}
	image, err := os.ReadFile(data)
	if err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(dir, "log")
	confirmed := writeData(t, dir, data, log)
	writes := readLog(t, log)
	cuts, since := 0, 0
	for i, w := range writes {
		copy(image[w.at:], w.b)
		if since += len(w.b); since < 64<<10 && i < len(writes)-1 {
			continue
		}
		since = 0
		cuts++
		rounds := 0
		for rounds < len(confirmed) && confirmed[rounds] <= i+1 {
			rounds++
		}
		checkData(t, dir, image, rounds, i+1)
	}
	t.Logf("%d cuts in %d writes of %d confirmed rounds", cuts, len(writes), len(confirmed))
	if cuts < 20 {
		t.Errorf("the power was cut %d times, want 20 at least", cuts)
	}
}

// needDisks skips a test without what it needs to log a disk's writes.
func needDisks(t *testing.T) {
	t.Helper()
	missing := ""
	for _, program := range []string{"qemu-storage-daemon", "mount", "umount"} {
		if _, err := exec.LookPath(program); err != nil {
			missing = err.Error()
		}
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		missing = err.Error()
	}
	if os.Getuid() != 0 {
		missing = "only root mounts disks"
	}
	switch {
	case testing.Short():
		t.Skip("mounts disks")
	case missing != "" && strings.Contains(os.Getenv("NATRIX_MUST"), "boot"):
		t.Fatal(missing)
	case missing != "":
		t.Skip(missing)
	}
}

// writeData writes to the data partition on a disk that logs. It returns how
// many writes there were when each round was confirmed.
func writeData(t *testing.T, dir, data, log string) (confirmed []int) {
	t.Helper()
	disk := loggedDisk(t, dir, data, log)
	mnt := mounted(t, disk, dir)
	for round := range 30 {
		s, err := spool.Open(spool.DefaultLimits(), spool.Places{Medium: filepath.Join(mnt, "spool")})
		if err != nil {
			t.Fatal(err)
		}
		s.Put(fmt.Sprint("result ", round), []byte(strings.Repeat(fmt.Sprintf("%08d", round), 5000)))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := renameio.WriteFile(filepath.Join(mnt, "clock"), []byte(fmt.Sprintln(round)), 0o600); err != nil {
			t.Fatal(err)
		}
		confirmed = append(confirmed, logLength(t, log))
	}
	unmount(t, mnt)
	return confirmed
}

// loggedDisk shows the file data as a disk that logs its writes to the file log.
func loggedDisk(t *testing.T, dir, data, log string) string {
	t.Helper()
	disk := filepath.Join(dir, "disk")
	for _, name := range []string{disk, log} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	daemon := exec.Command("qemu-storage-daemon", "--blockdev", "driver=file,node-name=data,filename="+data,
		"--blockdev", "driver=file,node-name=log,filename="+log,
		"--blockdev", "driver=blklogwrites,node-name=disk,file=data,log=log,log-super-update-interval=1",
		"--export", "type=fuse,id=disk,node-name=disk,writable=on,mountpoint="+disk)
	daemon.Stderr = t.Output()
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { daemon.Process.Signal(os.Interrupt); daemon.Wait() })
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if info, err := os.Stat(disk); err == nil && info.Size() > 0 {
			return disk
		}
		if time.Now().After(deadline) {
			t.Fatal("qemu-storage-daemon shows no disk")
		}
	}
}

// mounted mounts a file as the appliance mounts its data partition.
func mounted(t *testing.T, disk, dir string) string {
	t.Helper()
	mnt := filepath.Join(dir, "mnt")
	if err := os.MkdirAll(mnt, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "ext4", "-o", "loop,noatime,nodev,nosuid,noexec,errors=remount-ro", disk, mnt).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v: %s", err, out)
	}
	t.Cleanup(func() { exec.Command("umount", mnt).Run() }) // if the test has not
	return mnt
}

func unmount(t *testing.T, mnt string) {
	t.Helper()
	if out, err := exec.Command("umount", mnt).CombinedOutput(); err != nil {
		t.Fatalf("umount: %v: %s", err, out)
	}
}

// checkData mounts what a power cut has left, and looks for what was confirmed
// in the rounds before it.
func checkData(t *testing.T, dir string, image []byte, rounds, writes int) {
	t.Helper()
	left := filepath.Join(dir, "left")
	if err := os.WriteFile(left, image, 0o600); err != nil {
		t.Fatal(err)
	}
	mnt := mounted(t, left, dir)
	defer unmount(t, mnt)
	s, err := spool.Open(spool.DefaultLimits(), spool.Places{Medium: filepath.Join(mnt, "spool")})
	if err != nil {
		t.Fatalf("cut after write %d: %v", writes, err)
	}
	defer s.Close()
	for round := range rounds {
		if !s.Knows(fmt.Sprint("result ", round)) {
			t.Errorf("cut after write %d: result %d of %d that were confirmed is gone", writes, round, rounds)
		}
	}
	clock, err := os.ReadFile(filepath.Join(mnt, "clock"))
	// Replacing a file is not waited for until the next thing that is: the last
	// round may be missing, but no file is torn.
	if got, _ := strconv.Atoi(strings.TrimSpace(string(clock))); rounds > 1 && (err != nil || got < rounds-2) {
		t.Errorf("cut after write %d: the clock says %q, %v, want %d at least", writes, clock, err, rounds-2)
	}
	if !sound(left) {
		t.Errorf("cut after write %d: the file system has errors", writes)
	}
}

// logWrite is some bytes that were written to a disk.
type logWrite struct {
	at int64
	b  []byte
}

// logLength is the number of entries in a log, by its superblock
// (Documentation/admin-guide/device-mapper/log-writes.rst, drivers/md/dm-log-writes.c).
func logLength(t *testing.T, name string) int {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [8]byte
	if _, err := f.ReadAt(b[:], 16); err != nil {
		t.Fatal(err)
	}
	return int(binary.LittleEndian.Uint64(b[:]))
}

// readLog reads the entries of a log: each a sector with place, length and
// flags, all in sectors, and its data but for a discard.
func readLog(t *testing.T, name string) []logWrite {
	t.Helper()
	const discard = 1 << 2
	log, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	sector := int(binary.LittleEndian.Uint32(log[24:]))
	var all []logWrite
	for at, i := sector, 0; i < logLength(t, name); i++ {
		field := func(n int) int { return int(binary.LittleEndian.Uint64(log[at+8*n:])) }
		w := logWrite{at: int64(field(0) * sector)}
		length, flags := field(1)*sector, field(2)
		at += sector
		if flags&discard == 0 {
			w.b = log[at : at+length]
			at += length
		}
		all = append(all, w)
	}
	return all
}
