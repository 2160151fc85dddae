package report

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/natrix-os/natrix/sysinfo/netif"
)

// How often the public addresses are looked at and, if there is a reason,
// looked up: an address that is old, or was found from another local address,
// or was not found.
const (
	publicLook  = time.Minute
	publicAge   = 30 * time.Minute
	publicLimit = 10 * time.Second // for one service
	publicBody  = 4 << 10          // of an answer, bytes
)

// publicTry is what was last found out about the public address of a link.
type publicTry struct {
	local  netip.Addr // the link's address then
	public netip.Addr // zero if no service told
	when   time.Time
}

// Run keeps the public addresses of all links up to date until ctx ends, when
// it returns nil. Without echo services it has nothing to do. Reports never
// wait for it.
func (r *Reporter) Run(ctx context.Context) error {
	if len(r.config.Echo) == 0 {
		<-ctx.Done()
		return nil
	}
	changed := make(chan struct{}, 1)
	var watching sync.WaitGroup
	defer watching.Wait()
	watching.Go(func() { watchLinks(ctx, changed) })
	ticker := time.NewTicker(publicLook)
	defer ticker.Stop()
	for {
		// An error concerns one link or all of them now, not the next round.
		_ = r.Refresh(ctx)
		select {
		case <-ticker.C:
		case <-changed: // a lease came, or a cable was plugged in
		case <-ctx.Done():
			return nil
		}
	}
}

// watchLinks tells of changes until ctx ends, those that come quicker than they
// are taken as one. Without netlink there is still the ticker.
func watchLinks(ctx context.Context, changed chan<- struct{}) {
	for range netif.Watch(ctx) {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
}

// Refresh looks up the public addresses that are missing or old, all at the
// same time and each by its own link. The error names links without an answer.
func (r *Reporter) Refresh(ctx context.Context) error {
	links, err := netif.Links()
	if err != nil {
		return err
	}
	terminals := netif.Terminals(links)
	errs := make([]error, len(terminals))
	var wg sync.WaitGroup
	for i, l := range terminals {
		addr := local(l).Addr()
		if len(r.config.Echo) == 0 || !addr.IsValid() || !l.Carrier || r.known(l.Name, addr) {
			continue
		}
		wg.Go(func() {
			public, err := ask(ctx, r.config.Echo, netif.Dialer(l.Name, addr).DialContext)
			if err != nil {
				errs[i] = fmt.Errorf("public address of %s: %w", l.Name, err)
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			r.public[l.Name] = publicTry{local: addr, public: public, when: time.Now()}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// known tells whether the address of a link needs no looking up.
func (r *Reporter) known(link string, local netip.Addr) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	try := r.public[link]
	return try.local == local && try.public.IsValid() && time.Since(try.when) < publicAge
}

// publicOf returns the public address of a link, zero if it is not known for
// the address that the link has now.
func (r *Reporter) publicOf(link string, local netip.Addr) netip.Addr {
	r.mu.Lock()
	defer r.mu.Unlock()
	if try := r.public[link]; try.local == local {
		return try.public
	}
	return netip.Addr{}
}

// dial connects by one link and from one address.
type dial func(ctx context.Context, network, addr string) (net.Conn, error)

// ask asks one service after the other what address dial comes from.
func ask(ctx context.Context, services []string, d dial) (netip.Addr, error) {
	var errs []error
	for _, service := range services {
		a, err := askOne(ctx, service, d)
		if err == nil {
			return a, nil
		}
		errs = append(errs, fmt.Errorf("ask %s: %w", service, err))
	}
	return netip.Addr{}, errors.Join(errs...)
}

func askOne(ctx context.Context, service string, d dial) (netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, publicLimit)
	defer cancel()
	if server, ok := strings.CutPrefix(service, "stun:"); ok {
		return askSTUN(ctx, server, d)
	}
	return askHTTP(ctx, service, d)
}

func askHTTP(ctx context.Context, url string, d dial) (netip.Addr, error) {
	client := http.Client{Transport: &http.Transport{DialContext: d, DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return netip.Addr{}, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return netip.Addr{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return netip.Addr{}, errors.New(resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, publicBody))
	if err != nil {
		return netip.Addr{}, err
	}
	a, ok := findAddr(string(body))
	if !ok {
		return netip.Addr{}, errors.New("no address in the answer")
	}
	return a, nil
}

// findAddr returns the first address in a text, which may be JSON, HTML or
// nothing else. Services behind a proxy list several; the first is the caller's.
func findAddr(text string) (netip.Addr, bool) {
	words := strings.FieldsFuncSeq(text, func(r rune) bool {
		return !strings.ContainsRune("0123456789abcdefABCDEF.:", r)
	})
	for w := range words {
		if a, err := netip.ParseAddr(w); err == nil && a.IsGlobalUnicast() {
			return a.Unmap(), true
		}
	}
	return netip.Addr{}, false
}
