package rtstat

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// policy lets the page load nothing that this terminal does not serve. It may
// connect elsewhere, because a page can show several terminals.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// handler serves the protocol on any path that is asked to become a WebSocket,
// and else the page and documents. It adds clients to the group.
func (s *Server) handler(clients *sync.WaitGroup) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /", pages())
	mux.Handle("GET /api/v1/snapshot", s.guarded(s.snapshot))
	mux.Handle("GET /api/v1/history", s.guarded(s.chronicle))
	mux.Handle("GET /metrics", s.guarded(s.metrics))
	mux.Handle("GET /probe", s.guarded(s.blackbox))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
			clients.Add(1)
			defer clients.Done()
			s.acceptSocket(w, r)
			return
		}
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		mux.ServeHTTP(w, r)
	})
}

// bearer is the token of a request: of RFC 6750, or the password of basic
// authentication, whose user does not matter.
func bearer(r *http.Request) (token string, given bool) {
	if _, password, ok := r.BasicAuth(); ok {
		return password, true
	}
	scheme, token, found := strings.Cut(r.Header.Get("Authorization"), " ")
	return token, found && strings.EqualFold(scheme, "Bearer")
}

// guarded wants the token, if one is set.
func (s *Server) guarded(next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.gate.open() {
			next(w, r)
			return
		}
		from := sender(r.RemoteAddr)
		token, given := bearer(r)
		if wait := s.gate.delay(from); given && wait > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)+1))
			http.Error(w, "too many wrong tokens from this address", http.StatusTooManyRequests)
			return
		}
		if !given || !s.gate.try(r.Context(), from, token) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="natrix"`)
			http.Error(w, "the token of this terminal is wanted: Authorization: Bearer TOKEN", http.StatusUnauthorized)
			return
		}
		next(w, r)
	})
}

// snapshot is the present state.
func (s *Server) snapshot(w http.ResponseWriter, r *http.Request) {
	defer s.hub.subscribe()()
	now, err := s.hub.snapshot(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	writeJSON(w, now)
}

// chronicle is the last five minutes.
func (s *Server) chronicle(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.history()) }

func (s *Server) history() chronicle {
	c := s.hub.history()
	c.Probes = s.Recent.last(outcomesKept)
	return c
}

func writeJSON(w http.ResponseWriter, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Write(append(body, '\n'))
}
