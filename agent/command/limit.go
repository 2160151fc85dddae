package command

import (
	"context"
	"fmt"

	"golang.org/x/sync/semaphore"
)

// Limits bound what the commands of a Set do at the same time, whichever door
// they came through. They are counted in the weight of a light command such as
// a ping: see [Info].
type Limits struct {
	Capacity int // of all commands together
	Heavy    int // the part of it that commands heavier than a light one may take: the rest is always there for pings
}

// DefaultLimits suits a machine with so many processors and so much memory, in
// bytes. A light command waits most of its time, so that a processor has room
// for many; its result and buffers are counted as half a mebibyte.
func DefaultLimits(processors int, memory uint64) Limits {
	const (
		each  = 64        // light commands for each processor
		least = 16        // on the smallest machine
		room  = 512 << 10 // bytes of memory for each
		share = 4         // the part of the memory that commands may take, as its denominator
	)
	fit := int(min(memory/share/room, 1<<16))
	capacity := max(least, min(processors*each, fit))
	return Limits{Capacity: capacity, Heavy: capacity / 2}
}

// limiter makes commands wait for their turn. Waiting is first come, first
// served, in two queues: heavy commands wait for one another in their own
// before one of them stands in that of all.
type limiter struct {
	limits     Limits
	all, heavy *semaphore.Weighted
}

// Limited is the set under limits, which hold for all that is made of the
// result, by [Set.Only], together.
func (s Set) Limited(l Limits) Set {
	l.Capacity = max(l.Capacity, 1)
	l.Heavy = min(max(l.Heavy, 1), l.Capacity)
	s.limiter = &limiter{l, semaphore.NewWeighted(int64(l.Capacity)), semaphore.NewWeighted(int64(l.Heavy))}
	return s
}

// enter waits until a command of some weight may run. The caller calls leave
// when it has. A nil limiter has room for everything.
func (l *limiter) enter(ctx context.Context, weight int) (leave func(), err error) {
	if l == nil {
		return func() {}, nil
	}
	n := int64(min(max(weight, 1), l.limits.Capacity))
	queues := []*semaphore.Weighted{l.all}
	if n > 1 {
		n = min(n, int64(l.limits.Heavy)) // a small machine runs it alone
		queues = []*semaphore.Weighted{l.heavy, l.all}
	}
	for i, q := range queues {
		if err := q.Acquire(ctx, n); err != nil {
			release(queues[:i], n)
			return nil, fmt.Errorf("wait for its turn: %w", err)
		}
	}
	return func() { release(queues, n) }, nil
}

func release(queues []*semaphore.Weighted, n int64) {
	for _, q := range queues {
		q.Release(n)
	}
}
