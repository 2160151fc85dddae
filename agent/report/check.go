package report

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Document is a report, or a part of one: JSON for a server, a page for people.
type Document interface {
	json.Marshaler
	WriteText(w io.Writer)
}

// Part is one part of a long report: "system", "hardware" or "network".
type Part struct {
	Name   string
	Report Advance // of which the other parts may be empty
}

// Checks returns the words that [Reporter.Check] knows.
func Checks() []string {
	return []string{"basic", "advance", "system", "hardware", "network"}
}

// Wires are values of the types that the documents of Check marshal to, by their
// words.
func Wires() map[string]any {
	wires := make(map[string]any)
	for _, word := range Checks() {
		wires[word] = wireAdvance{}
	}
	wires["basic"] = wireBasic{}
	return wires
}

// Check makes what one of Checks names: a report, or a part of the long one.
// It asks the echo services for public addresses first, unlike reports, which
// leave that to Run. The error has the meaning of that of [Reporter.Basic].
func (r *Reporter) Check(ctx context.Context, what string) (Document, error) {
	switch what {
	case "basic":
		refreshed := r.refresh(ctx)
		b, err := r.Basic(ctx)
		return b, errors.Join(refreshed, err)
	case "advance":
		refreshed := r.refresh(ctx)
		a, err := r.Advance(ctx)
		return a, errors.Join(refreshed, err)
	case "system":
		a, err := r.make(ctx, r.addSystem, r.addPrograms)
		return Part{what, a}, err
	case "hardware":
		a, err := r.make(ctx, r.addHardware, r.addSystem, r.addSample)
		return Part{what, a}, err
	case "network":
		refreshed := r.refresh(ctx)
		a, err := r.make(ctx, r.addNetworks)
		return Part{what, a}, errors.Join(refreshed, err)
	}
	return nil, fmt.Errorf("no check %q (there are %s)", what, strings.Join(Checks(), ", "))
}

// refresh is Refresh within the time that a person waits.
func (r *Reporter) refresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, accessLimit)
	defer cancel()
	return r.Refresh(ctx)
}
