package agent

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// burdens are what a program that only wants to measure must not have to link:
// brokers, command lines, and every door of this module.
var burdens = []string{
	"github.com/rabbitmq/", "github.com/spf13/cobra", "gopkg.in/ini.v1", "net/http/pprof", "expvar",
	module + "agent/door", module + "agent/config", module + "agent/spool", module + "agent/service", module + "agent/appliance",
}

// TestLibrariesCarryNoTerminal walks what the packages for others import, as
// far as it is of this module, and looks for burdens and for listeners.
func TestLibrariesCarryNoTerminal(t *testing.T) {
	for _, library := range []string{"agent/probe", "agent/packet", "sysinfo", "sysinfo/netif"} {
		seen := make(map[string]bool)
		walk(t, library, []string{library}, seen)
		if len(seen) == 0 || !seen[library] {
			t.Errorf("%s: nothing seen", library)
		}
	}
}

// walk reads the package and those of this module that it imports; way is how
// it was come by.
func walk(t *testing.T, pkg string, way []string, seen map[string]bool) {
	t.Helper()
	if seen[pkg] {
		return
	}
	seen[pkg] = true
	files, err := filepath.Glob(filepath.Join("..", pkg, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: no sources: %v", pkg, err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		source, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, call := range listens(source) {
			t.Errorf("%s listens: %s in %s", strings.Join(way, " -> "), call, path.Base(file))
		}
		for _, spec := range source.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if slices.ContainsFunc(burdens, func(b string) bool { return strings.HasPrefix(imported, b) }) {
				t.Errorf("%s -> %s", strings.Join(way, " -> "), imported)
			}
			if ours, ok := strings.CutPrefix(imported, module); ok {
				walk(t, ours, append(slices.Clone(way), ours), seen)
			}
		}
	}
}

// listens are the calls by which connections of others could come in.
func listens(source *ast.File) []string {
	var found []string
	ast.Inspect(source, func(n ast.Node) bool {
		call, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		pkg, ok := call.X.(*ast.Ident)
		if ok && slices.Contains([]string{"net.Listen", "net.ListenTCP", "net.ListenUnix", "tls.Listen", "unix.Listen", "http.ListenAndServe", "http.Serve", "http.Server"}, pkg.Name+"."+call.Sel.Name) {
			found = append(found, pkg.Name+"."+call.Sel.Name)
		}
		return true
	})
	return found
}

func TestListensIsSeen(t *testing.T) {
	source, err := parser.ParseFile(token.NewFileSet(), "x.go", "package x\nfunc f() { l, _ := net.Listen(`tcp`, ``); new(net.Dialer); http.Serve(l, nil) }", 0)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := listens(source), []string{"net.Listen", "http.Serve"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
