package basicagent

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/natrix-os/natrix/agent/door/basicagent/wire"
	"github.com/natrix-os/natrix/agent/execute"
)

// Bounds of asynchronous commands.
const (
	resultKept  = 24 * time.Hour
	resultMost  = 1 << 20  // bytes of one
	resultsMost = 16 << 20 // bytes of all
	tasksMost   = 1000
)

// tasks are the asynchronous commands, by number: numbers rise, so that a gap
// is noticed. The zero value is ready.
type tasks struct {
	mu      sync.Mutex
	running sync.WaitGroup
	boot    string // of the numbers of this process: those of another one are lost
	next    uint64
	all     map[string]*task
	bytes   int
}

type task struct {
	id                       string
	asked, started, finished time.Time
	state                    string
	result                   execute.Result
	gone                     bool // whether the output is
	cancel                   context.CancelFunc
}

// view is a task as the server sees it.
type view struct {
	Task     string `json:"task"`
	State    string `json:"state"`
	Asked    int64  `json:"asked"`
	Started  *int64 `json:"started"`
	Finished *int64 `json:"finished"`
	Exit     *int   `json:"exit_code"`
	Retcode  int    `json:"retcode,omitempty"`
	Bytes    int64  `json:"bytes"`
}

func (t *task) view() view {
	v := view{Task: t.id, State: t.state, Asked: t.asked.Unix(), Bytes: t.result.Bytes, Retcode: t.result.Code}
	unix := func(at time.Time) *int64 {
		if at.IsZero() {
			return nil
		}
		n := at.Unix()
		return &n
	}
	v.Started, v.Finished = unix(t.started), unix(t.finished)
	if !t.finished.IsZero() && t.result.Code == 0 {
		v.Exit = &t.result.Exit
	}
	return v
}

func (d *Door) asyncBash(ctx context.Context, r request) (wire.Answer, error) {
	x, err := bash(r, 86400)
	if err != nil {
		return wire.Answer{}, err
	}
	x.Keep = resultMost
	ttl, err := r.Whole("ttl", 86400, 1, 86400)
	if err != nil {
		return wire.Answer{}, err
	}
	s := &d.tasks
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire()
	if len(s.all) >= tasksMost {
		return wire.Answer{}, wire.Fail(wire.TooManyCommands, "%d tasks are kept: remove some", tasksMost)
	}
	if s.all == nil {
		s.all, s.boot = make(map[string]*task), strconv.FormatInt(time.Now().Unix(), 10)
	}
	s.next++
	ctx, cancel := context.WithCancel(ctx)
	t := &task{id: fmt.Sprintf("%s-%d", s.boot, s.next), asked: time.Now(), state: "ready", cancel: cancel}
	s.all[t.id] = t
	s.running.Go(func() {
		defer cancel()
		d.runTask(ctx, t, x, time.Duration(ttl)*time.Second)
	})
	a := wire.Success(nil)
	a.Task, a.State = t.id, t.state
	return a, nil
}

// runTask runs a task to its end. While the terminal does too much else it
// waits for its turn, until its time to begin is over.
func (d *Door) runTask(ctx context.Context, t *task, x execute.Request, ttl time.Duration) {
	s := &d.tasks
	s.mu.Lock()
	t.state, t.started = "running", time.Now()
	s.mu.Unlock()
	var result execute.Result
	var err error
	for {
		result, err = d.Shell.Run(ctx, x)
		if err == nil || wire.AsFailure(err).Code != wire.TooManyCommands || time.Since(t.asked) > ttl {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
			continue
		}
		break
	}
	if err != nil {
		f := wire.AsFailure(err)
		result.Code, result.Detail = int(f.Code), f.Detail
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t.result, t.finished, t.state = result, time.Now(), endState(result)
	if s.bytes += len(result.Output); s.bytes > resultsMost {
		s.drop()
	}
}

func endState(r execute.Result) string {
	switch {
	case r.Code == int(wire.Timeout):
		return "timeout"
	case r.Code == int(wire.Cancelled):
		return "revoked"
	case r.Code != 0 || r.Exit != 0:
		return "failed"
	}
	return "success"
}

// drop frees the oldest outputs until the rest is within bounds.
func (s *tasks) drop() {
	oldest := slices.SortedFunc(maps.Values(s.all), func(a, b *task) int { return a.finished.Compare(b.finished) })
	for _, t := range oldest {
		if s.bytes <= resultsMost {
			return
		}
		if !t.finished.IsZero() {
			s.bytes -= len(t.result.Output)
			t.result.Output, t.gone = nil, true
		}
	}
}

// expire forgets what ended a day ago.
func (s *tasks) expire() {
	for id, t := range s.all {
		if !t.finished.IsZero() && time.Since(t.finished) > resultKept {
			s.bytes -= len(t.result.Output)
			delete(s.all, id)
		}
	}
}

// find is the task that a request names. One of an earlier process of this
// terminal is lost, and says so. The lock is held.
func (s *tasks) find(r request) (*task, error) {
	id, given, err := r.Text("task")
	if err != nil {
		return nil, err
	}
	if !given {
		return nil, wire.Fail(wire.MissingParams, "task")
	}
	s.expire()
	if t, found := s.all[id]; found {
		return t, nil
	}
	boot, number, two := strings.Cut(id, "-")
	_, err = strconv.ParseUint(number, 10, 63)
	at, bad := strconv.ParseInt(boot, 10, 63)
	if two && err == nil && bad == nil && boot != s.boot && time.Since(time.Unix(at, 0)).Abs() < 31*24*time.Hour {
		return &task{id: id, state: "lost"}, nil
	}
	return nil, wire.Fail(wire.NoSuchTask, "%.80q", id)
}

func (d *Door) asyncStatus(_ context.Context, r request) (wire.Answer, error) {
	d.tasks.mu.Lock()
	defer d.tasks.mu.Unlock()
	t, err := d.tasks.find(r)
	if err != nil {
		return wire.Answer{}, err
	}
	a := wire.Success(t.view())
	a.Task, a.State = t.id, t.state
	return a, nil
}

func (d *Door) asyncList(context.Context, request) (wire.Answer, error) {
	d.tasks.mu.Lock()
	defer d.tasks.mu.Unlock()
	d.tasks.expire()
	views := make([]view, 0, len(d.tasks.all))
	for _, t := range d.tasks.all {
		views = append(views, t.view())
	}
	slices.SortFunc(views, func(a, b view) int { return cmp.Or(cmp.Compare(len(a.Task), len(b.Task)), cmp.Compare(a.Task, b.Task)) })
	return wire.Success(views), nil
}

func (d *Door) asyncResult(_ context.Context, r request) (wire.Answer, error) {
	offset, err := r.Whole("offset", 0, 0, resultMost)
	if err != nil {
		return wire.Answer{}, err
	}
	limit, err := r.Whole("limit", wire.OutputKept, 1, wire.OutputKept)
	if err != nil {
		return wire.Answer{}, err
	}
	d.tasks.mu.Lock()
	defer d.tasks.mu.Unlock()
	t, err := d.tasks.find(r)
	switch {
	case err != nil:
		return wire.Answer{}, err
	case t.gone || t.state == "lost":
		return wire.Answer{}, wire.Fail(wire.ResultExpired, "")
	case t.finished.IsZero():
		return wire.Answer{}, wire.Fail(wire.InvalidParams, "the task is %s", t.state)
	}
	from := min(int(offset), len(t.result.Output))
	to := min(from+int(limit), len(t.result.Output))
	text, encoding := wire.Text(t.result.Output[from:to])
	a := wire.Success(map[string]any{"output": text, "offset": from, "next": to, "eof": to == len(t.result.Output)})
	a.Task, a.State, a.Encoding, a.Truncated, a.Bytes = t.id, t.state, encoding, t.result.Truncated, &t.result.Bytes
	return a, nil
}

func (d *Door) asyncCancel(_ context.Context, r request) (wire.Answer, error) {
	d.tasks.mu.Lock()
	defer d.tasks.mu.Unlock()
	t, err := d.tasks.find(r)
	if err != nil {
		return wire.Answer{}, err
	}
	if t.cancel != nil {
		t.cancel()
	}
	a := wire.Success(nil)
	a.Task, a.State = t.id, t.state
	return a, nil
}

func (d *Door) asyncRemove(_ context.Context, r request) (wire.Answer, error) {
	d.tasks.mu.Lock()
	defer d.tasks.mu.Unlock()
	t, err := d.tasks.find(r)
	if err != nil {
		return wire.Answer{}, err
	}
	if t.finished.IsZero() && t.state != "lost" {
		return wire.Answer{}, wire.Fail(wire.InvalidParams, "the task is %s: cancel it first", t.state)
	}
	d.tasks.bytes -= len(t.result.Output)
	delete(d.tasks.all, t.id)
	return wire.Success(nil), nil
}

// wait returns when everything that the door started has ended.
func (d *Door) wait() {
	d.running.Wait()
	d.tasks.running.Wait()
	d.table.running.Wait()
}
