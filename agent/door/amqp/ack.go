package amqp

import (
	"runtime"
	"sync"
)

// acks sends the acknowledgements of one channel. Commands that end in the same
// moment are acknowledged together, which spares the broker most of the work.
type acks struct {
	send func(tag uint64, multiple bool) error // Channel.Ack

	sending sync.Mutex // held while some are sent

	mu    sync.Mutex
	last  uint64          // this delivery and all before it are done: the broker counts them from 1
	done  map[uint64]bool // later ones that are done
	fresh []uint64        // those of all that are done and not yet acknowledged
}

func newAcks(send func(uint64, bool) error) *acks {
	return &acks{send: send, done: make(map[uint64]bool)}
}

// ack returns once the acknowledgement of a delivery was sent.
func (a *acks) ack(tag uint64) error {
	a.mu.Lock()
	a.done[tag] = true
	a.fresh = append(a.fresh, tag)
	a.mu.Unlock()
	runtime.Gosched() // others may be as far, and come along

	a.sending.Lock()
	defer a.sending.Unlock()
	together, single := a.take()
	if together > 0 {
		if err := a.send(together, true); err != nil {
			return err
		}
	}
	for _, tag := range single {
		if err := a.send(tag, false); err != nil {
			return err
		}
	}
	return nil
}

// take is what is to be acknowledged: every delivery up to the first result,
// unless that is 0, and each of the second.
func (a *acks) take() (together uint64, single []uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.done[a.last+1] {
		a.last++
		delete(a.done, a.last)
	}
	for _, tag := range a.fresh {
		if tag <= a.last {
			together = max(together, tag)
		} else {
			single = append(single, tag)
		}
	}
	a.fresh = a.fresh[:0]
	return together, single
}
