package image

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// buildFlags strip a binary, and take out of it what differs between two
// builders: paths, the state of the checkout and the build id.
var buildFlags = []string{"-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid="}

// compile builds a main package for board b, in the directory dir and with env
// added to the environment, at the path out. It returns the binary.
func compile(ctx context.Context, b Board, dir, pkg, out string, env ...string) ([]byte, error) {
	args := append([]string{"build", "-o", out}, buildFlags...)
	if _, err := goCommand(ctx, dir, append(b.environ(), env...), append(args, pkg)...); err != nil {
		return nil, err
	}
	return os.ReadFile(out)
}

// environ selects the board for the go command. It names every setting that
// changes the code, so that none is taken from the builder's own environment.
func (b Board) environ() []string {
	return []string{
		"CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + b.GOARCH, "GOARM=" + b.GOARM,
		"GOAMD64=v1", "GOARM64=v8.0", "GOEXPERIMENT=", "GOWORK=off",
	}
}

// goCommand runs the go command in dir, with env added to the environment, and
// returns what it printed without the final newline.
func goCommand(ctx context.Context, dir string, env []string, args ...string) (string, error) {
	return run(ctx, dir, env, "go", args...)
}

// run runs a program and returns its output; its error ends with what the
// program had to say about it.
func run(ctx context.Context, dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		said := cmp.Or(stderr.String(), stdout.String())
		return "", fmt.Errorf("%s %s: %w\n%s", name, args[0], err, strings.TrimSpace(said))
	}
	return strings.TrimRight(stdout.String(), "\n"), nil
}
