package stamp

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/loadline/loadline/internal/measure"
)

const (
	usec = measure.Instant(time.Microsecond)
	msec = measure.Instant(time.Millisecond)
	sec  = measure.Instant(time.Second)
)

// world has a wall clock that can be set. What is stamped now and read later keeps its stamp.
type world struct {
	distance int64
	noise    int64 // error of the next look
	width    int64 // how long a look takes
	looks    int
	Clock
}

func newWorld() *world {
	w := &world{distance: 1_764_000_000_000_000_000, width: 100}
	w.Init(nil)
	w.Look = func() (int64, int64) {
		w.looks++
		return w.distance + w.noise, w.width
	}
	return w
}

// read is a read at an instant of what came so long before, all with the wall clock as it is.
func (w *world) read(at, lag measure.Instant) measure.Instant {
	return w.Instant(int64(at-lag)+w.distance, at)
}

func TestStampsAreMapped(t *testing.T) {
	const none = measure.None
	for _, c := range []struct {
		name string
		play func(w *world) measure.Instant
		want measure.Instant
	}{
		{"the first", func(w *world) measure.Instant { return w.read(sec, 7*usec) }, sec - 7*usec},
		{"before the run's start", func(w *world) measure.Instant { return w.read(-sec, 7*usec) }, -sec - 7*usec},
		{"our clock was set back", func(w *world) measure.Instant {
			w.read(5*sec, 0) // before the start
			w.distance += int64(5 * sec)
			return w.read(msec, 7*usec)
		}, msec - 7*usec},
		{"a late read", func(w *world) measure.Instant { w.read(sec, 0); return w.read(sec+1, 300*msec) }, sec + 1 - 300*msec},
		{"a stamp within the error is never after its read", func(w *world) measure.Instant {
			w.noise = -10_000 // we take the wall clock for less than it is
			return w.read(sec, 3*usec)
		}, sec},
		{"a stamp that cannot be", func(w *world) measure.Instant { w.read(sec, 0); return w.read(sec+1, -60*usec) }, none},
		{"clocks that cannot be looked at", func(w *world) measure.Instant { w.width = LookWidth + 1; return w.read(sec, 0) }, none},
		{"clocks that cannot be looked at again", func(w *world) measure.Instant {
			w.read(sec, 0)
			w.width, w.noise = LookWidth+1, 9_000_000
			return w.read(9*sec, 5*msec)
		}, 9*sec - 5*msec},
		{"set forward", func(w *world) measure.Instant {
			w.read(sec, 0)
			w.distance += int64(3 * msec)
			return w.read(sec+msec, 2*usec)
		}, none},
		{"set back", func(w *world) measure.Instant {
			w.read(sec, 0)
			w.distance -= int64(3600 * sec)
			return w.read(sec+msec, 2*usec)
		}, none},
		{"stamped before the clock was set, seen after", func(w *world) measure.Instant {
			w.read(sec, 0)
			stamp := int64(sec) + w.distance
			w.distance += int64(30 * msec)
			w.read(sec+msec, 0)
			return w.Instant(stamp, sec+msec+1)
		}, none},
		{"a second after the clock was set", func(w *world) measure.Instant {
			w.read(sec, 0)
			w.distance -= int64(30 * msec)
			w.read(2*sec, 0)
			return w.read(3*sec, 4*usec)
		}, 3*sec - 4*usec},
		{"set by less than a late read, seen within a second", func(w *world) measure.Instant {
			w.read(sec, 0)
			w.distance -= int64(500 * usec)
			return w.read(2*sec, 4*usec)
		}, none},
		{"moved by less than looks are wrong by", func(w *world) measure.Instant {
			w.read(sec, 0)
			w.noise = 40_000
			return w.read(2*sec, 4*usec)
		}, 2*sec - 4*usec},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.play(newWorld()); got != c.want {
				t.Errorf("%d, want %d", got, c.want)
			}
		})
	}
}

// In the normal course, the clocks are looked at once a second.
func TestClocksAreSeldomLookedAt(t *testing.T) {
	w := newWorld()
	for at := measure.Instant(0); at < 10*sec; at += msec {
		w.read(at, 50*usec)
	}
	if w.looks != 10 {
		t.Errorf("%d looks in 10 s", w.looks)
	}
	for at := 10 * sec; at < 11*sec; at += 10 * usec {
		w.read(at, 3*msec)
	}
	if w.looks > 10+1000 {
		t.Errorf("%d looks in a second of late reads", w.looks-10)
	}
}

// Whatever the wall clock is set to, a stamp that is read a millisecond after the latest look or later is mapped right
// or dropped; and what is read from a second
// after the first read that could tell is mapped again. Reads are less than 1 ms late here, and the clock is
// set by 2 ms or more, and not again before stamps are used again.
func TestStampsAreRightOrDropped(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		w.read(0, 0) // before the first look there is nothing that a step would show against
		at, settled := measure.Instant(0), measure.Instant(0)
		for range rapid.IntRange(1, 60).Draw(t, "reads") {
			arrived := at + measure.Instant(rapid.Int64Range(int64(2*msec), int64(2*sec)).Draw(t, "pause"))
			stamp := int64(arrived) + w.distance
			set := arrived >= settled && rapid.IntRange(0, 9).Draw(t, "set") == 0
			if set { // after the kernel had it, before we read it
				step := rapid.Int64Range(int64(2*msec), int64(5*sec)).Draw(t, "by")
				w.distance += step * int64(1-2*rapid.IntRange(0, 1).Draw(t, "back"))
			}
			at = arrived + measure.Instant(rapid.Int64Range(0, int64(990*usec)).Draw(t, "lag"))
			w.noise = rapid.Int64Range(-LookWidth/2, LookWidth/2).Draw(t, "noise")
			got := w.Instant(stamp, at)
			switch {
			case got > at:
				t.Fatalf("read at %d, stamp at %d", at, got)
			case got.Reached() && (got < arrived-20*usec || got > arrived+20*usec):
				t.Fatalf("arrived at %d, stamp at %d", arrived, got)
			case !got.Reached() && at >= settled && !set:
				t.Fatalf("dropped at %d, settled at %d", at, settled)
			}
			if set { // the next read may be the first to tell
				settled = at + 3*sec + 2*msec
			}
		}
	})
}
