package image

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/u-root/gobusybox/src/pkg/bb"
	"github.com/u-root/gobusybox/src/pkg/golang"
	"github.com/u-root/mkuimage/cpio"
	"github.com/u-root/uio/ulog"
)

// toolTag selects gosh's small line editor.
const toolTag = "goshliner"

// toolPrefix tells the commands for the image from the other tools in go.mod.
const toolPrefix = "github.com/u-root/u-root/cmds/"

// fieldTools returns what people expect to find on a machine that they are
// called to: u-root's commands, those that are tools in go.mod, as one busybox
// and its links. They stay out of the natrix binary because a busybox is
// compiled without modules, and so with old defaults for TLS and timers.
func fieldTools(ctx context.Context, b Board, o Options) ([]cpio.Record, error) {
	commands, err := toolCommands(ctx, o.Root)
	if err != nil || len(commands) == 0 {
		return nil, err
	}
	key, err := toolsKey(ctx, b, o.Root, commands)
	if err != nil {
		return nil, err
	}
	busybox := filepath.Join(o.Cache, "tools-"+b.GOARCH+"-"+key)
	content, err := os.ReadFile(busybox)
	if os.IsNotExist(err) {
		content, err = compileTools(ctx, b, o, commands, busybox)
	}
	if err != nil {
		return nil, err
	}
	return toolRecords(content, commands), nil
}

// toolCommands returns the import paths of the commands.
func toolCommands(ctx context.Context, root string) ([]string, error) {
	list, err := goCommand(ctx, root, nil, "list", "-tags", toolTag, "tool")
	if err != nil {
		return nil, err
	}
	var commands []string
	for tool := range strings.Lines(list) {
		if strings.HasPrefix(tool, toolPrefix) {
			commands = append(commands, strings.TrimSpace(tool))
		}
	}
	slices.Sort(commands) // go list has no order here
	return commands, nil
}

// toolsKey names the busybox by all it is made of: compiler, architecture, and
// every package with its module's version.
func toolsKey(ctx context.Context, b Board, root string, commands []string) (string, error) {
	version, err := goCommand(ctx, root, nil, "env", "GOVERSION")
	if err != nil {
		return "", err
	}
	args := []string{"list", "-deps", "-tags", toolTag,
		"-f", "{{with .Module}}{{$.ImportPath}} {{.Version}}{{end}}", "github.com/u-root/gobusybox/src/pkg/bb"}
	packages, err := goCommand(ctx, root, b.environ(), append(args, commands...)...)
	if err != nil {
		return "", err
	}
	inputs := strings.Join(slices.Concat(b.environ(), buildFlags, []string{version, packages}), "\n")
	return fmt.Sprintf("%x", sha256.Sum256([]byte(inputs)))[:16], nil
}

// compileTools builds the busybox and keeps it under the name out. The library
// only generates the source: its own go build ignores the build cache.
func compileTools(ctx context.Context, b Board, o Options, commands []string, out string) ([]byte, error) {
	if err := os.MkdirAll(o.Cache, 0o755); err != nil {
		return nil, err
	}
	gopath, err := os.MkdirTemp("", "natrix-tools-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(gopath)
	err = bb.BuildBusybox(ulog.Null, &bb.Opts{
		Env: golang.Default(golang.DisableCGO(), golang.WithGOOS("linux"), golang.WithGOARCH(b.GOARCH),
			golang.WithWorkingDir(o.Root), golang.WithBuildTag(toolTag)),
		CommandPaths: commands,
		GenSrcDir:    gopath,
		GenerateOnly: true,
	})
	if err != nil {
		return nil, err
	}
	content, err := compile(ctx, b, filepath.Join(gopath, "src/bb.u-root.com/bb"), ".", filepath.Join(gopath, "bb"),
		"GO111MODULE=off", "GOPATH="+gopath, "GOFLAGS=-tags="+toolTag)
	if err != nil {
		return nil, err
	}
	return content, replaceFile(out, content)
}

// toolRecords puts the busybox into /bin, with a link for each command and the
// name that scripts know the shell by.
func toolRecords(busybox []byte, commands []string) []cpio.Record {
	records := []cpio.Record{executable("bin/bb", busybox)}
	for _, command := range commands {
		name := path.Base(command)
		records = append(records, cpio.Symlink("bin/"+name, "bb"))
		if name == "gosh" {
			records = append(records, cpio.Symlink("bin/sh", "gosh"))
		}
	}
	return records
}
