package image

import (
	"context"
	"fmt"
)

// Source is where a board's kernel, device trees and modules come from.
type Source interface {
	// Dir returns a directory with the files of the source, which the caller
	// only reads. It may fetch them, and keep them below cache; root is the
	// directory of go.mod.
	Dir(ctx context.Context, root, cache string) (string, error)
}

// Module is a Go module that holds files rather than code, pinned by go.sum.
// The board's package imports it, so that go.mod keeps it.
type Module string

// Dir returns the module's directory in the module cache.
func (m Module) Dir(ctx context.Context, root, _ string) (string, error) {
	dir, err := goCommand(ctx, root, nil, "list", "-m", "-f", "{{.Dir}}", string(m))
	if err == nil && dir == "" {
		err = fmt.Errorf("module %s is not downloaded: run go mod download %s", m, m)
	}
	return dir, err
}
