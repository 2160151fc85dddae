package rtstat

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/natrix-os/natrix/agent/command"
)

// runsMost is how many commands a client has under way.
const runsMost = 4

// order is the argument of the run command: what a person typed into the page.
type order struct {
	ID          string            `json:"id"`
	Command     string            `json:"command"`
	Destination string            `json:"destination"`
	Link        string            `json:"link"`
	Params      map[string]string `json:"params"`
}

// runs are the commands that a client has under way. Its goroutine adds them;
// they remove themselves.
type runs struct {
	mu      sync.Mutex
	cancels map[string]context.CancelFunc
	running sync.WaitGroup
}

func (r *runs) wait() { r.running.Wait() }

// begin makes room for a command. The caller ends it.
func (r *runs) begin(ctx context.Context, id string) (inner context.Context, end func(), err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, taken := r.cancels[id]; taken || len(r.cancels) >= runsMost {
		return nil, nil, errTooManyRuns
	}
	if r.cancels == nil {
		r.cancels = make(map[string]context.CancelFunc)
	}
	inner, cancel := context.WithCancel(ctx)
	r.cancels[id] = cancel
	return inner, func() {
		cancel()
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.cancels, id)
	}, nil
}

func (r *runs) cancel(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	cancel, found := r.cancels[id]
	if found {
		cancel()
	}
	return found
}

// granted are the commands that a client may run: none unless a token is set.
func (s *Server) granted() []string {
	names := []string{}
	if s.gate.open() {
		return names
	}
	for d := range s.Core.Only(s.Config.Commands...).All() {
		names = append(names, d.Name)
	}
	return names
}

// run starts a command of the core. What it says as it goes is sent as Progress,
// its document as Result, both with the id that the client gave.
func (c *client) run(ctx context.Context, r request) error {
	set := c.Core.Only(c.granted()...)
	text, _ := r.argument()
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil || o.ID == "" || len(o.ID) > 64 || o.Destination == "" {
		return errBadRun
	}
	if _, found := set.Lookup(o.Command); !found {
		return errNotGranted
	}
	inner, end, err := c.runs.begin(ctx, o.ID)
	if err != nil {
		return err
	}
	c.runs.running.Go(func() {
		defer end()
		c.execute(ctx, inner, set, o)
	})
	return nil
}

// progress is what a running command says.
type progress struct {
	ID   string `json:"id"`
	Line string `json:"line"`
}

// verdict is how a command ended.
type verdict struct {
	ID     string          `json:"id"`
	Result json.RawMessage `json:"result"` // the wire document
}

// execute runs a command until it is done or inner ends; its result is sent
// unless ctx, that of the client, has ended.
func (c *client) execute(ctx, inner context.Context, set command.Set, o order) {
	shown := command.WithProgress(inner, func(l fmt.Stringer) {
		if message, err := document("Progress", progress{o.ID, l.String()}); err == nil {
			select {
			case c.lines <- message:
			default: // a client that reads too slowly misses some
			}
		}
	})
	result := set.Execute(shown, command.Command{
		Name: o.Command, Destination: o.Destination, Link: o.Link, Params: o.Params, Received: time.Now(),
	})
	if c.Recent != nil {
		c.Recent.Add(result)
	}
	c.Log.Info("done", "cmd", o.Command, "dst", result.Command.Target(), "from", c.from, "err", result.Err)
	message, err := document("Result", verdict{o.ID, command.Encode(result)})
	if err != nil {
		c.Log.Warn("result cannot be sent", "err", err)
		return
	}
	select {
	case c.lines <- message:
	case <-ctx.Done():
	}
}

func (c *client) cancel(_ context.Context, r request) error {
	if id, _ := r.argument(); !c.runs.cancel(id) {
		return errNothingToCancel
	}
	return nil
}
