package main

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/natrix-os/natrix/agent"
	"github.com/natrix-os/natrix/agent/probe"
	"github.com/spf13/cobra/doc"
)

var manDir = flag.String("man", "", "directory that the manual pages are written to")

// TestManualPages writes the manual pages from the same source as the help, and
// looks at them. make man keeps them: a program that only writes them would
// have to know all commands, and the program itself would grow by half a
// megabyte.
func TestManualPages(t *testing.T) {
	dir := *manDir
	if dir == "" {
		dir = t.TempDir()
	} else if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	root := tree(probe.New())
	root.DisableAutoGenTag = true
	header := &doc.GenManHeader{Section: "1", Source: "natrix " + agent.Version, Manual: "natrix"}
	if err := doc.GenManTree(root, header, dir); err != nil {
		t.Fatal(err)
	}
	for _, c := range commands(root) {
		page := filepath.Join(dir, strings.ReplaceAll(c.CommandPath(), " ", "-")+".1")
		text, err := os.ReadFile(page)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, want := range []string{".SH NAME", ".SH SYNOPSIS", ".SH EXAMPLE"} {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s: no %s", page, want)
			}
		}
	}
	lint(t, filepath.Join(dir, "natrix.1"))
}

// lint has man itself read a page, where it is installed.
func lint(t *testing.T, page string) {
	t.Helper()
	if _, err := exec.LookPath("man"); err != nil {
		return
	}
	cmd := exec.CommandContext(t.Context(), "man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", page)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "MANROFFSEQ=", "MANWIDTH=80", "PAGER=cat")
	var warnings strings.Builder
	cmd.Stderr = &warnings
	text, err := cmd.Output()
	if err != nil || warnings.Len() > 0 || !strings.Contains(string(text), "Exit codes:") {
		t.Errorf("man: %v, %s\n%s", err, warnings.String(), text)
	}
}
