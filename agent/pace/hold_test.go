package pace_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/loadline/loadline/agent/pace"
	"github.com/loadline/loadline/internal/measure"
)

// A source takes over at its instant: nothing due before comes from it, nothing due from then on from the one before.
func TestASourceTakesOverAtItsInstant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now, sink := clock(), &log{}
		p := pace.New(pace.Config{Now: now, Sleeper: pace.Portable(now), MaxLateness: 50 * time.Millisecond, End: 1000 * ms},
			constant(10*ms, 100), sink)
		swapped := measure.None
		time.AfterFunc(305*time.Millisecond, func() {
			if !p.Hold(500*ms) || p.Hold(300*ms) {
				t.Error("held what has been handed on, or not what is to come")
			}
		})
		time.AfterFunc(605*time.Millisecond, func() {
			fresh := pace.NewMerge(pace.Lane{Phase: 1, Walker: &every{gap: int64(100 * ms), next: int64(500 * ms), count: 4}})
			if p.Apply(400*ms, fresh, 900*ms, nil) {
				t.Error("a source takes over before what has been handed on")
			}
			p.Apply(500*ms, fresh, 900*ms, func() { swapped = now() })
			p.Release()
		})
		stats := p.Run(t.Context())
		if stats.Fired != 50+3 || stats.Missed != 1 || swapped != 605*ms || now() != 900*ms {
			t.Errorf("stats %+v, swapped at %v, over at %v", stats, swapped, now())
		}
		for i, e := range sink.events {
			if (i < 50) != (e.a.Phase == 0) || i > 0 && e.a.Due < sink.events[i-1].a.Due {
				t.Errorf("event %d is %+v", i, e)
			}
		}
		if p.Apply(2000*ms, constant(ms, 1), 0, nil) || !p.Hold(2000*ms) {
			t.Error("after the end a source is taken, or a hold refused that holds nothing")
		}
	})
}

func TestNothingIsHandedOnWhileNothingMayStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now, sink := clock(), &log{}
		p := pace.New(pace.Config{Now: now, Sleeper: pace.Portable(now), MaxLateness: 50 * time.Millisecond,
			May: func() bool { return now() < 200*ms || now() >= 500*ms }}, constant(10*ms, 100), sink)
		stats := p.Run(t.Context())
		if stats.Missed < 24 || stats.Missed > 26 || stats.Fired+stats.Missed != 100 {
			t.Errorf("stats %+v, want what was due from 200 to 450 ms missed", stats)
		}
	})
}
