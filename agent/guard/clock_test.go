package guard

import (
	"testing"
	"testing/synctest"
	"time"
)

// A lease of before a sleep has lapsed after it, though the monotonic clock stood still.
func TestASleepOfTheMachineCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var slept int64
		begun := time.Now()
		c := NewClock(func() int64 { return 1e15 + int64(time.Since(begun)) + slept })
		lease := Lease{}
		lease.Grant(c.Exact() + int64(5*time.Second))
		time.Sleep(2 * time.Second)
		if at := c.Exact(); !lease.Valid(at) || at != int64(2*time.Second) {
			t.Errorf("after 2 s it is %v", time.Duration(at))
		}
		slept = int64(time.Hour)
		if at := c.Exact(); lease.Valid(at) || at != int64(time.Hour+2*time.Second) {
			t.Errorf("after an hour's sleep it is %v", time.Duration(at))
		}
		if c.Now() != c.Exact() {
			t.Error("the cheap reading does not know of the sleep that the exact one noticed")
		}
		slept = 0 // a clock that jumps back changes nothing
		if at := c.Exact(); at != int64(time.Hour+2*time.Second) {
			t.Errorf("it ran backwards to %v", time.Duration(at))
		}
	})
}

func TestTheClockOfThisSystemRuns(t *testing.T) {
	c := NewClock(Boottime)
	before := c.Now()
	for range 1000 {
		if now := c.Exact(); now < before {
			t.Fatalf("%d after %d", now, before)
		} else {
			before = now
		}
	}
	if n := testing.AllocsPerRun(100, func() { c.Exact() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
