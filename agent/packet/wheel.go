package packet

import "math"

// wheel holds the flights by deadline: a hashed timing wheel (Varghese and
// Lauck 1987, scheme 6). Adding and removing cost the same however many there are.
type wheel struct {
	slots [wheelSize]*flight // doubly linked lists
	full  [wheelSize / 64]uint64
	tick  int64 // everything before it has been popped
	count int
}

const (
	wheelSize = 4096
	tickSize  = 1e6 // nanoseconds
	never     = math.MaxInt64
)

// add files f under f.deadline.
func (w *wheel) add(f *flight) {
	i := int32(max(f.deadline/tickSize, w.tick) % wheelSize)
	f.slot, f.prev, f.next = i, nil, w.slots[i]
	if f.next != nil {
		f.next.prev = f
	}
	w.slots[i] = f
	w.full[i/64] |= 1 << (i % 64)
	w.count++
}

// remove takes f out if it is in.
func (w *wheel) remove(f *flight) {
	if f.slot < 0 {
		return
	}
	i := f.slot
	if f.next != nil {
		f.next.prev = f.prev
	}
	if f.prev != nil {
		f.prev.next = f.next
	} else if w.slots[i] = f.next; f.next == nil {
		w.full[i/64] &^= 1 << (i % 64)
	}
	f.slot, f.prev, f.next = -1, nil, nil
	w.count--
}

// pop removes and returns a flight whose deadline has passed, nil if there is none.
func (w *wheel) pop(now int64) *flight {
	end := now / tickSize
	if end-w.tick >= wheelSize { // one turn sees every slot
		w.tick = end - wheelSize + 1
	}
	for ; w.tick <= end; w.tick++ {
		for f := w.slots[w.tick%wheelSize]; f != nil; f = f.next {
			if f.deadline <= now {
				w.remove(f)
				return f
			}
		}
		if w.tick == end {
			break // later ones of this tick may come due
		}
	}
	return nil
}

// next returns when pop is worth calling again: at the start of the next
// slot that holds something, which may be due only a turn later.
func (w *wheel) next(now int64) int64 {
	if w.count == 0 {
		return never
	}
	for i := int64(0); i < wheelSize; i++ {
		t := w.tick + i
		s := t % wheelSize
		if w.full[s/64] == 0 {
			i += 63 - s%64
			continue
		}
		if w.full[s/64]&(1<<(s%64)) != 0 {
			return max((t+1)*tickSize, now+tickSize)
		}
	}
	return never
}
