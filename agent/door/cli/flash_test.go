package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/natrix-os/natrix/agent/flash"
	"github.com/natrix-os/natrix/agent/medium"
)

// flashing runs the command on an image and a disk that are files, and returns
// what it said and what is on the disk then.
func flashing(t *testing.T, typed string, args ...string) (said, disk string, err error) {
	t.Helper()
	dir := t.TempDir()
	image, target := filepath.Join(dir, "x.img"), filepath.Join(dir, "disk")
	for name, content := range map[string]string{
		image: strings.Repeat("new ", 1<<18), target: strings.Repeat("old ", 1<<18),
		filepath.Join(dir, "wrong.ini"): "[COMMON]\nlog_level = loud\n", filepath.Join(dir, "right.ini"): "[COMMON]\nlog_level = debug\n",
	} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	cmd := Flash(flash.System(medium.Root()))
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(append([]string{image, target}, args...))
	cmd.SetIn(strings.NewReader(typed))
	if typed != "" {
		ours, theirs, err := pty.Open()
		if err != nil {
			t.Fatal(err)
		}
		defer ours.Close()
		defer theirs.Close()
		if _, err := ours.WriteString(typed + "\n"); err != nil {
			t.Fatal(err)
		}
		cmd.SetIn(theirs)
	}
	err = cmd.ExecuteContext(t.Context())
	b, failed := os.ReadFile(target)
	if failed != nil {
		t.Fatal(failed)
	}
	return out.String(), string(b[:4]), err
}

func TestFlashAsks(t *testing.T) {
	for _, test := range []struct {
		typed string
		args  []string
		disk  string
		err   string
	}{
		{"disk", nil, "new ", ""},
		{"", []string{"--yes"}, "new ", ""},
		{"yes", nil, "old ", "nothing was written"},
		{"", nil, "old ", "--yes"},
		{"", []string{"--yes", "--config", "wrong.ini"}, "old ", "wrong.ini:2"},
		{"", []string{"--yes", "--config", "right.ini"}, "old ", "no place for a configuration"},
		{"", []string{"--yes", "--config", "none.ini"}, "old ", "no such file"},
	} {
		said, disk, err := flashing(t, test.typed, test.args...)
		if disk != test.disk || (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("typed %q, %q: disk %q, %v, want %q, %q; said:\n%s", test.typed, test.args, disk, err, test.disk, test.err, said)
		}
		if err == nil && (!strings.Contains(said, "1.0 MB of 1.0 MB used") || !strings.Contains(said, "verify  [####################] 100 %")) {
			t.Errorf("said:\n%s", said)
		}
	}
}

func TestProgressLine(t *testing.T) {
	for _, test := range []struct {
		done  int64
		since time.Duration
		want  string
	}{
		{0, 0, "write   [....................]   0 %  0.0 MB"},
		{25e6, 5 * time.Second, "write   [#####...............]  25 %  25.0 MB  5.0 MB/s  15s left"},
		{100e6, 20 * time.Second, "write   [####################] 100 %  100.0 MB  5.0 MB/s  20.0 s"},
	} {
		if got := progressLine(flash.Writing, test.done, 100e6, test.since); got != test.want {
			t.Errorf("got  %q\nwant %q", got, test.want)
		}
	}
}
