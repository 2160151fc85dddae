package command

import (
	"context"
	"fmt"
)

type linkKey struct{}
type progressKey struct{}
type remoteKey struct{}

// WithLink gives the link that a command's packets leave by unless its
// parameters name another: the one whose queue it came in on.
func WithLink(ctx context.Context, link string) context.Context {
	return context.WithValue(ctx, linkKey{}, link)
}

// LinkOf is the link given by WithLink; "" means by route.
func LinkOf(ctx context.Context) string {
	link, _ := ctx.Value(linkKey{}).(string)
	return link
}

// WithRemote says that whoever gave the command is not to be trusted with the
// files of this machine. [Set.Execute] says so of everything that it runs: its
// parameters came over a wire.
func WithRemote(ctx context.Context) context.Context {
	return context.WithValue(ctx, remoteKey{}, true)
}

// Remote reports whether WithRemote has been said.
func Remote(ctx context.Context) bool { return ctx.Value(remoteKey{}) != nil }

// WithProgress has show called with each line worth showing while a command
// runs, such as one reply of a ping. show is called by one goroutine at a time.
func WithProgress(ctx context.Context, show func(fmt.Stringer)) context.Context {
	return context.WithValue(ctx, progressKey{}, show)
}

// Progress shows a line to whoever asked for it through WithProgress.
func Progress(ctx context.Context, line fmt.Stringer) {
	if show, ok := ctx.Value(progressKey{}).(func(fmt.Stringer)); ok {
		show(line)
	}
}

// AlsoProgress is WithProgress beside whoever asked before.
func AlsoProgress(ctx context.Context, show func(fmt.Stringer)) context.Context {
	return WithProgress(ctx, func(line fmt.Stringer) {
		Progress(ctx, line)
		show(line)
	})
}
