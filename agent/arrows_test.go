package agent

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/natrix-os/natrix/"

// rows is the house from the top down. Imports point to a lower row, never up
// and never sideways; a package belongs to the row with its longest matching
// prefix.
var rows = [][]string{
	{"agent/cmd", "image/cmd"},
	{"agent", "agent/appliance", "board", "image/qemu"},
	{"agent/door"},
	{"agent/probe", "agent/report", "agent/lease", "agent/spool", "agent/schedule", "agent/service", "agent/update", "agent/doctor", "agent/execute", "agent/getinfo", "agent/flash", "agent/pxe", "image"},
	{"agent/command", "agent/door/basicagent/wire", "agent/packet", "agent/capture", "agent/config", "agent/location", "agent/logs", "agent/medium", "agent/status", "sysinfo", "sysinfo/netif"},
}

// sideways are the arrows within a row that the house has.
var sideways = map[string]string{
	"agent/door/shell": "agent/door/cli",    // the shell's commands are the command line's
	"sysinfo":          "sysinfo/netif",     // a machine has links
	"agent/cmd/natrix": "agent/cmd/natrix/", // parts of one binary
}

// TestArrows reads the imports itself: a test that runs go list is cached and
// would miss the change.
func TestArrows(t *testing.T) {
	checked := 0
	err := filepath.WalkDir("..", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || d.Name() == "build" || strings.HasPrefix(d.Name(), ".") && len(d.Name()) > 2) {
			return fs.SkipDir
		}
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		rel, err := filepath.Rel("..", file)
		if err != nil {
			return err
		}
		from := path.Dir(filepath.ToSlash(rel))
		source, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range source.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if to, ours := strings.CutPrefix(imported, module); ours {
				checked++
				if !points(from, to) {
					t.Errorf("%s imports %s: the arrow does not point down", rel, to)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if checked == 0 {
		t.Error("no import seen: the test looks in the wrong place")
	}
}

// points reports whether a package may import another.
func points(from, to string) bool {
	if strings.HasPrefix(from, "agent/door/") && (to == "agent/probe" || to == "agent/report") {
		return false // doors see the core as a command.Set, and pages as documents
	}
	if parts(from, to) || strings.HasPrefix(to, sideways[from]) && sideways[from] != "" {
		return true
	}
	return row(from) < row(to)
}

// parts reports whether one package is nested in the other below a row's name:
// packages that are one thing (a door and its test server).
func parts(a, b string) bool {
	return strings.HasPrefix(a, b+"/") && row(a) == row(b) || strings.HasPrefix(b, a+"/") && row(a) == row(b)
}

// row is the number of a package's row, from the top; packages that are in
// none are above all of them, and nobody may import them.
func row(pkg string) int {
	best, length := -1, -1
	for i, names := range rows {
		for _, name := range names {
			if (pkg == name || strings.HasPrefix(pkg, name+"/")) && len(name) > length {
				best, length = i, len(name)
			}
		}
	}
	return best
}

func TestArrowsWouldTurnRound(t *testing.T) {
	for _, test := range []struct {
		from, to string
		want     bool
	}{
		{"agent/cmd/natrix", "agent", true},
		{"agent", "agent/door/amqp", true},
		{"agent/door/amqp", "agent/command", true},
		{"agent/door/shell", "agent/door/cli", true},
		{"agent/probe", "agent/packet", true},
		{"agent/door/cli", "agent/door/shell", false},
		{"agent/door/cli", "agent/probe", false},
		{"agent/door/shell", "agent/lease", true},
		{"agent/door/amqp", "agent/door/cli", false},
		{"agent/probe", "agent/door/amqp", false},
		{"agent/probe", "agent/report", false},
		{"agent/command", "agent/config", false},
		{"agent/packet", "agent/probe", false},
		{"image", "agent", false},
	} {
		if got := points(test.from, test.to); got != test.want {
			t.Errorf("%s -> %s: got %v, want %v", test.from, test.to, got, test.want)
		}
	}
}
