package appliance

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func file(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestQuietKernel(t *testing.T) {
	for before, want := range map[string]string{
		"7\t4\t1\t7\n": "4", // the kernel takes the first number alone
		"1\t4\t1\t7\n": "1\t4\t1\t7\n",
	} {
		path := file(t, before)
		if err := quietKernel(path); err != nil {
			t.Fatal(err)
		}
		if got, _ := os.ReadFile(path); string(got) != want {
			t.Errorf("from %q: got %q, want %q", before, got, want)
		}
	}
}

func TestConsoleNames(t *testing.T) {
	for active, want := range map[string][]string{
		"ttyS0\n":           {"ttyS0"},
		"tty0 ttyS0\n":      {"tty1", "ttyS0"},
		"tty1 tty0 ttyAMA0": {"tty1", "ttyAMA0"},
		"":                  nil,
	} {
		if got := consoleNames(file(t, active)); !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", active, got, want)
		}
	}
	if got := consoleNames("/nonexistent"); got != nil {
		t.Errorf("no such file: got %q, want none", got)
	}
}

func TestBuildTime(t *testing.T) {
	got, err := buildTime(file(t, "1700000000\n"))
	if want := time.Unix(1700000000, 0); err != nil || !got.Equal(want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	if got, err := buildTime(file(t, "yesterday")); err == nil {
		t.Errorf("not a number: got %v, want an error", got)
	}
	if got, err := buildTime("/nonexistent"); err != nil || !got.Before(time.Unix(1, 0)) {
		t.Errorf("no such file: got %v, %v, want a time long ago", got, err)
	}
}

func TestLoadModulesSaysWhichFailed(t *testing.T) {
	if err := loadModules("/nonexistent"); err != nil {
		t.Errorf("no list: got %v, want nil", err)
	}
	list := file(t, "# a comment\n\nmissing.ko.xz nice=1\n")
	err := loadModules(list)
	if want := filepath.Join(filepath.Dir(list), "missing.ko.xz"); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want it to name %s", err, want)
	}
}
