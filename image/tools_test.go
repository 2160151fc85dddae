package image

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/u-root/mkuimage/cpio"
)

func TestToolCommandsAreTheToolsOfGoMod(t *testing.T) {
	commands, err := toolCommands(t.Context(), "..")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.IsSorted(commands) || !slices.Contains(commands, toolPrefix+"core/gosh") {
		t.Errorf("commands are %q, want them sorted, with a shell", commands)
	}
}

// TestFieldToolsRun runs the busybox of this machine, by the links to it.
func TestFieldToolsRun(t *testing.T) {
	host := Board{GOARCH: runtime.GOARCH}
	records, err := fieldTools(t.Context(), host, Options{Root: "..", Cache: "../build/cache"})
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	for _, r := range records {
		if err := cpio.CreateFileInRoot(r, root, false); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"echo", "up"}, {"sh", "-c", "echo up"}} {
		got, err := exec.CommandContext(t.Context(), filepath.Join(root, "bin", args[0]), args[1:]...).CombinedOutput()
		if err != nil || string(got) != "up\n" {
			t.Errorf("%q says %q, %v, want up", args, got, err)
		}
	}
	if _, err := os.Stat(filepath.Join(root, "bin/bb")); err != nil {
		t.Error(err)
	}
}

func TestATreeWithoutTools(t *testing.T) {
	records, err := fieldTools(t.Context(), pc, tree(t))
	if err != nil || len(records) > 0 {
		t.Errorf("field tools are %v, %v, want none", records, err)
	}
}
