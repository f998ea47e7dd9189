package record

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/loadline/loadline/internal/hist"
	"github.com/loadline/loadline/internal/measure"
	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// Merger makes one window of two that follow each other, as if the recorder had not been swapped in
// between: counters and histograms add up, health is the worst, and of the records those are kept
// that a window of the same limit would have kept; how many are not is counted. Resolution is lost
// and no sample. Counts and distributions are the same whichever neighbours are merged first.
type Merger struct {
	seed  uint64
	limit int
}

// NewMerger returns a merger for windows of a recorder with that seed and number of records.
func NewMerger(seed uint64, records int) Merger {
	if records < 0 || records > MaxRecords {
		records = MaxRecords
	}
	return Merger{seed: seed, limit: records}
}

// Merge returns the window from the beginning of a to the end of b, which follows a. Neither is
// changed; the result may share records and texts with them. It has no number. An error says which
// histogram cannot be read.
func (m Merger) Merge(a, b *pb.Window) (*pb.Window, error) {
	groups, err := mergeGroups(a.GetGroups(), b.GetGroups())
	if err != nil {
		return nil, err
	}
	records, dropped := measure.Thin(m.seed, m.limit, a.GetRecords(), b.GetRecords())
	return pb.Window_builder{
		RunId: b.GetRunId(), Agent: b.GetAgent(), Incarnation: b.GetIncarnation(),
		StartUs: a.GetStartUs(), EndUs: b.GetEndUs(),
		Groups: groups, InFlight: mergeInFlight(a.GetInFlight(), b.GetInFlight()),
		Records: records, RecordsLeftOut: a.GetRecordsLeftOut() + b.GetRecordsLeftOut() + dropped,
		Health: worst(a.GetHealth(), b.GetHealth()), SeriesLeftOut: a.GetSeriesLeftOut() + b.GetSeriesLeftOut(),
		Cursors: mergeCursors(a.GetCursors(), b.GetCursors()), Epoch: max(a.GetEpoch(), b.GetEpoch()),
		Merged: max(1, a.GetMerged()) + max(1, b.GetMerged()),
	}.Build(), nil
}

func pairOf(g *pb.Group) pair { return pair{g.GetPhase(), g.GetWorkload()} }

// mergeGroups adds the groups of two windows up, pair by pair.
func mergeGroups(a, b []*pb.Group) ([]*pb.Group, error) {
	sum := make(map[pair]*pb.Group, len(a))
	for _, g := range slices.Concat(a, b) {
		p := pairOf(g)
		if sum[p] == nil {
			sum[p] = g
			continue
		}
		series, err := mergeSeries(sum[p].GetSeries(), g.GetSeries())
		if err != nil {
			return nil, fmt.Errorf("merge windows: phase %d, workload %d: %w", p.phase, p.workload, err)
		}
		sum[p] = pb.Group_builder{
			Phase: p.phase, Workload: p.workload, Counters: addCounters(sum[p].GetCounters(), g.GetCounters()),
			Errors: mergeErrors(sum[p].GetErrors(), g.GetErrors()), Series: series,
		}.Build()
	}
	out := make([]*pb.Group, 0, len(sum))
	for _, p := range slices.SortedFunc(maps.Keys(sum), pair.compare) {
		out = append(out, sum[p])
	}
	return out, nil
}

// addCounters adds every counter that the schema has.
func addCounters(a, b *pb.Counters) *pb.Counters {
	sum := &pb.Counters{}
	if a != nil {
		sum = proto.CloneOf(a)
	}
	to := sum.ProtoReflect()
	b.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		to.Set(f, protoreflect.ValueOfUint64(to.Get(f).Uint()+v.Uint()))
		return true
	})
	return sum
}

// mergeErrors adds the failures of two windows up by class; the example with the smallest hash
// stays, the alphabet breaks ties.
func mergeErrors(a, b []*pb.ClassCount) []*pb.ClassCount {
	sum := make(map[string]*pb.ClassCount, len(a))
	for _, e := range slices.Concat(a, b) {
		old := sum[e.GetClass()]
		if old == nil {
			sum[e.GetClass()] = e
			continue
		}
		kept := e
		if cmp.Or(cmp.Compare(old.GetExampleHash(), e.GetExampleHash()), cmp.Compare(old.GetExample(), e.GetExample())) <= 0 {
			kept = old
		}
		sum[e.GetClass()] = pb.ClassCount_builder{
			Class: e.GetClass(), Count: old.GetCount() + e.GetCount(), Example: kept.GetExample(), ExampleHash: kept.GetExampleHash(),
		}.Build()
	}
	out := make([]*pb.ClassCount, 0, len(sum))
	for _, class := range slices.Sorted(maps.Keys(sum)) {
		out = append(out, sum[class])
	}
	return out
}

func mergeSeries(a, b []*pb.SeriesData) ([]*pb.SeriesData, error) {
	sum := make(map[pb.Series]*pb.SeriesData, len(a))
	for _, s := range slices.Concat(a, b) {
		old := sum[s.GetSeries()]
		if old == nil {
			sum[s.GetSeries()] = s
			continue
		}
		var h hist.Histogram
		for _, data := range [][]byte{old.GetHistogram(), s.GetHistogram()} {
			if err := h.MergeBinary(data); err != nil {
				return nil, fmt.Errorf("series %v: %w", s.GetSeries(), err)
			}
		}
		sum[s.GetSeries()] = pb.SeriesData_builder{Series: s.GetSeries(), Histogram: h.AppendBinary(nil)}.Build()
	}
	out := make([]*pb.SeriesData, 0, len(sum))
	for _, series := range slices.Sorted(maps.Keys(sum)) {
		out = append(out, sum[series])
	}
	return out, nil
}

// mergeInFlight keeps the most of either window, adds up how long requests were open, and takes what
// is open now from the later one.
func mergeInFlight(a, b []*pb.InFlight) []*pb.InFlight {
	sum := make(map[uint32]*pb.InFlight_builder, len(a))
	for i, f := range slices.Concat(a, b) {
		s := sum[f.GetPhase()]
		if s == nil {
			s = &pb.InFlight_builder{Phase: f.GetPhase()}
			sum[f.GetPhase()] = s
		}
		s.Max, s.OpenUs = max(s.Max, f.GetMax()), s.OpenUs+f.GetOpenUs()
		if i >= len(a) {
			s.Now = f.GetNow()
		}
	}
	out := make([]*pb.InFlight, 0, len(sum))
	for _, phase := range slices.Sorted(maps.Keys(sum)) {
		out = append(out, sum[phase].Build())
	}
	return out
}

// mergeCursors takes the farther cursor of each phase, which is the later window's.
func mergeCursors(a, b []*pb.Cursor) []*pb.Cursor {
	next := make(map[uint32]uint64, len(a))
	for _, c := range slices.Concat(a, b) {
		next[c.GetPhase()] = max(next[c.GetPhase()], c.GetNextArrival())
	}
	out := make([]*pb.Cursor, 0, len(next))
	for _, phase := range slices.Sorted(maps.Keys(next)) {
		out = append(out, pb.Cursor_builder{Phase: phase, NextArrival: next[phase]}.Build())
	}
	return out
}

// worst takes each figure from whichever window has the worse; absent when neither has any.
func worst(a, b *pb.Health) *pb.Health {
	if a == nil || b == nil {
		return cmp.Or(a, b)
	}
	return pb.Health_builder{
		CpuProcess: max(a.GetCpuProcess(), b.GetCpuProcess()), CpuMachine: max(a.GetCpuMachine(), b.GetCpuMachine()),
		SchedLatencyP99Us: max(a.GetSchedLatencyP99Us(), b.GetSchedLatencyP99Us()),
		GcPauseMaxUs:      max(a.GetGcPauseMaxUs(), b.GetGcPauseMaxUs()),
		Goroutines:        max(a.GetGoroutines(), b.GetGoroutines()),
		OpenSockets:       max(a.GetOpenSockets(), b.GetOpenSockets()),
		ClockErrorBoundUs: max(a.GetClockErrorBoundUs(), b.GetClockErrorBoundUs()),
		WindowsWaiting:    max(a.GetWindowsWaiting(), b.GetWindowsWaiting()),
	}.Build()
}
