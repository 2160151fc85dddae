package sysinfo

import (
	"context"
	"errors"
	"iter"
	"time"
)

// Sample is everything about a machine that changes all the time, as of one
// moment. Its slices are shared and must not be changed.
type Sample struct {
	Time         time.Time
	Uptime       time.Duration
	Stat         Stat          // counters; take Usage of two samples for a share of one's own
	Usage        Usage         // of all processors
	Over         time.Duration // that Usage was measured over, a second or more; it ends a second before Time at the earliest
	Load         Load
	Memory       Memory
	Root         Space // of the root file system
	Temperatures []Temperature
	Frequency    uint64 // of the first processor, Hz; 0 if not known
}

// window is the time that Usage is measured over when nobody asked before, and
// the least; stale is the most, so that a sample speaks of the present.
const (
	window = time.Second
	stale  = 2 * time.Minute
)

// Sampler shares samples of one machine between all who want them. It has no
// goroutine and does nothing while nobody asks. It is safe for concurrent use.
type Sampler struct {
	machine Machine
	fresh   time.Duration
	turn    chan struct{} // holds one token; who has it reads the machine, the rest wait

	// What follows belongs to the holder of the token.
	last      Sample
	lastErr   error
	base      Stat // earlier reading that Usage is counted from
	baseTime  time.Time
	processes Processes
	procErr   error
	procTime  time.Time
}

// NewSampler returns a sampler that answers with the last sample again while
// that is younger than fresh.
func NewSampler(m Machine, fresh time.Duration) *Sampler {
	s := &Sampler{machine: m, fresh: fresh, turn: make(chan struct{}, 1)}
	s.turn <- struct{}{}
	return s
}

// Sample returns the state of the machine. It is quick, except that usage takes
// a second to measure if nobody asked for a sample in the last two minutes.
// The error names what is missing from the sample (see the package comment),
// or is that of ctx.
func (s *Sampler) Sample(ctx context.Context) (Sample, error) {
	if err := s.take(ctx); err != nil {
		return Sample{}, err
	}
	defer s.release()
	now := time.Now()
	if !s.last.Time.IsZero() && now.Sub(s.last.Time) < s.fresh {
		return s.last, s.lastErr
	}
	if now.Sub(s.baseTime) > stale {
		stat, err := s.machine.Stat()
		if s.base, s.baseTime = stat, now; err == nil {
			if err := sleep(ctx, window); err != nil {
				return Sample{}, err
			}
		}
	}
	before := s.last
	s.last, s.lastErr = s.machine.sample()
	s.last.Usage, s.last.Over = before.Usage, before.Over
	if over := s.last.Time.Sub(s.baseTime); over >= window {
		s.last.Usage, s.last.Over = s.last.Stat.Total.Usage(s.base.Total), over
		s.base, s.baseTime = s.last.Stat, s.last.Time
	}
	return s.last, s.lastErr
}

// Samples yields a sample at once and then one every interval until ctx ends.
// All who range over one sampler with the same interval share its samples if
// the sampler's freshness is close to the interval.
func (s *Sampler) Samples(ctx context.Context, interval time.Duration) iter.Seq2[Sample, error] {
	return func(yield func(Sample, error) bool) {
		sample, err := s.Sample(ctx)
		ticker := time.NewTicker(interval) // after the first, which may have taken a second
		defer ticker.Stop()
		for ctx.Err() == nil && yield(sample, err) {
			select {
			case <-ticker.C:
				sample, err = s.Sample(ctx)
			case <-ctx.Done():
				return
			}
		}
	}
}

// Processes counts the processes, once a second at most.
func (s *Sampler) Processes(ctx context.Context) (Processes, error) {
	if err := s.take(ctx); err != nil {
		return Processes{}, err
	}
	defer s.release()
	if now := time.Now(); s.procTime.IsZero() || now.Sub(s.procTime) >= time.Second {
		s.processes, s.procErr = s.machine.Processes()
		s.procTime = now
	}
	return s.processes, s.procErr
}

func (s *Sampler) take(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-s.turn:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Sampler) release() { s.turn <- struct{}{} }

// sample reads all but Usage.
func (m Machine) sample() (Sample, error) {
	s := Sample{Time: time.Now()}
	var err [5]error
	s.Stat, err[0] = m.Stat()
	s.Uptime, err[1] = m.Uptime()
	s.Load, err[2] = m.Load()
	s.Memory, err[3] = m.Memory()
	s.Root, err[4] = m.Space("/")
	s.Temperatures, _ = m.Temperatures() // many machines have no sensor
	s.Frequency = m.Frequency()
	return s, errors.Join(err[:]...)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
