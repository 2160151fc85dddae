package packet

import (
	"fmt"
	"runtime"

	"github.com/vishvananda/netns"
)

// home is the network namespace that an engine was opened in. It is none on
// systems without /proc, which have but one.
type home struct{ ns netns.NsHandle }

func newHome() home {
	ns, err := netns.Get()
	if err != nil {
		return home{netns.None()}
	}
	return home{ns}
}

func (h *home) close() {
	if h.ns.IsOpen() {
		h.ns.Close()
	}
}

// do runs f in the namespace, which is the current one unless a program moves
// its threads about.
func (h home) do(f func() error) error {
	runtime.LockOSThread()
	here, err := netns.Get()
	if err != nil || !h.ns.IsOpen() || here.Equal(h.ns) {
		here.Close()
		runtime.UnlockOSThread()
		return f()
	}
	defer here.Close()
	if err := netns.Set(h.ns); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter the engine's network namespace: %w", err)
	}
	err = f()
	if back := netns.Set(here); back != nil {
		return fmt.Errorf("leave the engine's network namespace: %w", back) // the thread stays locked: nobody else may have it
	}
	runtime.UnlockOSThread()
	return err
}
