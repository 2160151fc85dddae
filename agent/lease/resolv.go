package lease

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/google/renameio/v2"
)

// names is what one link contributes to resolv.conf.
type names struct {
	link    string
	servers []netip.Addr
	search  []string
}

// resolver writes resolv.conf from what each source (DHCP or router
// advertisements of one link) has to offer. It may be used from any goroutine.
type resolver struct {
	path    string       // no file is written while empty
	instead []netip.Addr // of all that the sources offer, if there are any

	mu      sync.Mutex
	sources map[source]names
}

type source struct {
	index int
	v6    bool
}

// set replaces what a source offers; names without servers take it away.
func (r *resolver) set(s source, n names) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sources == nil {
		r.sources = make(map[source]names)
	}
	if r.sources[s] = n; len(n.servers) == 0 {
		delete(r.sources, s)
	}
	return r.write()
}

// drop takes away what a link offers, by whichever way it came.
func (r *resolver) drop(index int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.sources, source{index, false})
	delete(r.sources, source{index, true})
	return r.write()
}

// write leaves a file alone that is right already: its readers look at its time.
func (r *resolver) write() error {
	if r.path == "" {
		return nil
	}
	text := r.text()
	if old, err := os.ReadFile(r.path); err == nil && bytes.Equal(old, text) {
		return nil
	}
	if err := renameio.WriteFile(r.path, text, 0o644); err != nil {
		return fmt.Errorf("write name servers: %w", err)
	}
	return nil
}

// text is the file: links in the order of their index, IPv4 before IPv6, no
// server and no domain twice.
func (r *resolver) text() []byte {
	var servers, search []string
	for _, s := range r.order() {
		n := r.sources[s]
		for _, a := range n.servers {
			if a.Is6() && a.IsLinkLocalUnicast() {
				a = a.WithZone(n.link)
			}
			servers = append(servers, a.String())
		}
		search = append(search, n.search...)
	}
	if len(r.instead) > 0 {
		servers = nil
		for _, a := range r.instead {
			servers = append(servers, a.String())
		}
	}
	var b bytes.Buffer
	for _, a := range unique(servers) {
		fmt.Fprintf(&b, "nameserver %s\n", a)
	}
	if len(search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(unique(search), " "))
	}
	return b.Bytes()
}

func (r *resolver) order() []source {
	var all []source
	for s := range r.sources {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b source) int {
		if a.index != b.index {
			return a.index - b.index
		}
		if a.v6 == b.v6 {
			return 0
		}
		if b.v6 {
			return -1
		}
		return 1
	})
	return all
}

// unique keeps the first of each.
func unique(all []string) []string {
	var once []string
	for _, s := range all {
		if !slices.Contains(once, s) {
			once = append(once, s)
		}
	}
	return once
}
