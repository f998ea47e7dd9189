package record

import (
	"math/bits"
	"slices"

	"github.com/loadline/loadline/internal/measure"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// layout is what there is of each phase. It never changes; Reshape makes another one.
type layout struct {
	scenario *pb.Scenario
	spans    []Span
	admitted []uint32 // series kept, one bit each; by pair
	flows    []*flow
}

func newLayout(s *pb.Scenario, spans []Span) *layout {
	l := &layout{scenario: s, spans: spans, admitted: admit(s, MaxSeries)}
	for range s.GetLoad() {
		l.flows = append(l.flows, new(flow))
	}
	return l
}

// Reshape tells the recorder that phases are appended, and of the spans of all phases from now on. The series of appended
// phases share what MaxSeries leaves. Nothing of an appended phase may be recorded before.
func (r *Recorder) Reshape(appended []*pb.Phase, spans []Span) {
	r.swapping.Lock()
	defer r.swapping.Unlock()
	before := r.phases.Load()
	left := MaxSeries
	for _, admitted := range before.admitted {
		left -= bits.OnesCount32(admitted)
	}
	l := &layout{scenario: before.scenario, spans: spans, flows: slices.Clip(before.flows)}
	l.admitted = append(slices.Clip(before.admitted), admitPairs(before.scenario, appended, left)...)
	for range appended {
		l.flows = append(l.flows, new(flow))
	}
	arrivals := &r.shards[len(r.shards)-1]
	arrivals.takeThis()
	arrivals.cursors = append(arrivals.cursors, make([]uint64, len(appended))...)
	arrivals.give()
	r.phases.Store(l)
}

// Fate is what an arrival came to.
type Fate int

const (
	// Fired: its session starts.
	Fired Fate = iota
	// TooLate: it was too late to be fired.
	TooLate
	// Refused: it met the ceiling of requests in flight.
	Refused
)

// Arrival counts an arrival of open load that fell due, with what became of it at the instant, and moves the phase's cursor past
// its number: a window that holds the cursor holds the counts. Arrivals of a phase come in order. A fired one is as after
// Started. It is for the one goroutine that hands arrivals on.
func (r *Recorder) Arrival(phase, workload int, number uint64, fate Fate, at measure.Instant) {
	l := r.phases.Load()
	s := &r.shards[len(r.shards)-1]
	s.takeThis()
	g := s.pair(phase, workload, l.admitted[phase*r.workloads+workload])
	g.count(due, 1)
	switch fate {
	case Fired:
		g.count(started, 1)
		g.count(requestsSent, 1)
		g.open++
		g.balance -= uint64(at)
	case TooLate:
		g.count(missed, 1)
	case Refused:
		g.count(shed, 1)
	}
	s.cursors[phase] = number + 1
	s.give()
	if fate == Fired {
		l.flows[phase].begin()
	}
}

// cursors are those of the phases that had begun at the instant, in µs of the run.
func (r *Recorder) cursors(next []uint64, at int64) []*pb.Cursor {
	var out []*pb.Cursor
	for phase, span := range r.phases.Load().spans {
		if floorMicros(measure.Instant(span.Start)) < at && phase < len(next) {
			out = append(out, pb.Cursor_builder{Phase: uint32(phase), NextArrival: next[phase]}.Build())
		}
	}
	return out
}
