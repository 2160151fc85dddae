package image

import (
	"context"
	"encoding/json"
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
	answer, err := goCommand(ctx, root, nil, "mod", "download", "-json", string(m))
	if err != nil {
		return "", err
	}
	var module struct{ Dir string }
	err = json.Unmarshal([]byte(answer), &module)
	return module.Dir, err
}
