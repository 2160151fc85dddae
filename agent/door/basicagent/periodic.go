package basicagent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/natrix-os/natrix/agent/door/basicagent/wire"
	"github.com/natrix-os/natrix/agent/execute"
	"github.com/robfig/cron/v3"
)

const tableMost = 50 // periodic tasks, as in the author's BootAgent

// table is the periodic tasks that a server set. It is kept in a file.
type table struct {
	mu      sync.Mutex
	running sync.WaitGroup
	entries map[string]*periodic
}

// periodic is one of them: what is kept, and what is known besides.
type periodic struct {
	Name     string `json:"name"`
	Schedule string `json:"schedule"`
	Cmd      string `json:"cmd"`
	User     string `json:"user,omitempty"`
	Group    string `json:"group,omitempty"`
	Timeout  int64  `json:"timeout"` // s

	when   cron.Schedule
	stop   context.CancelFunc
	runs   int
	missed int // times that came while it still ran
	last   int // exit status
}

// schedule reads six fields: second, minute, hour, day of month, month, day of
// week. Of the two days one must be ?, unless both leave everything open; 7 is
// Sunday, as 0 is.
func schedule(text string) (cron.Schedule, error) {
	f := strings.Fields(text)
	if len(f) != 6 {
		return nil, wire.Fail(wire.InvalidSchedule, "%.80q has %d fields and not 6", text, len(f))
	}
	for i, field := range f {
		if strings.Contains(field, "?") && (field != "?" || i != 3 && i != 5) {
			return nil, wire.Fail(wire.InvalidSchedule, "? stands alone, for the day of the month or of the week")
		}
	}
	open := func(field string) bool { return field == "?" || field == "*" }
	if f[3] == "?" && f[5] == "?" || !open(f[3]) && f[5] != "?" || !open(f[5]) && f[3] != "?" {
		return nil, wire.Fail(wire.InvalidSchedule, "one of the days, of the month and of the week, must be ?")
	}
	var err error
	if f[5], err = weekdays(f[5]); err != nil {
		return nil, err
	}
	parser := cron.NewParser(cron.Second | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow)
	when, err := parser.Parse(strings.Join(f, " "))
	if err != nil {
		return nil, wire.Fail(wire.InvalidSchedule, "%v", err)
	}
	if when.Next(time.Now()).IsZero() {
		return nil, wire.Fail(wire.InvalidSchedule, "%.80q never comes", text)
	}
	return when, nil
}

var dayNames = strings.NewReplacer("sun", "0", "mon", "1", "tue", "2", "wed", "3", "thu", "4", "fri", "5", "sat", "6")

var dayRange = regexp.MustCompile(`^([0-7])(?:-([0-7]))?(?:/([1-7]))?$`)

// weekdays writes a field of days as a list of 0 to 6.
func weekdays(field string) (string, error) {
	if field == "?" || strings.HasPrefix(field, "*") {
		return field, nil
	}
	var days []string
	for part := range strings.SplitSeq(dayNames.Replace(strings.ToLower(field)), ",") {
		m := dayRange.FindStringSubmatch(part)
		if m == nil {
			return "", wire.Fail(wire.InvalidSchedule, "%.80q is no day of the week", part)
		}
		from, _ := strconv.Atoi(m[1]) // one digit
		to, step := from, 1
		if m[2] != "" {
			to, _ = strconv.Atoi(m[2])
		} else if m[3] != "" {
			to = 6
		}
		if m[3] != "" {
			step, _ = strconv.Atoi(m[3])
		}
		if from > to {
			return "", wire.Fail(wire.InvalidSchedule, "%.80q runs backwards", part)
		}
		for ; from <= to; from += step {
			days = append(days, strconv.Itoa(from%7))
		}
	}
	return strings.Join(days, ","), nil
}

var entryName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

func (d *Door) cronSet(_ context.Context, r request) (wire.Answer, error) {
	x, err := bash(r, 86400)
	if err != nil {
		return wire.Answer{}, err
	}
	p := &periodic{Cmd: x.Text, User: x.User, Group: x.Group, Timeout: int64(x.Timeout / time.Second)}
	for name, to := range map[string]*string{"name": &p.Name, "schedule": &p.Schedule} {
		var given bool
		if *to, given, err = r.Text(name); err != nil {
			return wire.Answer{}, err
		}
		if !given {
			return wire.Answer{}, wire.Fail(wire.MissingParams, "%s", name)
		}
	}
	if !entryName.MatchString(p.Name) {
		return wire.Answer{}, wire.Fail(wire.InvalidParams, "a name is 1 to 64 letters, digits, dots, hyphens and underscores")
	}
	if p.when, err = schedule(p.Schedule); err != nil {
		return wire.Answer{}, err
	}
	t := &d.table
	t.mu.Lock()
	defer t.mu.Unlock()
	before, replaced := t.entries[p.Name]
	if !replaced && len(t.entries) >= tableMost {
		return wire.Answer{}, wire.Fail(wire.ScheduleTableFull, "%d entries", tableMost)
	}
	t.entries[p.Name] = p
	if err := t.save(d); err != nil {
		if delete(t.entries, p.Name); replaced {
			t.entries[p.Name] = before
		}
		return wire.Answer{}, wire.Fail(wire.ResourceLimit, "%v", err)
	}
	if replaced {
		before.stop()
	}
	t.start(d, p)
	return wire.Success(nil), nil
}

func (d *Door) cronList(context.Context, request) (wire.Answer, error) {
	type listed struct {
		*periodic
		Next   int64 `json:"next"`
		Runs   int   `json:"runs"`
		Missed int   `json:"missed"`
		Last   int   `json:"last_retcode"`
	}
	d.table.mu.Lock()
	defer d.table.mu.Unlock()
	list := make([]listed, 0, len(d.table.entries))
	for _, p := range d.table.entries {
		copied := *p
		list = append(list, listed{&copied, p.when.Next(time.Now()).Unix(), p.runs, p.missed, p.last})
	}
	slices.SortFunc(list, func(a, b listed) int { return cmp.Compare(a.Name, b.Name) })
	return wire.Success(list), nil
}

func (d *Door) cronRemove(_ context.Context, r request) (wire.Answer, error) {
	name, given, err := r.Text("name")
	if err != nil {
		return wire.Answer{}, err
	}
	if !given {
		return wire.Answer{}, wire.Fail(wire.MissingParams, "name")
	}
	t := &d.table
	t.mu.Lock()
	defer t.mu.Unlock()
	p, found := t.entries[name]
	if !found {
		return wire.Answer{}, wire.Fail(wire.NoSuchTask, "%.80q", name)
	}
	delete(t.entries, name)
	if err := t.save(d); err != nil {
		t.entries[name] = p
		return wire.Answer{}, wire.Fail(wire.ResourceLimit, "%v", err)
	}
	p.stop()
	return wire.Success(nil), nil
}

// load starts the tasks of the file. Where the policy no longer lets a server
// leave any, there are none; those that are not as this door writes them are
// left out, and named.
func (t *table) load(d *Door) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.entries = make(map[string]*periodic)
	if d.Shell == nil || !d.Config.AllowPeriodic {
		return nil
	}
	body, err := os.ReadFile(d.files().path("periodic.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var kept sealed
	if err == nil {
		err = json.Unmarshal(body, &kept)
	}
	if err == nil {
		err = kept.verify(d.files())
	}
	if err != nil {
		d.Log.Error("the periodic tasks are not run", "err", err)
		return nil
	}
	for _, p := range kept.entries {
		if p.when, err = schedule(p.Schedule); err != nil || len(t.entries) >= tableMost {
			d.Log.Error("a periodic task is not run", "id", p.Name, "err", err)
			continue
		}
		t.entries[p.Name] = p
		t.start(d, p)
	}
	return nil
}

// reseal signs the file again, for a terminal that has a new key.
func (t *table) reseal(d *Door) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.entries) == 0 {
		return nil
	}
	return t.save(d)
}

// save writes the file; the lock is held.
func (t *table) save(d *Door) error {
	list := make([]*periodic, 0, len(t.entries))
	for _, p := range t.entries {
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b *periodic) int { return cmp.Compare(a.Name, b.Name) })
	body, err := seal(d.files(), list)
	if err != nil {
		return err
	}
	return d.files().write("periodic.json", body)
}

// start runs a task at its times until it is stopped; the lock is held. It
// never runs twice at once: a time that comes while it runs is missed.
func (t *table) start(d *Door, p *periodic) {
	ctx, cancel := context.WithCancel(d.ctx)
	p.stop = cancel
	t.running.Go(func() {
		defer cancel()
		for n := 1; ; n++ {
			next := p.when.Next(time.Now())
			if !waitUntil(ctx, next) {
				return
			}
			r := execute.Request{
				ID: fmt.Sprintf("%s %d", p.Name, n), Method: "cron", Text: p.Cmd, User: p.User, Group: p.Group,
				Timeout: time.Duration(p.Timeout) * time.Second, Keep: wire.OutputKept,
			}
			result, err := d.Shell.Run(ctx, r)
			t.mu.Lock()
			p.runs++
			p.last = result.Exit
			if err != nil {
				p.last = int(wire.AsFailure(err).Code)
			}
			for at := p.when.Next(next); at.Before(time.Now()) && !at.IsZero() && p.missed < 1<<30; at = p.when.Next(at) {
				p.missed++
			}
			t.mu.Unlock()
			d.Log.Info("done", "cmd", "cron", "id", r.ID, "err", err)
		}
	})
}

// waitUntil waits for a time of the wall clock, which may be set meanwhile, and
// returns false when ctx ends.
func waitUntil(ctx context.Context, at time.Time) bool {
	for {
		left := at.Round(0).Sub(time.Now().Round(0))
		if left <= 0 {
			return ctx.Err() == nil
		}
		select {
		case <-time.After(min(left, 30*time.Second)):
		case <-ctx.Done():
			return false
		}
	}
}
