package wire

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
	// lookWidth is the longest that one look may take, in nanoseconds; the distance is known to half of it.
	lookWidth = 20_000
	// lookTries bounds the tries of one look.
	lookTries = 5
	// stepFrom is the change of the distance from which on the wall clock has been set: more than two looks
	// can be wrong by.
	stepFrom = measure.Instant(50 * time.Microsecond)
	// doubtful is the lag of a read from which on the distance is looked at before its time: the wall clock may
	// have been set back. No two looks need be closer than that, either: in a generator that has more to do than it
	// can, every read is late, and what it waits for most is the processor.
	doubtful = measure.Instant(time.Millisecond)
)

// stamps maps stamps to instants. It may be used by many goroutines and never waits.
type stamps struct {
	// look measures the distance, wall clock less ours, in nanoseconds, and how long that took.
	look func() (distance, width int64)

	distance atomic.Int64 // 0: not known yet
	looked   atomic.Int64 // instant of the latest look
	settled  atomic.Int64 // stamps of reads before this instant are dropped
}

func (s *stamps) init(now func() measure.Instant) {
	s.look = func() (distance, width int64) {
		before := now()
		wall := time.Now().UnixNano()
		after := now()
		return wall - int64(before) - int64(after-before)/2, int64(after - before)
	}
	s.settled.Store(math.MinInt64)
}

// instant is the moment of a stamp, for a read that returned at the given one, and never after it; None: the
// stamp is of no use.
func (s *stamps) instant(stamp int64, at measure.Instant) measure.Instant {
	age := at - measure.Instant(s.looked.Load())
	if s.distance.Load() == 0 || age >= lookEvery {
		s.check(at)
		age = 0
	}
	t := measure.Instant(stamp - s.distance.Load())
	if lag := at - t; age >= doubtful && (lag > doubtful || lag < -stepFrom) {
		s.check(at)
		t = measure.Instant(stamp - s.distance.Load())
	}
	if int64(at) < s.settled.Load() || t > at+stepFrom {
		return measure.None
	}
	return min(t, at)
}

// check looks at the clocks. A look that took too long on every try says nothing.
func (s *stamps) check(at measure.Instant) {
	distance, width := s.look()
	for try := 1; width > lookWidth && try < lookTries; try++ {
		distance, width = s.look()
	}
	if width > lookWidth {
		return
	}
	before := s.distance.Load()
	switch change := measure.Instant(distance - before); {
	case before == 0:
		s.distance.CompareAndSwap(0, distance)
	case change > stepFrom || change < -stepFrom:
		// In this order: who sees the new distance sees that stamps are dropped.
		s.settled.Store(int64(at + lookEvery))
		s.distance.CompareAndSwap(before, distance)
	}
	s.looked.Store(int64(at))
}

// stamped notes when the kernel received the last segment of the connection's latest read.
func (ex *Exchange) stamped(raw *rawConn) {
	if raw.wall != 0 {
		raw.stamp = raw.stamps.instant(raw.wall, raw.last)
		raw.wall = 0 // once a read, however many pieces come of it
		if !raw.stamp.Reached() {
			ex.StampsDropped++
		}
	}
	ex.Stamp = raw.stamp
}
