package guard

import (
	"sync/atomic"
	"time"
)

// asleep is the least difference of the two clocks that counts as a sleep of the machine: more than two readings one after
// the other differ by.
const asleep = int64(10 * time.Millisecond)

// Clock counts nanoseconds from its making on, including the time that the machine sleeps, where the system tells: a lease of
// before the sleep must have lapsed. It never runs backwards. Safe for use by many goroutines.
type Clock struct {
	began time.Time // holds a monotonic reading, which stands still while the machine sleeps
	boot  func() int64
	since int64        // of boot
	slept atomic.Int64 // ns asleep since then, as far as noticed
}

// NewClock makes a clock that reads 0 now. boot reads in nanoseconds a clock that counts the time that the machine sleeps,
// Boottime as a rule; one that stands still notices no sleep.
func NewClock(boot func() int64) *Clock {
	return &Clock{began: time.Now(), boot: boot, since: boot()}
}

// Now is the time, as cheap as a reading of the monotonic clock. A sleep counts once Exact has noticed it.
func (c *Clock) Now() int64 { return int64(time.Since(c.began)) + c.slept.Load() }

// Exact is the time with every sleep counted. It takes a system call, about 0.2 µs.
func (c *Clock) Exact() int64 {
	now, before := int64(time.Since(c.began)), c.slept.Load()
	if slept := c.boot() - c.since - now; slept > before+asleep {
		c.slept.CompareAndSwap(before, slept)
	}
	return now + c.slept.Load()
}
