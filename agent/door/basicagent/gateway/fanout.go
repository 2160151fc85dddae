package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/natrix-os/natrix/agent/door/basicagent/wire"
)

const (
	hostsMost = 10_000   // of one request
	askedMost = 256      // terminals that are asked at the same time
	bodyMost  = 1 << 20  // bytes of a request
	gathered  = 64 << 20 // bytes of the answers to one request; what is beyond is left out and says so
)

// Summary is the answer to a request for many terminals.
type Summary struct {
	ID       string            `json:"id"`
	Resp     string            `json:"resp"`
	Retcode  int               `json:"retcode"` // 206 if some terminals failed
	Message  string            `json:"message"`
	Response []json.RawMessage `json:"response"` // in the order of hosts
}

// FanOut sends a request to all the terminals that its hosts name, and gathers
// the answers. It returns when all have answered or ctx ends; a terminal that
// has not by then is one that did not answer in time.
func (g *Gateway) FanOut(ctx context.Context, body []byte) (Summary, error) {
	keys, err := wire.Object(body)
	if err != nil {
		return Summary{}, err
	}
	id, err := wire.Identifier(keys["id"])
	if err != nil {
		return Summary{}, err
	}
	var hosts []string
	if err := json.Unmarshal(keys["hosts"], &hosts); err != nil || len(hosts) == 0 || len(hosts) > hostsMost {
		return Summary{}, wire.Fail(wire.InvalidParams, "hosts is not a list of 1 to %d ids of terminals", hostsMost)
	}
	if keys["method"] == nil {
		return Summary{}, wire.Fail(wire.MissingParams, "method")
	}
	delete(keys, "hosts")
	s := Summary{ID: id, Resp: "success", Message: "Normal termination", Response: make([]json.RawMessage, len(hosts))}
	var asked sync.WaitGroup
	var mu sync.Mutex
	total, failed := 0, false
	places := make(chan struct{}, askedMost)
	for i, name := range hosts {
		places <- struct{}{} // every asking ends with ctx
		asked.Go(func() {
			defer func() { <-places }()
			answer, ok := g.answerOf(ctx, name, keys)
			mu.Lock()
			defer mu.Unlock()
			if total += len(answer); total > gathered {
				answer, ok = failure(name, wire.Fail(wire.TooLarge, "the answers of all")), false
			}
			s.Response[i] = answer
			failed = failed || !ok
		})
	}
	asked.Wait()
	if failed {
		s.Retcode, s.Message = int(wire.SomeFailed), wire.SomeFailed.String()
	}
	return s, nil
}

// answerOf is a terminal's answer with its name in the place of the id, and
// whether it is a success.
func (g *Gateway) answerOf(ctx context.Context, name string, request map[string]json.RawMessage) (json.RawMessage, bool) {
	line, err := g.Ask(ctx, strings.ToLower(name), request)
	if err != nil {
		return failure(name, err), false
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(line, &keys); err != nil {
		return failure(name, wire.Fail(wire.Malformed, "%v", err)), false
	}
	delete(keys, "id")
	keys["host"], _ = json.Marshal(name) // a string
	body, err := json.Marshal(keys)
	if err != nil {
		return failure(name, err), false
	}
	return body, bytes.Equal(keys["resp"], []byte(`"success"`))
}

func failure(name string, err error) json.RawMessage {
	a := wire.Failed(err)
	a.Host = name
	return a.Encode(wire.FromAgent)
}

// Handler is the REST call: POST /requests takes what FanOut does, GET /hosts
// lists the terminals. Both want the bearer token. Requests wait for at most
// within, or what ?timeout= says in seconds.
func (g *Gateway) Handler(token string, within time.Duration) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /hosts", func(w http.ResponseWriter, _ *http.Request) {
		names := g.Hosts()
		slices.Sort(names)
		reply(w, http.StatusOK, map[string]any{"hosts": names})
	})
	mux.HandleFunc("POST /requests", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyMost))
		if err != nil {
			reply(w, http.StatusRequestEntityTooLarge, wire.Failed(wire.Fail(wire.TooLarge, "")))
			return
		}
		patience := within
		if text := r.URL.Query().Get("timeout"); text != "" {
			d, err := time.ParseDuration(text + "s")
			if err != nil || d <= 0 || d > time.Hour {
				reply(w, http.StatusBadRequest, wire.Failed(wire.Fail(wire.InvalidParams, "timeout is not a number of seconds up to 3600")))
				return
			}
			patience = d
		}
		ctx, cancel := context.WithTimeout(r.Context(), patience)
		defer cancel()
		s, err := g.FanOut(ctx, body)
		if err != nil {
			reply(w, http.StatusBadRequest, wire.Failed(err))
			return
		}
		reply(w, http.StatusOK, s)
	})
	return authorized(token, mux)
}

func reply(w http.ResponseWriter, status int, document any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(document) // a client that is gone needs no answer
}
