package guard

import (
	"sync"
	"sync/atomic"

	"github.com/loadline/loadline/internal/measure"
)

// Bucket is a ceiling on a rate: a token bucket that starts full. It stands behind the scheduler and knows
// nothing of it. Safe for use by many goroutines; it never waits and takes no lock.
//
// It is kept as one number, the virtual instant at which everything taken so far will have drained
// (the generic cell rate algorithm, ITU-T I.371): a token is there while that instant lies less than a full
// bucket ahead.
type Bucket struct {
	gap, depth int64 // ns a token; ns that a full bucket lasts
	drained    atomic.Int64
	ceiling    *Window        // of the agent's owner; nil: none
	over       *atomic.Uint64 // counts what met the owner's ceiling; nil where there is none
}

// maxGap bounds the time between two tokens: a day.
const maxGap = 86_400e9

// NewBucket makes a ceiling of rate a second, greater than 0 and at most 10⁹, with a burst of at
// least 1.
func NewBucket(rate, burst float64) *Bucket {
	gap := max(min(1e9/rate, maxGap), 1)
	b := &Bucket{gap: int64(gap), depth: int64(min(max(burst, 1)*gap, 1<<60))}
	b.drained.Store(int64(measure.None))
	return b
}

// Take takes a token at the instant and reports whether there was one. Instants may come a little
// out of order.
func (b *Bucket) Take(now measure.Instant) bool {
	for {
		old := b.drained.Load()
		next := max(old, int64(now)) + b.gap
		if next-int64(now) > b.depth {
			return false
		}
		if b.drained.CompareAndSwap(old, next) {
			return b.ceiling == nil || b.owned(now)
		}
	}
}

// owned asks the ceiling of the agent's owner.
func (b *Bucket) owned(now measure.Instant) bool {
	if b.ceiling.Take(now) {
		return true
	}
	b.over.Add(1)
	return false
}

// InFlight is a ceiling on what is under way at once. The zero value allows nothing. Safe for use by
// many goroutines; it never waits.
type InFlight struct {
	max, now atomic.Int64
}

// NewInFlight makes a ceiling of max.
func NewInFlight(max uint32) *InFlight {
	f := &InFlight{}
	f.Set(max)
	return f
}

// Set makes it a ceiling of max. What is under way above it goes on.
func (f *InFlight) Set(max uint32) { f.max.Store(int64(max)) }

// Enter reports whether one more may be under way; if so, Leave must follow.
func (f *InFlight) Enter() bool {
	if f.now.Add(1) <= f.max.Load() {
		return true
	}
	f.now.Add(-1)
	return false
}

// Leave ends one that Enter let in.
func (f *InFlight) Leave() { f.now.Add(-1) }

// Now is how many are under way. While others are being turned away it may count them for a moment.
func (f *InFlight) Now() int { return int(f.now.Load()) }

// Window is an exact ceiling on a rate: in no second, wherever it begins, are there more than so many. It remembers the
// instants of the last ones. Safe for use by many goroutines; it never waits.
type Window struct {
	mu   sync.Mutex
	last []measure.Instant // a ring of the instants at which each was taken
	next int
}

// second is the length of the window, in nanoseconds.
const second = measure.Instant(1e9)

// NewWindow makes a ceiling of at least 1 a second; it takes 8 bytes for each.
func NewWindow(max uint32) *Window {
	w := &Window{last: make([]measure.Instant, max)}
	for i := range w.last {
		w.last[i] = measure.None
	}
	return w
}

// Take takes one at the instant and reports whether it was allowed.
func (w *Window) Take(now measure.Instant) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	oldest := &w.last[w.next]
	if *oldest != measure.None && now-*oldest <= second {
		return false
	}
	*oldest = now
	w.next = (w.next + 1) % len(w.last)
	return true
}

// Free is when the next may be taken, at the earliest.
func (w *Window) Free() measure.Instant {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.last[w.next] == measure.None {
		return measure.None
	}
	return w.last[w.next] + second + 1
}
