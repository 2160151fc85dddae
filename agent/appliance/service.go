package appliance

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/natrix-os/natrix/agent/door/shell"
)

// pace is how quickly something that ends is started again: after first, then
// after twice as long each time up to most, and after first again once it ran
// for well.
type pace struct {
	first, most, well time.Duration
}

var (
	servicePace = pace{first: time.Second, most: time.Minute, well: time.Minute}
	shellPace   = pace{first: 100 * time.Millisecond, most: 10 * time.Second, well: 2 * time.Second}
)

// keep does run again whenever it ends, until ctx does.
func (p pace) keep(ctx context.Context, run func(context.Context)) {
	for pause := p.first; ctx.Err() == nil; {
		started := time.Now()
		run(ctx)
		if time.Since(started) >= p.well {
			pause = p.first
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		pause = min(2*pause, p.most)
	}
}

// service is a process that is to run for as long as the machine does.
type service struct {
	name     string
	args     []string
	children *children
	journal  *journal
	log      *slog.Logger

	retire  func()        // has the service end for good
	retired chan struct{} // closed then

	mu       sync.Mutex
	stop     func()        // ends the process, to be started again
	pid      int           // 0 while it does not run
	since    time.Duration // since boot, of the last start or end
	restarts int
	heard    time.Duration // since boot, of the last sign of life
	aborted  int           // PID that was told to end for its silence
	last     string        // how it ended last, and why as far as it said
}

// patience is how long a service may take to end when it is told to.
const patience = 5 * time.Second

// run runs the service until it ends by itself or ctx does. A restart that was
// asked for counts as neither.
func (s *service) run(ctx context.Context) {
	for again := true; again && ctx.Err() == nil; {
		inner, stop := context.WithCancel(ctx)
		s.setStop(stop)
		s.once(inner)
		again = inner.Err() != nil
		stop()
	}
}

func (s *service) setStop(stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stop = stop
}

// restart has the service end and start again at once, with what its settings
// are by now. One that is waiting to be started again is left to that.
func (s *service) restart() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pid != 0 {
		s.stop()
	}
}

// once starts the service and waits for its end, which ctx brings about.
func (s *service) once(ctx context.Context) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		s.log.Error("service not started", "service", s.name, "err", err)
		return
	}
	defer null.Close()
	r, w, err := os.Pipe()
	if err != nil {
		s.log.Error("service not started", "service", s.name, "err", err)
		return
	}
	defer r.Close()
	p, err := s.children.start(s.args, false, null, w, w)
	w.Close()
	if err != nil {
		s.log.Error("service not started", "service", s.name, "err", err)
		return
	}
	started := time.Now()
	s.started(p.pid)
	var said lastWords
	read := make(chan struct{})
	go func() { defer close(read); s.journal.copy(r, said.hear) }()

	status := p.end(ctx)
	unix.Kill(-p.pid, unix.SIGKILL) // what it left behind in its session
	r.SetReadDeadline(time.Now().Add(time.Second))
	<-read
	if ctx.Err() != nil {
		s.ended("")
	} else {
		s.ended(describe(status) + ": " + said.String())
		s.log.Error("service ended", "service", s.name, "how", describe(status), "last", said.String(), "ran", time.Since(started).Round(time.Millisecond))
	}
}

// end waits for the process, which is asked to end when ctx does, and made to
// a little later.
func (c child) end(ctx context.Context) unix.WaitStatus {
	select {
	case status := <-c.status:
		return status
	case <-ctx.Done():
	}
	unix.Kill(c.pid, unix.SIGTERM)
	select {
	case status := <-c.status:
		return status
	case <-time.After(patience):
	}
	unix.Kill(c.pid, unix.SIGKILL)
	return <-c.status
}

func (s *service) started(pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last != "" {
		s.restarts++
	}
	s.pid, s.since = pid, sinceBoot()
}

func (s *service) ended(how string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pid, s.since, s.last = 0, sinceBoot(), how
}

// state is what the shell shows of it.
func (s *service) state() shell.Service {
	s.mu.Lock()
	defer s.mu.Unlock()
	return shell.Service{Name: s.name, PID: s.pid, Memory: resident(s.pid), For: sinceBoot() - s.since, Restarts: s.restarts, Last: s.last}
}

// resident is the memory that a process has now, in bytes (proc_pid_statm(5));
// 0 if it is gone.
func resident(pid int) int64 {
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	var size, pages int64
	if _, err := fmt.Sscan(string(statm), &size, &pages); err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

// lastWords picks from what a process says the line that tells most about its
// end: the first of a panic, or else the last of all.
type lastWords struct {
	mu    sync.Mutex
	line  string
	panic bool
}

func (l *lastWords) hear(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.panic || line == "" {
		return
	}
	l.line = line
	l.panic = strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ")
}

func (l *lastWords) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.line
}
