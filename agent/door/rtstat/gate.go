package rtstat

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"net/netip"
	"sync"
	"time"
)

// What a gate lets through.
const (
	guesses     = 5           // wrong tokens that an address may try at once
	guessEvery  = time.Second // and then one in
	guessers    = 4096        // addresses that are remembered at most
	failuresMax = 5           // wrong tokens on one connection, then it is closed
)

// gate counts clients and slows down those that guess the token.
type gate struct {
	token string
	most  int // clients at once; 0 is any number

	mu       sync.Mutex
	clients  int
	guessing map[netip.Addr]time.Time // when all guesses of an address are forgotten
}

func newGate(token string, most int) *gate {
	return &gate{token: token, most: most, guessing: make(map[netip.Addr]time.Time)}
}

// enter takes a place, which leave gives back.
func (g *gate) enter() (leave func(), ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.most > 0 && g.clients >= g.most {
		return nil, false
	}
	g.clients++
	return sync.OnceFunc(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.clients--
	}), true
}

func (g *gate) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.clients
}

// open reports whether nobody needs a token.
func (g *gate) open() bool { return g.token == "" }

// knows compares tokens in a time that tells nothing about the right one, its
// length included.
func (g *gate) knows(token string) bool {
	given, want := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(g.token))
	return !g.open() && subtle.ConstantTimeCompare(given[:], want[:]) == 1
}

// delay is how long an address has to wait before its next try.
func (g *gate) delay(from netip.Addr) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	until, guessed := g.guessing[from]
	if !guessed {
		return 0
	}
	return max(0, time.Until(until)-(guesses-1)*guessEvery)
}

// missed notes a wrong token. Addresses that have waited are forgotten; if too
// many are left, those that come next are not told apart.
func (g *gate) missed(from netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	if len(g.guessing) >= guessers {
		for a, until := range g.guessing {
			if until.Before(now) {
				delete(g.guessing, a)
			}
		}
	}
	until := g.guessing[from]
	if until.IsZero() && len(g.guessing) >= guessers {
		from = netip.Addr{}
		until = g.guessing[from]
	}
	if until.Before(now) {
		until = now
	}
	g.guessing[from] = until.Add(guessEvery)
}

// try compares a token once its sender may try again.
func (g *gate) try(ctx context.Context, from netip.Addr, token string) bool {
	if wait := g.delay(from); wait > 0 {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return false
		}
	}
	if !g.knows(token) {
		g.missed(from)
		return false
	}
	return true
}
