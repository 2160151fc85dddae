//go:build !location

package location

// embedded is none: the program was built without -tags location.
func embedded() [][]byte { return nil }
