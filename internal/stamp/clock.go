// Package stamp reads sockets together with the instant at which the kernel received what a read takes, where the system
// offers that: SO_TIMESTAMPNS and recvmsg on Linux. The generator uses it for its own delay, the simulator for the moment at which a
// request reached its machine.
package stamp

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/loadline/loadline/internal/measure"
)

// The kernel stamps segments with the wall clock; instants are on a clock that nobody sets. Linux keeps both
// with one counter, so that what lies between them changes only when the wall clock is set. It is looked at
// once a second, and within a millisecond of the first stamp that could be due to such a step.
const (
	// lookEvery is how often the distance between the clocks is looked at, and how long after a step
	// stamps are dropped: some may be from before it.
	lookEvery = measure.Instant(time.Second)
	// LookWidth is the longest that one look may take, in nanoseconds; the distance is known to half of it.
	LookWidth = 20_000
	// lookTries bounds the tries of one look.
	lookTries = 5
	// StepFrom is the change of the distance from which on the wall clock has been set: more than two looks
	// can be wrong by.
	StepFrom = measure.Instant(50 * time.Microsecond)
	// doubtful is the lag of a read from which on the distance is looked at before its time: the wall clock may
	// have been set back. No two looks need be closer than that, either: in a generator that has more to do than it
	// can, every read is late, and what it waits for most is the processor.
	doubtful = measure.Instant(time.Millisecond)
)

// Clock maps stamps to instants. It may be used by many goroutines and never waits.
type Clock struct {
	// Look measures the distance, wall clock less ours, in nanoseconds, and how long that took.
	Look func() (distance, width int64)

	distance atomic.Int64 // 0: not known yet
	looked   atomic.Int64 // instant of the latest look
	settled  atomic.Int64 // stamps of reads before this instant are dropped
}

// Init makes the clock ready; now reads the clock of instants.
func (s *Clock) Init(now func() measure.Instant) {
	s.Look = func() (distance, width int64) {
		before := now()
		wall := time.Now().UnixNano()
		after := now()
		return wall - int64(before) - int64(after-before)/2, int64(after - before)
	}
	s.settled.Store(math.MinInt64)
}

// Instant is the moment of a stamp, for a read that returned at the given one, and never after it; None: the
// stamp is of no use.
func (s *Clock) Instant(stamp int64, at measure.Instant) measure.Instant {
	age := at - measure.Instant(s.looked.Load())
	switch {
	case age < -StepFrom:
		// Our clock was set back, as it is once at the start of a run: the distance is another one, and the stamps are good.
		if distance, good := s.measure(); good {
			s.distance.Store(distance)
			s.looked.Store(int64(at))
		}
		age = 0
	case s.distance.Load() == 0 || age >= lookEvery:
		s.check(at)
		age = 0
	}
	t := measure.Instant(stamp - s.distance.Load())
	if lag := at - t; age >= doubtful && (lag > doubtful || lag < -StepFrom) {
		s.check(at)
		t = measure.Instant(stamp - s.distance.Load())
	}
	if int64(at) < s.settled.Load() || t > at+StepFrom {
		return measure.None
	}
	return min(t, at)
}

// measure looks at the clocks. A look that took too long on every try says nothing.
func (s *Clock) measure() (distance int64, good bool) {
	distance, width := s.Look()
	for try := 1; width > LookWidth && try < lookTries; try++ {
		distance, width = s.Look()
	}
	return distance, width <= LookWidth
}

// check looks whether the wall clock has been set.
func (s *Clock) check(at measure.Instant) {
	distance, good := s.measure()
	if !good {
		return
	}
	before := s.distance.Load()
	switch change := measure.Instant(distance - before); {
	case before == 0:
		s.distance.CompareAndSwap(0, distance)
	case change > StepFrom || change < -StepFrom:
		// In this order: who sees the new distance sees that stamps are dropped.
		s.settled.Store(int64(at + lookEvery))
		s.distance.CompareAndSwap(before, distance)
	}
	s.looked.Store(int64(at))
}
