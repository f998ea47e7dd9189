package merge

import (
	"cmp"
	"iter"
	"maps"
	"slices"

	"github.com/loadline/loadline/internal/measure"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// maxRows bounds the rows of one part of a checkpoint.
const maxRows = 4096

// Records yields what a journal must hold instead of everything that was added so far: the header, a
// checkpoint of the windows, and the totals as they came. A Run that is given these, and the same
// events, shows the same: AddCheckpoint takes the parts. Events are not among them, for a run keeps
// only the first of each kind. What was yielded stays as it is when more is added to the run.
func (r *Run) Records() iter.Seq[*pb.JournalRecord] {
	return func(yield func(*pb.JournalRecord) bool) {
		if !yield(pb.JournalRecord_builder{Header: r.header}.Build()) {
			return
		}
		parts := uint64(0)
		for part := range r.parts() {
			parts++
			if !yield(pb.JournalRecord_builder{Checkpoint: part}.Build()) {
				return
			}
		}
		end := pb.Checkpoint_builder{End: pb.CheckpointEnd_builder{Parts: parts + 1}.Build()}.Build()
		if !yield(pb.JournalRecord_builder{Checkpoint: end}.Build()) {
			return
		}
		for _, a := range r.agents {
			for _, s := range a.sorted() {
				if s.totals != nil && !yield(pb.JournalRecord_builder{Totals: s.totals.message}.Build()) {
					return
				}
			}
		}
	}
}

// parts yields the checkpoint without its end.
func (r *Run) parts() iter.Seq[*pb.Checkpoint] {
	return func(yield func(*pb.Checkpoint) bool) {
		begin := pb.CheckpointBegin_builder{
			LastEndUs: r.lastEndUS, LastSecond: r.lastSecond, RecordsLeftOut: r.recordsLeftOut,
			SeriesLeftOut: r.seriesLeftOut, PhaseEndUs: slices.Clone(r.lastEnd), Duplicates: r.duplicates, Changes: slices.Clone(r.changes),
		}.Build()
		if !yield(pb.Checkpoint_builder{Begin: begin}.Build()) {
			return
		}
		for k, g := range r.Groups() {
			if !yield(pb.Checkpoint_builder{Group: g.message(k)}.Build()) {
				return
			}
		}
		for _, a := range r.agents {
			if len(a.streams) > 0 && !yield(pb.Checkpoint_builder{Agent: a.message()}.Build()) {
				return
			}
		}
		for e := range r.timeline.all() {
			if !yield(pb.Checkpoint_builder{Stretch: e.message()}.Build()) {
				return
			}
		}
		for rows := range slices.Chunk(slices.Sorted(maps.Keys(r.seconds)), maxRows) {
			if !yield(pb.Checkpoint_builder{Seconds: r.secondRows(rows)}.Build()) {
				return
			}
		}
		for rows := range slices.Chunk(slices.SortedFunc(maps.Keys(r.inFlight), phaseSecond.compare), maxRows) {
			if !yield(pb.Checkpoint_builder{InFlight: r.inFlightRows(rows)}.Build()) {
				return
			}
		}
	}
}

func (p phaseSecond) compare(o phaseSecond) int {
	return cmp.Or(cmp.Compare(p.second, o.second), cmp.Compare(p.phase, o.phase))
}

func (g *Group) message(k Key) *pb.Group {
	b := pb.Group_builder{Phase: uint32(k.Phase), Workload: uint32(k.Workload), Counters: g.Counters.message()}
	for _, class := range slices.Sorted(maps.Keys(g.errors)) {
		e := g.errors[class]
		b.Errors = append(b.Errors, pb.ClassCount_builder{Class: e.Class, Count: e.Count, Example: e.Example, ExampleHash: e.Hash}.Build())
	}
	for s, h := range g.series {
		if h != nil {
			b.Series = append(b.Series, seriesMessage(measure.Series(s), h.AppendBinary(nil)))
		}
	}
	return b.Build()
}

func seriesMessage(s measure.Series, data []byte) *pb.SeriesData {
	return pb.SeriesData_builder{Series: pb.Series(s), Histogram: data}.Build()
}

func (a *Agent) message() *pb.AgentSum {
	b := pb.AgentSum_builder{Agent: a.Name, Incarnation: a.Incarnation, Health: a.Health.message(), Lateness: a.Lateness.AppendBinary(nil)}
	for _, incarnation := range slices.Sorted(maps.Keys(a.streams)) {
		s := a.streams[incarnation]
		sum := pb.StreamSum_builder{Incarnation: incarnation, Received: s.received.numbers(), Busy: s.busy.numbers(), Values: s.values, Edges: s.edgeMessages()}
		for _, k := range slices.SortedFunc(maps.Keys(s.groups), Key.compare) {
			sum.Groups = append(sum.Groups, pb.Group_builder{
				Phase: uint32(k.Phase), Workload: uint32(k.Workload), Counters: s.groups[k].message(),
			}.Build())
		}
		b.Streams = append(b.Streams, sum.Build())
	}
	return b.Build()
}

// numbers are the first and last of each span, one after the other.
func (s sequences) numbers() []uint64 {
	out := make([]uint64, 0, 2*len(s))
	for _, e := range s {
		out = append(out, e.first, e.last)
	}
	return out
}

// message is nil where nothing is known.
func (h *Health) message() *pb.Health {
	if !h.Known {
		return nil
	}
	return pb.Health_builder{
		CpuProcess: h.CPUProcess, CpuMachine: h.CPUMachine, SchedLatencyP99Us: h.SchedLatencyP99US, GcPauseMaxUs: h.GCPauseMaxUS,
		Goroutines: h.Goroutines, OpenSockets: h.OpenSockets, ClockErrorBoundUs: h.ClockErrorUS, WindowsWaiting: h.WindowsWaiting,
	}.Build()
}

func (e *Entry) message() *pb.StretchSum {
	b := pb.StretchSum_builder{Second: e.Second, Seconds: e.Seconds, Windows: e.Windows, Health: e.Health.message()}
	for _, k := range e.Keys() {
		g := e.groups[k]
		sum := pb.Group_builder{Phase: uint32(k.Phase), Workload: uint32(k.Workload), Counters: g.counters.message()}
		for _, s := range e.Series(k) {
			sum.Series = append(sum.Series, seriesMessage(s, g.series[s].sparse()))
		}
		b.Groups = append(b.Groups, sum.Build())
	}
	return b.Build()
}

func (r *Run) secondRows(seconds []uint64) *pb.SecondSums {
	var b pb.SecondSums_builder
	for _, at := range seconds {
		s := r.seconds[at]
		b.Second, b.Requests = append(b.Second, at), append(b.Requests, s.requests)
		b.Events, b.Judged = append(b.Events, s.events), append(b.Judged, s.judged)
	}
	return b.Build()
}

func (r *Run) inFlightRows(rows []phaseSecond) *pb.InFlightSums {
	var b pb.InFlightSums_builder
	for _, k := range rows {
		f := r.inFlight[k]
		b.Second, b.Phase = append(b.Second, k.second), append(b.Phase, uint32(k.phase))
		b.Max, b.Now, b.OpenUs = append(b.Max, f.Max), append(b.Now, f.Now), append(b.OpenUs, f.OpenUS)
	}
	return b.Build()
}
