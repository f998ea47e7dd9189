package record

import (
	"math"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/loadline/loadline/internal/measure"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// TestACursorHoldsWhatItsWindowCounts: whenever a window is cut, the arrivals that the windows up to it count are exactly those
// below its cursor.
func TestACursorHoldsWhatItsWindowCounts(t *testing.T) {
	r := recorder(4, 0)
	const arrivals = 20_000
	var counting sync.WaitGroup
	counting.Go(func() {
		for n := range uint64(arrivals) {
			fate := Fate(n % 3)
			r.Arrival(0, 0, n, fate, measure.Instant(n))
			if fate == Fired {
				r.SessionEnded(0, 0, measure.Instant(n), measure.Instant(n+1), "")
			}
		}
	})
	var due uint64
	for i := 1; due < arrivals; i++ {
		w := r.Swap(measure.Instant(i) * measure.Instant(time.Millisecond))
		for _, g := range w.GetGroups() {
			c := g.GetCounters()
			due += c.GetDue()
			if c.GetDue() != c.GetStarted()+c.GetMissed()+c.GetShed() {
				t.Fatalf("a window tears an arrival apart: %v", c)
			}
		}
		if got := w.GetCursors()[0]; got.GetPhase() != 0 || got.GetNextArrival() != due {
			t.Fatalf("window %d: cursor %v after %d arrivals", i, got, due)
		}
	}
	counting.Wait()
	if got := r.Totals().GetCursors()[0].GetNextArrival(); got != arrivals {
		t.Errorf("the totals' cursor is %d", got)
	}
}

func TestAppendedPhasesAreRecorded(t *testing.T) {
	r := recorder(2, 0)
	phases := len(r.phases.Load().spans)
	spans := append(append([]Span{}, r.phases.Load().spans...), Span{Start: 5_000_000, End: math.MaxInt64})
	r.Arrival(0, 0, 0, TooLate, 1)
	r.Reshape([]*pb.Phase{pb.Phase_builder{Name: proto.String("appended")}.Build()}, spans)
	r.Arrival(phases, 0, 41, Refused, 6_000_000)
	if w := r.Swap(4_000_000); len(w.GetCursors()) > phases || len(w.GetGroups()) != 2 {
		t.Errorf("before the phase begins: %v", w.GetCursors())
	}
	w := r.Swap(7_000_000)
	if last := w.GetCursors()[len(w.GetCursors())-1]; last.GetPhase() != uint32(phases) || last.GetNextArrival() != 42 {
		t.Errorf("cursors %v", w.GetCursors())
	}
	if r.phases.Load().admitted[phases*r.workloads] == 0 {
		t.Error("an appended phase has no series")
	}
}

func TestAnArrivalAllocatesNothing(t *testing.T) {
	r := recorder(2, 0)
	n := uint64(0)
	if allocs := testing.AllocsPerRun(1000, func() {
		r.Arrival(0, 0, n, Fired, measure.Instant(n))
		n++
	}); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}
